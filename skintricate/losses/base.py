"""What every loss is."""

from skintricate.configurable import Configurable


class Loss(Configurable):
    """Base class: what training makes small, for one output of one sample.

    A subclass gives the value and its derivative in OpenCL C, as functions of the output ``y`` and the
    target ``t`` (vectors of the type ``real``) and of its own ``hyper_parameters``. The loss of a step is the
    weighted mean over samples of the sum, or mean, over outputs.

    Attributes
    ----------
    value, gradient : str
        Expressions in ``y`` and ``t``.
    link_name : str or None
        Name of the output activation with which the loss is computed together, from the values ``y``
        before that activation, by ``link_value`` and ``link_gradient``.
    link_kernel : str
        The kernel that computes it together with its link, where expressions of one output do not suffice.
    mean_over_outputs : bool
        Whether a sample's loss is the mean over outputs rather than their sum.
    hyper_parameters : tuple of str
        Names of the numeric parameters that the expressions use.
    targets : {"real", "probability", "count"}
        Which targets have a meaning; classes are probabilities of 0 and 1.

    Examples
    --------
    A loss of one's own is one short class:

    >>> from skintricate.losses import Loss
    >>> class LogCosh(Loss):
    ...     value = "log(cosh(y - t))"
    ...     gradient = "tanh(y - t)"
    >>> LogCosh()
    LogCosh()
    """

    value = ""
    gradient = ""
    link_name = None
    link_value = "(real)0"
    link_gradient = "(real)0"
    link_kernel = "loss_elementwise"
    mean_over_outputs = True
    hyper_parameters = ()
    targets = "real"
