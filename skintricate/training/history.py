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


class History:
    """The result of training: what happened in every epoch and step.

    A fit of many tiny epochs records them as arrays, several epochs at a time; ``epochs`` makes a record of each
    when asked.

    Attributes
    ----------
    stopped_by : str
        Why training ended: ``"max_iter"``, ``"no improvement"``, ``"halting condition"``, ``"callback"``,
        ``"interrupted"`` or ``"error"``.
    """

    def __init__(self):
        self.stopped_by = "max_iter"
        self._runs = []
        self._n_epochs = 0

    def add(self, loss, accuracy, step_loss, step_accuracy, elapsed, validation_score=float("nan"), metrics=None):
        """Append one or more epochs.

        Parameters
        ----------
        loss, accuracy : ndarray of shape (n_epochs,)
        step_loss, step_accuracy : ndarray of shape (n_epochs, n_steps)
        elapsed : float
            When the last of them ended.
        validation_score : float or ndarray of shape (n_epochs,)
        metrics : dict of str to float, default=None
        """
        scores = np.full(len(loss), validation_score)
        times = np.full(len(loss), elapsed)
        self._runs.append((loss, accuracy, step_loss, step_accuracy, times, scores, metrics or {}))
        self._n_epochs += len(loss)

    @property
    def epochs(self):
        """A record of each epoch, a list of ``Epoch``."""
        records = []
        for run in self._runs:
            records += _records(run, len(records) + 1)
        return records

    @property
    def latest(self):
        """The records of the epochs that were added last."""
        run = self._runs[-1]
        return _records(run, self._n_epochs - len(run[0]) + 1)

    @property
    def loss(self):
        """Loss of each epoch, an array of shape ``(n_epochs,)``."""
        return self._joined(0)

    @property
    def accuracy(self):
        """Accuracy of each epoch, an array of shape ``(n_epochs,)``."""
        return self._joined(1)

    @property
    def step_loss(self):
        """Loss of each step, an array of shape ``(n_epochs * n_steps,)``."""
        return self._joined(2)

    @property
    def step_accuracy(self):
        """Accuracy of each step, an array of shape ``(n_epochs * n_steps,)``."""
        return self._joined(3)

    @property
    def validation_score(self):
        """Validation score of each epoch, an array of shape ``(n_epochs,)``."""
        return self._joined(5)

    @property
    def metrics(self):
        """The user's metrics, a dict of name to array of shape ``(n_epochs,)``."""
        names = self._runs[0][-1] if self._runs else {}
        return {name: np.array([run[-1][name] for run in self._runs]) for name in names}

    def __len__(self):
        return self._n_epochs

    def _joined(self, place):
        """Return one kind of array of all runs, flat."""
        return np.concatenate([run[place].ravel() for run in self._runs] or [np.empty(0)])


def _records(run, first_number):
    """Return the ``Epoch`` records of what one ``add`` was given."""
    *arrays, metrics = run
    return [
        Epoch(number, float(loss), float(accuracy), step_loss, step_accuracy, float(elapsed), float(score), metrics)
        for number, (loss, accuracy, step_loss, step_accuracy, elapsed, score) in enumerate(zip(*arrays), first_number)
    ]
