"""Buffers in which many networks lie one after another."""

import numpy as np

from skintricate.kernels import PHASE, RUN, STAGE
from skintricate.kernels.stage import PLACES
from skintricate.training.data import TAIL

TYPES = {"order": np.int32, "control": np.int32, "run": RUN, "stages": STAGE, "phases": PHASE}
# Networks' parts of a buffer of numbers begin at multiples of so many: 128 bytes, no cache line in common.
APART = 32


class Pool:
    """The buffers of a resident launch, in which each network has its place.

    Parameters
    ----------
    device : Device
    dtype : dtype
        Of all numbers that are no integers.
    """

    def __init__(self, device, dtype):
        self._device, self._dtype = device, np.dtype(dtype)
        self._sizes = dict.fromkeys(PLACES, 0)
        self._contents = {name: [] for name in PLACES}
        self._known = {}
        self.buffers = {}

    def type_of(self, name):
        """Return the type of a buffer's elements."""
        return np.dtype(TYPES.get(name, self._dtype))

    def add(self, name, size, contents=None):
        """Return the place of a new part of a buffer, which begins with these contents; zeros follow."""
        place, apart = self._sizes[name], 1 if self.type_of(name).names else APART
        self._sizes[name] += -(-size // apart) * apart
        if contents is not None:
            self._contents[name].append((place, contents))
        return place

    def add_equal(self, name, contents):
        """Return the place of an array of a buffer that no network changes; equal ones have the same."""
        key = name, contents.tobytes()
        if key not in self._known:
            self._known[key] = self.add(name, contents.size + TAIL, contents)
        return self._known[key]

    def allocate(self, X):
        """Make the buffers, with their contents; that of X is given."""
        self.buffers["X"] = X
        for name in PLACES:
            if name != "X":
                type_, size = self.type_of(name), max(self._sizes[name], 1)
                self.buffers[name] = self._device.zeros((size + TAIL) * type_.itemsize)
                if self._contents[name]:
                    self.write(name, self._contents[name])
        self._contents.clear()
        self._known.clear()

    def write(self, name, parts):
        """Copy arrays to their places, a list of ``(place, array)``; what lies between them becomes zero."""
        first, end = min(place for place, _ in parts), max(place + array.size for place, array in parts)
        whole = np.zeros(end - first, self.type_of(name))
        for place, array in parts:
            whole[place - first : place - first + array.size] = array.ravel()
        self._device.write(self.buffers[name], whole, first * whole.itemsize)

    def read(self, name):
        """Wait, and return the whole of a buffer."""
        return self._device.read(np.empty(self._sizes[name], self.type_of(name)), self.buffers[name])

    def read_parts(self, name, parts):
        """Wait, and fill arrays from places of a buffer, a list of ``(place, array)``."""
        buffer = self.buffers[name]
        self._device.read_all([(array, buffer, place * array.itemsize) for place, array in parts])
