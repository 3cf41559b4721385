"""Losses of real targets."""

from skintricate.configurable import check_number
from skintricate.losses.base import Loss


class MeanSquared(Loss):
    """Mean of squares: ``(y - t)^2``; its minimiser is the conditional mean."""

    value = "(y - t) * (y - t)"
    gradient = "2 * (y - t)"


class MeanAbsolute(Loss):
    """Mean of absolute errors: ``|y - t|``; its minimiser is the conditional median."""

    value = "fabs(y - t)"
    gradient = "sign(y - t)"


class MeanBias(Loss):
    """Mean of errors: ``y - t``. It has no minimum by itself: for the study of bias, or bounded outputs."""

    value = "y - t"
    gradient = "(real)1"


class Huber(Loss):
    """Squares near zero, absolute values beyond ``delta`` (Huber 1964).

    ``(y - t)^2 / 2`` where ``|y - t| <= delta``, else ``delta * (|y - t| - delta / 2)``.

    Parameters
    ----------
    delta : float, default=1.0
        Positive.
    """

    value = "fabs(y - t) <= delta ? (y - t) * (y - t) / 2 : delta * (fabs(y - t) - delta / 2)"
    gradient = "clamp(y - t, (real)(-delta), (real)delta)"
    hyper_parameters = ("delta",)

    def __init__(self, delta=1.0):
        check_number(self, "delta", delta, 0, low_open=True)
        self.delta = delta


class Quantile(Loss):
    """Pinball loss (Koenker and Bassett 1978); its minimiser is the conditional quantile.

    ``quantile * (t - y)`` where ``t >= y``, else ``(1 - quantile) * (y - t)``.

    Parameters
    ----------
    quantile : float, default=0.5
        In (0, 1).
    """

    value = "t >= y ? quantile * (t - y) : (1 - quantile) * (y - t)"
    gradient = "t > y ? (real)(-quantile) : (t < y ? (real)(1 - quantile) : (real)0)"
    hyper_parameters = ("quantile",)

    def __init__(self, quantile=0.5):
        check_number(self, "quantile", quantile, 0, 1, low_open=True, high_open=True)
        self.quantile = quantile


class Poisson(Loss):
    """Negative log-likelihood of counts, but for a constant: ``y - t log(y)``.

    After an ``Exponential`` output it is computed from the logarithm ``x`` of the rate: ``exp(x) - t x``.
    After any other layer rates are cut off at 1e-7; below it the gradient is the one at the cut, so that they return.
    """

    value = "fmax(y, (real)1e-7) - t * log(fmax(y, (real)1e-7))"
    gradient = "1 - t / fmax(y, (real)1e-7)"
    link_name = "Exponential"
    link_value = "exp(y) - t * y"
    link_gradient = "exp(y) - t"
    targets = "count"
