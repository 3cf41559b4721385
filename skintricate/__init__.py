"""Neural networks for scikit-learn on an OpenCL engine of their own.

Nothing here touches a device or imports pyopencl; both happen at the first fit or ``list_devices``.
"""

from skintricate._version import __version__
from skintricate.backend import list_devices
from skintricate.estimators import IntricateClassifier, IntricateRegressor
from skintricate.model import Model

__all__ = ["IntricateClassifier", "IntricateRegressor", "Model", "__version__", "list_devices"]
