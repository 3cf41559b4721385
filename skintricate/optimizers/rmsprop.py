"""RMSprop."""

from skintricate.configurable import check_number
from skintricate.optimizers.base import Optimizer


class RMSprop(Optimizer):
    """Gradients divided by a running root mean square (Tieleman and Hinton 2012).

    ``squares = rho * squares + (1 - rho) * g * g;  w -= learning_rate * g / (sqrt(squares) + epsilon)``

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.001
    rho : float, default=0.9
        In [0, 1).
    epsilon : float, default=1e-8
    clip_norm : float or None, default=None
    """

    states = ("squares",)
    scalar_names = ("rate", "rho", "epsilon")
    update = """
        squares = rho * squares + (1 - rho) * g * g;
        w -= rate * g / (sqrt(squares) + epsilon);
    """

    def __init__(self, learning_rate=0.001, rho=0.9, epsilon=1e-8, clip_norm=None):
        self._store(learning_rate, clip_norm)
        check_number(self, "rho", rho, 0, 1, high_open=True)
        check_number(self, "epsilon", epsilon, 0, low_open=True)
        self.rho = rho
        self.epsilon = epsilon

    def scalars(self, step, learning_rate):
        return {"rate": learning_rate, "rho": self.rho, "epsilon": self.epsilon}
