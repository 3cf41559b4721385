"""Elementwise activations."""

from skintricate.configurable import check_number
from skintricate.layers.activation import Activation


class Identity(Activation):
    """``x``."""


class ReLU(Activation):
    """``max(x, 0)``; NaN stays NaN."""

    value = "x < 0 ? (real)0 : x"
    derivative = "y > 0 ? (real)1 : (real)0"


class LeakyReLU(Activation):
    """``x`` where positive, else ``slope * x`` (Maas et al. 2013).

    Parameters
    ----------
    slope : float, default=0.01
        Not negative.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is outside of its range.
    """

    value = "x > 0 ? x : slope * x"
    derivative = "y > 0 ? (real)1 : (real)slope"
    hyper_parameters = ("slope",)

    def __init__(self, slope=0.01):
        check_number(self, "slope", slope, 0)
        self.slope = slope


class ELU(Activation):
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al. 2016).

    Parameters
    ----------
    alpha : float, default=1.0
        Positive.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is outside of its range.
    """

    value = "x > 0 ? x : alpha * expm1(x > 0 ? (real)0 : x)"
    derivative = "y > 0 ? (real)1 : y + alpha"
    hyper_parameters = ("alpha",)

    def __init__(self, alpha=1.0):
        check_number(self, "alpha", alpha, 0, low_open=True)
        self.alpha = alpha


class GELU(Activation):
    """``x * Phi(x)``, Phi the standard normal distribution (Hendrycks and Gimpel 2016)."""

    value = "x * (1 + erf(x * (scalar)0.7071067811865476)) / 2"
    derivative = "(1 + erf(x * (scalar)0.7071067811865476)) / 2 + x * exp(-x * x / 2) * (scalar)0.3989422804014327"
    needs_input = True


class SiLU(Activation):
    """``x / (1 + exp(-x))``, also called swish."""

    value = "x / (1 + exp(-x))"
    derivative = "(y + 1 / (1 + exp(-x)) * (1 - y))"
    needs_input = True


class Softplus(Activation):
    """``log(1 + exp(x))``, computed as ``max(x, 0) + log(1 + exp(-|x|))``."""

    value = "fmax(x, (real)0) + log1p(exp(-fabs(x)))"
    derivative = "-expm1(-y)"


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``."""

    value = "1 / (1 + exp(-x))"
    derivative = "y * (1 - y)"


class TanH(Activation):
    """``tanh(x)``."""

    value = "tanh(x)"
    derivative = "1 - y * y"


class Exponential(Activation):
    """``exp(x)``: the output of a model of positive rates."""

    value = "exp(x)"
    derivative = "y"
