"""Rows of X that many networks share: each distinct row lies on the device once, in whatever folds it comes."""

import weakref

import numpy as np

from skintricate.backend.staging import finish
from skintricate.training.data import begin_rows, row_buffer


class SharedRows:
    """The distinct rows of every X that was asked for, on a device.

    Rows are equal where all their bits are. A hash of 64 bits finds them, a comparison makes sure.

    Parameters
    ----------
    device : Device
    dtype : dtype
    n_features : int
    x_columns : int
        Columns of a row on the device, padding included.
    """

    def __init__(self, device, dtype, n_features, x_columns):
        self._device, self._dtype, self._columns = device, np.dtype(dtype), x_columns
        n_words = n_features * self._dtype.itemsize // 4
        factors = np.random.default_rng(0).integers(2**63, size=n_words, dtype=np.uint64)
        self._factors = factors | np.uint64(1)
        self._rows = np.empty((0, n_features), self._dtype)
        self._hashes, self._places = np.empty(0, np.uint64), np.empty(0, np.int32)
        self._buffer, self._capacity, self._written = None, 0, 0
        self._known = {}

    @property
    def buffer(self):
        """The device's buffer of all rows so far."""
        n_rows = len(self._rows)
        if n_rows > self._capacity:
            capacity, self._buffer, self._capacity, self._written = n_rows + n_rows // 4, None, 0, 0
            self._buffer = row_buffer(self._device, capacity, self._columns, self._dtype)
            self._capacity = capacity
        new = self._rows[self._written :]
        finish(begin_rows(self._device, self._buffer, new, None, self._dtype, self._columns, self._written))
        self._written = n_rows
        return self._buffer

    @property
    def n_bytes(self):
        """Bytes that the device needs for the rows so far."""
        return len(self._rows) * 5 // 4 * self._columns * self._dtype.itemsize

    def forget_matrices(self):
        """Look at every matrix anew, since its owner may change it; the rows stay."""
        self._known.clear()

    def places(self, X):
        """Return where the rows of a matrix lie, an array of shape ``(N,)`` and dtype int32; new ones are added."""
        known = self._known.get(id(X))
        if known is not None and known[0]() is X:
            return known[1]
        places = self._look_up(np.ascontiguousarray(X, self._dtype))
        self._known[id(X)] = weakref.ref(X), places
        return places

    def _look_up(self, X):
        """Return the places of the rows of a contiguous matrix, adding those that are new."""
        hashes, first, inverse = np.unique(self._hash(X), return_index=True, return_inverse=True)
        found = np.searchsorted(self._hashes, hashes)
        found[found == len(self._hashes)] = 0
        if len(self._hashes):
            is_new, places = self._hashes[found] != hashes, self._places[found]
        else:
            is_new, places = np.ones(len(hashes), bool), np.zeros(len(hashes), np.int32)
        places[is_new] = len(self._rows) + np.arange(np.count_nonzero(is_new), dtype=np.int32)
        self._rows = np.concatenate([self._rows, X[first[is_new]]])
        hashes = np.concatenate([self._hashes, hashes[is_new]])
        by_hash = np.argsort(hashes)
        self._hashes, self._places = hashes[by_hash], np.concatenate([self._places, places[is_new]])[by_hash]
        result = places[inverse.ravel()].astype(np.int32)
        other = (_words(self._rows[result]) != _words(X)).any(axis=1)
        if other.any():  # different rows of one hash: these lie by themselves
            result[other] = len(self._rows) + np.arange(np.count_nonzero(other), dtype=np.int32)
            self._rows = np.concatenate([self._rows, X[other]])
        return result

    def _hash(self, X):
        """Return a hash of 64 bits for each row."""
        hashes = np.zeros(len(X), np.uint64)
        for word, factor in zip(_words(X).T, self._factors):
            mixed = (word ^ (word >> np.uint32(15))) * factor
            hashes += mixed ^ (mixed >> np.uint64(32))
        return hashes


def _words(X):
    """Return the bits of floats as unsigned integers of 32 bits, one or two for each."""
    return X.view(np.uint32)
