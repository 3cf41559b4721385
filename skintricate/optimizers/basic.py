"""Gradient descent."""

from skintricate.optimizers.base import Optimizer


class Basic(Optimizer):
    """Gradient descent: ``w -= learning_rate * g``.

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.01
    clip_norm : float or None, default=None
    """

    scalar_names = ("rate",)
    update = "w -= rate * g;"

    def scalars(self, step, learning_rate):
        return {"rate": learning_rate}
