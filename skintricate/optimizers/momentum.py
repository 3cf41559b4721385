"""Gradient descent with momentum, plain and with look-ahead."""

from skintricate.configurable import check_number
from skintricate.optimizers.base import Optimizer


class Momentum(Optimizer):
    """Gradient descent with momentum (Polyak 1964).

    ``velocity = momentum * velocity - learning_rate * g;  w += velocity``

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.01
    momentum : float, default=0.9
        In [0, 1).
    clip_norm : float or None, default=None
    """

    states = ("velocity",)
    scalar_names = ("rate", "momentum")
    update = """
        velocity = momentum * velocity - rate * g;
        w += velocity;
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, clip_norm=None):
        self._store(learning_rate, clip_norm)
        check_number(self, "momentum", momentum, 0, 1, high_open=True)
        self.momentum = momentum

    def scalars(self, step, learning_rate):
        return {"rate": learning_rate, "momentum": self.momentum}


class Nesterov(Momentum):
    """Momentum that looks ahead (Nesterov 1983, in the form of Sutskever et al. 2013).

    The weights kept are those looked ahead to, where the gradient is taken:
    ``velocity = momentum * velocity - learning_rate * g;  w += momentum * velocity - learning_rate * g``

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.01
    momentum : float, default=0.9
        In [0, 1).
    clip_norm : float or None, default=None
    """

    update = """
        velocity = momentum * velocity - rate * g;
        w += momentum * velocity - rate * g;
    """
