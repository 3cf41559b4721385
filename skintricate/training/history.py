"""What training records."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Epoch:
    """The record of one epoch.

    Attributes
    ----------
    number : int
        From 1, since this fit began.
    loss, accuracy : float
        Weighted means over the epoch's steps, each step before its update. Accuracy is the share of
        right classes; NaN where the loss knows no classes.
    step_loss, step_accuracy : ndarray of shape (n_steps,)
    elapsed : float
        Seconds since this fit began.
    validation_score : float
        NaN without validation data.
    metrics : dict of str to float
        The user's metrics after this epoch.
    """

    number: int
    loss: float
    accuracy: float
    step_loss: np.ndarray
    step_accuracy: np.ndarray
    elapsed: float = 0.0
    validation_score: float = float("nan")
    metrics: dict = field(default_factory=dict)


@dataclass
class History:
    """The result of training: what happened in every epoch and step.

    Attributes
    ----------
    epochs : list of Epoch
    stopped_by : str
        Why training ended: ``"max_iter"``, ``"no improvement"``, ``"halting condition"``, ``"callback"`` or
        ``"interrupted"``.
    """

    epochs: list = field(default_factory=list)
    stopped_by: str = "max_iter"

    @property
    def loss(self):
        """Loss of each epoch, an array of shape ``(n_epochs,)``."""
        return np.array([epoch.loss for epoch in self.epochs])

    @property
    def accuracy(self):
        """Accuracy of each epoch, an array of shape ``(n_epochs,)``."""
        return np.array([epoch.accuracy for epoch in self.epochs])

    @property
    def validation_score(self):
        """Validation score of each epoch, an array of shape ``(n_epochs,)``."""
        return np.array([epoch.validation_score for epoch in self.epochs])

    @property
    def step_loss(self):
        """Loss of each step, an array of shape ``(n_epochs * n_steps,)``."""
        return np.concatenate([epoch.step_loss for epoch in self.epochs] or [np.empty(0)])

    @property
    def step_accuracy(self):
        """Accuracy of each step, an array of shape ``(n_epochs * n_steps,)``."""
        return np.concatenate([epoch.step_accuracy for epoch in self.epochs] or [np.empty(0)])

    @property
    def metrics(self):
        """The user's metrics, a dict of name to array of shape ``(n_epochs,)``."""
        names = self.epochs[0].metrics if self.epochs else {}
        return {name: np.array([epoch.metrics[name] for epoch in self.epochs]) for name in names}

    def __len__(self):
        return len(self.epochs)
