"""What every optimizer is."""

import numpy as np

from skintricate.configurable import Configurable, check_number
from skintricate.optimizers.schedules import Schedule


class Optimizer(Configurable):
    """Base class: how a step changes the parameters.

    A subclass declares its update in OpenCL C; it runs fused into the gradient, in every schedule.

    Attributes
    ----------
    states : tuple of str
        Names of the arrays kept for every parameter, zero at first.
    scalar_names : tuple of str
        Names of the numbers that ``scalars`` returns.
    update : str
        Statements that change the weight ``w`` and the states by the gradient ``g``. All are of the
        vector type ``real``; scalars mix with them, literals as ``(real)2`` inside functions.

    Parameters
    ----------
    learning_rate : float or Schedule
        Positive.
    clip_norm : float or None, default=None
        Largest Euclidean norm of all gradients of a step together; larger ones are scaled down.

    Examples
    --------
    An optimizer of one's own is one short class:

    >>> from skintricate.optimizers import Optimizer
    >>> class SignDescent(Optimizer):
    ...     update = "w -= step_size * sign(g);"
    ...     scalar_names = ("step_size",)
    ...     def scalars(self, step, learning_rate):
    ...         return {"step_size": learning_rate}
    >>> SignDescent(0.02)
    SignDescent(learning_rate=0.02)
    """

    states = ()
    scalar_names = ()
    update = ""

    def __init__(self, learning_rate=0.01, clip_norm=None):
        self._store(learning_rate, clip_norm)

    def _store(self, learning_rate, clip_norm):
        """Check and keep what every optimizer has."""
        if not isinstance(learning_rate, Schedule):
            check_number(self, "learning_rate", learning_rate, 0, low_open=True)
        if clip_norm is not None:
            check_number(self, "clip_norm", clip_norm, 0, low_open=True)
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm

    def scalars(self, step, learning_rate):
        """Return the scalars of steps.

        Parameters
        ----------
        step : ndarray of shape (n_steps,), dtype float64
            Numbers of the steps, from 1.
        learning_rate : ndarray of shape (n_steps,), dtype float64

        Returns
        -------
        scalars : dict of str to float or ndarray of shape (n_steps,)
        """
        return {}

    def scalar_table(self, first_step, epochs, dtype=np.float64):
        """Return the scalars of steps, computed in float64, as an array of shape ``(n_steps, n_scalars)``.

        Parameters
        ----------
        first_step : int
            Steps taken before.
        epochs : ndarray of shape (n_steps,)
            When each step happens, in epochs since training began.
        dtype : dtype, default=float64
            Of the array.
        """
        n_steps = len(epochs)
        rate = self.learning_rate
        rate = rate(epochs) if isinstance(rate, Schedule) else np.full(n_steps, float(rate))
        values = self.scalars(first_step + np.arange(1.0, n_steps + 1), rate)
        table = np.empty((n_steps, len(self.scalar_names)), dtype)
        with np.errstate(over="ignore"):  # an infinite rate shows as divergence
            for column, name in enumerate(self.scalar_names):
                table[:, column] = values[name]
        return table
