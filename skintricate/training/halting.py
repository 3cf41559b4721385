"""Conditions that end training early, combinable with ``&`` and ``|``."""

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
        # A share such as 0.9 is a little less in float32.
        return epoch.accuracy >= self.accuracy - 1e-7


class _Pair(Halting):
    """Two conditions."""

    sign = ""

    def __init__(self, first, second):
        for name, value in (("first", first), ("second", second)):
            if not isinstance(value, Halting):
                raise TypeError(f"{type(self).__name__}: {name} must be a halting condition, got {value!r}.")
        self.first = first
        self.second = second

    def __repr__(self):
        parts = (f"({part!r})" if isinstance(part, _Pair) else repr(part) for part in (self.first, self.second))
        return f" {self.sign} ".join(parts)


class Both(_Pair):
    """Both conditions hold after the same epoch."""

    sign = "&"

    def reached(self, epoch):
        return self.first.reached(epoch) and self.second.reached(epoch)


class Either(_Pair):
    """At least one of the conditions holds."""

    sign = "|"

    def reached(self, epoch):
        return self.first.reached(epoch) or self.second.reached(epoch)
