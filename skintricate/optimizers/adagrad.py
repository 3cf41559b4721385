"""Adagrad."""

from skintricate.configurable import check_number
from skintricate.optimizers.base import Optimizer


class Adagrad(Optimizer):
    """Rates that fall with the squares seen (Duchi, Hazan and Singer 2011).

    ``squares += g * g;  w -= learning_rate * g / (sqrt(squares) + epsilon)``

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.01
    epsilon : float, default=1e-10
    clip_norm : float or None, default=None
    """

    states = ("squares",)
    scalar_names = ("rate", "epsilon")
    update = """
        squares += g * g;
        w -= rate * g / (sqrt(squares) + epsilon);
    """

    def __init__(self, learning_rate=0.01, epsilon=1e-10, clip_norm=None):
        self._store(learning_rate, clip_norm)
        check_number(self, "epsilon", epsilon, 0, low_open=True)
        self.epsilon = epsilon

    def scalars(self, step, learning_rate):
        return {"rate": learning_rate, "epsilon": self.epsilon}
