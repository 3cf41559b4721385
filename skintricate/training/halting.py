"""Conditions that end training early, combinable with ``&`` and ``|``."""

import numpy as np

from skintricate.configurable import Configurable, check_number


class Halting(Configurable):
    """Base class; a subclass implements ``reached(epoch)``, where ``epoch`` is an ``Epoch`` record.

    Examples
    --------
    >>> from skintricate.training import MinAccuracyReached, MinLossReached
    >>> MinLossReached(0.1) | MinAccuracyReached(0.95)
    MinLossReached(0.1) | MinAccuracyReached(0.95)
    """

    def reached(self, epoch):
        """Say whether training should end after this epoch."""
        raise NotImplementedError

    def instructions(self, has_classes):
        """Return the condition as pairs (instruction, number) that a device evaluates, see ``epoch.cl``.

        None, as here, has training wait for ``reached`` after each epoch.
        """

    def __and__(self, other):
        return Both(self, other)

    def __or__(self, other):
        return Either(self, other)


class MinLossReached(Halting):
    """The epoch's training loss is at most ``loss``.

    Parameters
    ----------
    loss : float
    """

    def __init__(self, loss):
        check_number(self, "loss", loss)
        self.loss = loss

    def reached(self, epoch):
        return epoch.loss <= self.loss

    def instructions(self, has_classes):
        return [(0, self.loss)]


class MinAccuracyReached(Halting):
    """The epoch's training accuracy is at least ``accuracy``; it never is where the loss knows no classes.

    Parameters
    ----------
    accuracy : float
        In [0, 1].
    """

    def __init__(self, accuracy):
        check_number(self, "accuracy", accuracy, 0, 1)
        self.accuracy = accuracy

    def reached(self, epoch):
        return epoch.accuracy >= self._least

    def instructions(self, has_classes):
        return [(1, self._least if has_classes else np.inf)]

    @property
    def _least(self):
        """The accuracy less the rounding of a share such as 0.9 in float32."""
        return self.accuracy - 1e-7


class _Pair(Halting):
    """Two conditions."""

    sign = ""
    instruction = None

    def __init__(self, first, second):
        for name, value in (("first", first), ("second", second)):
            if not isinstance(value, Halting):
                raise TypeError(f"{type(self).__name__}: {name} must be a halting condition, got {value!r}.")
        self.first = first
        self.second = second

    def instructions(self, has_classes):
        first, second = (part.instructions(has_classes) for part in (self.first, self.second))
        return None if first is None or second is None else [*first, *second, (self.instruction, 0.0)]

    def __repr__(self):
        parts = (f"({part!r})" if isinstance(part, _Pair) else repr(part) for part in (self.first, self.second))
        return f" {self.sign} ".join(parts)


class Both(_Pair):
    """Both conditions hold after the same epoch."""

    sign = "&"
    instruction = 2

    def reached(self, epoch):
        return self.first.reached(epoch) and self.second.reached(epoch)


class Either(_Pair):
    """At least one of the conditions holds."""

    sign = "|"
    instruction = 3

    def reached(self, epoch):
        return self.first.reached(epoch) or self.second.reached(epoch)
