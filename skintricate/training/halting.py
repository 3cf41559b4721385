"""Conditions that end training early, combinable with ``&`` and ``|``."""

import numpy as np

from skintricate.configurable import Configurable, check_number
from skintricate.kernels.stage import HALTING

# Bits of the stack in epoch.cl.
DEEPEST = 32


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
        """Return the condition as pairs (name, number) of instructions that a device evaluates, see ``epoch.cl``.

        None, as here, has training wait for ``reached`` after each epoch.
        """

    def on_device(self, has_classes, dtype):
        """Return the pairs (number of the instruction, number) for a float type, or None if only the host can ask."""
        instructions = self._own_instructions(has_classes)
        if instructions is None or _depth(instructions) > DEEPEST:
            return None
        return [(HALTING.index(name), _rounded(name, value, np.dtype(dtype))) for name, value in instructions]

    def _own_instructions(self, has_classes):
        """Return ``instructions``, unless a subclass overrides ``reached`` and not them."""
        order = type(self).__mro__
        asked, told = (next(c for c in order if name in vars(c)) for name in ("reached", "instructions"))
        return self.instructions(has_classes) if order.index(told) <= order.index(asked) else None

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
        return [("loss_at_most", self.loss)]


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
        return [("accuracy_at_least", self._least if has_classes else np.inf)]

    @property
    def _least(self):
        """The accuracy less the rounding of a share such as 0.9 in float32."""
        return self.accuracy - 1e-7


class _Pair(Halting):
    """Two conditions."""

    sign = ""

    def __init__(self, first, second):
        for name, value in (("first", first), ("second", second)):
            if not isinstance(value, Halting):
                raise TypeError(f"{type(self).__name__}: {name} must be a halting condition, got {value!r}.")
        self.first = first
        self.second = second

    def _joined(self, has_classes, name):
        """Return the instructions of both, then the one that joins them."""
        first, second = (part._own_instructions(has_classes) for part in (self.first, self.second))
        return None if first is None or second is None else [*first, *second, (name, 0.0)]

    def __repr__(self):
        parts = (f"({part!r})" if isinstance(part, _Pair) else repr(part) for part in (self.first, self.second))
        return f" {self.sign} ".join(parts)


class Both(_Pair):
    """Both conditions hold after the same epoch."""

    sign = "&"

    def reached(self, epoch):
        return self.first.reached(epoch) and self.second.reached(epoch)

    def instructions(self, has_classes):
        return self._joined(has_classes, "both_hold")


class Either(_Pair):
    """At least one of the conditions holds."""

    sign = "|"

    def reached(self, epoch):
        return self.first.reached(epoch) or self.second.reached(epoch)

    def instructions(self, has_classes):
        return self._joined(has_classes, "either_holds")


def _depth(instructions):
    """Return how many results lie on the device's stack at most."""
    depth = deepest = 0
    for name, _ in instructions:
        depth += -1 if name in ("both_hold", "either_holds") else 1
        deepest = max(deepest, depth)
    return deepest


def _rounded(name, value, dtype):
    """Return a bound as a number of the float type such that comparing in it says what comparing in float64 would."""
    near = dtype.type(value)
    if name == "loss_at_most" and float(near) > value:
        near = np.nextafter(near, dtype.type(-np.inf))
    if name == "accuracy_at_least" and float(near) < value:
        near = np.nextafter(near, dtype.type(np.inf))
    return float(near)
