"""Random values whose spread does not depend on the layer's size."""

from skintricate.configurable import check_number
from skintricate.initializers.base import Initializer


class UniformRandom(Initializer):
    """Uniform on ``[low, high)``.

    Parameters
    ----------
    low : float, default=-0.05
    high : float, default=0.05
        At least ``low``.
    """

    def __init__(self, low=-0.05, high=0.05):
        check_number(self, "low", low)
        check_number(self, "high", high, low)
        self.low = low
        self.high = high

    def draw(self, generator, shape):
        return generator.uniform(self.low, self.high, shape)


class LimitedRandom(Initializer):
    """Uniform on ``[-limit, limit)``.

    Parameters
    ----------
    limit : float, default=1.0
        Positive.
    """

    def __init__(self, limit=1.0):
        check_number(self, "limit", limit, 0, low_open=True)
        self.limit = limit

    def draw(self, generator, shape):
        return generator.uniform(-self.limit, self.limit, shape)


class NormalRandom(Initializer):
    """Normal with the given mean and standard deviation.

    Parameters
    ----------
    mean : float, default=0.0
    scale : float, default=0.05
        The standard deviation, not negative.
    """

    def __init__(self, mean=0.0, scale=0.05):
        check_number(self, "mean", mean)
        check_number(self, "scale", scale, 0)
        self.mean = mean
        self.scale = scale

    def draw(self, generator, shape):
        return generator.normal(self.mean, self.scale, shape)
