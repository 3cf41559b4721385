"""Training and prediction on a device: lowering, schedules, the loop, what it records."""

from skintricate.training.callbacks import Callback, LossPlot, ProgressBar, ProgressLine
from skintricate.training.fit import FitOptions, fit_network
from skintricate.training.forward import Forward
from skintricate.training.halting import Halting, MinAccuracyReached, MinLossReached
from skintricate.training.history import History
from skintricate.training.lowering import Lowering
from skintricate.training.network import infer_shapes
from skintricate.training.planning import devices_of_training, require_parameters
from skintricate.training.state import NetworkState

__all__ = [
    "Callback",
    "FitOptions",
    "Forward",
    "Halting",
    "History",
    "LossPlot",
    "Lowering",
    "MinAccuracyReached",
    "MinLossReached",
    "NetworkState",
    "ProgressBar",
    "ProgressLine",
    "devices_of_training",
    "fit_network",
    "infer_shapes",
    "require_parameters",
]
