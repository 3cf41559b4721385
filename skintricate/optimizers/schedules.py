"""Learning rates that change during training; small classes, so that they pickle."""

import numpy as np

from skintricate.configurable import Configurable, check_number


class Schedule(Configurable):
    """Base class: the learning rate as a function of the epoch.

    A subclass implements ``__call__(epoch)``, where ``epoch`` is an array of shape ``(n_steps,)`` that
    counts epochs with their fraction, 0.0 at the first step; it returns positive rates of that shape.
    """

    def __call__(self, epoch):
        raise NotImplementedError


class ConstantRate(Schedule):
    """The same learning rate throughout.

    Parameters
    ----------
    rate : float, default=0.001
    """

    def __init__(self, rate=0.001):
        check_number(self, "rate", rate, 0, low_open=True)
        self.rate = rate

    def __call__(self, epoch):
        return np.full(np.shape(epoch), self.rate)


class StepRate(Schedule):
    """``rate * factor ** floor(epoch / epochs)``: falls by a factor every so many epochs.

    Parameters
    ----------
    rate : float, default=0.001
    factor : float, default=0.5
        In (0, 1].
    epochs : int, default=10
    """

    def __init__(self, rate=0.001, factor=0.5, epochs=10):
        check_number(self, "rate", rate, 0, low_open=True)
        check_number(self, "factor", factor, 0, 1, low_open=True)
        check_number(self, "epochs", epochs, 1, integer=True)
        self.rate = rate
        self.factor = factor
        self.epochs = epochs

    def __call__(self, epoch):
        return self.rate * self.factor ** np.floor(np.asarray(epoch) / self.epochs)


class ExponentialRate(Schedule):
    """``rate * factor ** epoch``: falls a little at every step.

    Parameters
    ----------
    rate : float, default=0.001
    factor : float, default=0.95
        The share left after one epoch, in (0, 1].
    """

    def __init__(self, rate=0.001, factor=0.95):
        check_number(self, "rate", rate, 0, low_open=True)
        check_number(self, "factor", factor, 0, 1, low_open=True)
        self.rate = rate
        self.factor = factor

    def __call__(self, epoch):
        return self.rate * self.factor ** np.asarray(epoch)


class CosineRate(Schedule):
    """Rises linearly during the warm-up, then falls along a cosine (Loshchilov and Hutter 2017).

    Parameters
    ----------
    rate : float, default=0.001
        The highest rate, right after the warm-up.
    epochs : int, default=200
        Where the cosine ends; the rate stays at ``final_rate`` after it.
    warmup_epochs : float, default=0
    final_rate : float, default=0.0
    """

    def __init__(self, rate=0.001, epochs=200, warmup_epochs=0, final_rate=0.0):
        check_number(self, "rate", rate, 0, low_open=True)
        check_number(self, "epochs", epochs, 1, integer=True)
        check_number(self, "warmup_epochs", warmup_epochs, 0, epochs, high_open=True)
        check_number(self, "final_rate", final_rate, 0)
        self.rate = rate
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.final_rate = final_rate

    def __call__(self, epoch):
        epoch = np.asarray(epoch, dtype=float)
        progress = np.clip((epoch - self.warmup_epochs) / (self.epochs - self.warmup_epochs), 0, 1)
        rate = self.final_rate + (self.rate - self.final_rate) * (1 + np.cos(np.pi * progress)) / 2
        if self.warmup_epochs:
            # The first step already moves: it has a hundredth of the rate.
            rate = np.where(epoch < self.warmup_epochs, self.rate * np.maximum(epoch / self.warmup_epochs, 0.01), rate)
        return rate
