"""A constant."""

import numpy as np

from skintricate.configurable import check_number
from skintricate.initializers.base import Initializer


class Constant(Initializer):
    """Every value is the same.

    Parameters
    ----------
    value : float, default=0.0

    Examples
    --------
    >>> from skintricate.layers import Dense
    >>> from skintricate.initializers import Constant
    >>> Dense(3, bias_initializer=Constant(0.1))
    Dense(3, bias_initializer=Constant(value=0.1))
    """

    def __init__(self, value=0.0):
        check_number(self, "value", value)
        self.value = value

    def draw(self, generator, shape):
        return np.full(shape, self.value, dtype=float)
