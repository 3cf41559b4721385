"""Training data: rows of X, targets and weights, dense or sparse, in host memory."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

# Bytes of X that are converted on the host at once.
UPLOAD_BYTES = 64 * 2**20
# Scalars after the end of X and Y that vector loads may touch; their lanes are never used.
TAIL = 64


@dataclass
class Data:
    """What a network is trained on.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (N, I)
    Y : ndarray of shape (N, n_columns)
        Targets, or with ``class_codes`` the index of each sample's class in one column.
    sample_weight : ndarray of shape (N,) or None
    class_codes : bool
    """

    X: object
    Y: np.ndarray
    sample_weight: np.ndarray = None
    class_codes: bool = False

    def __len__(self):
        return self.X.shape[0]

    @property
    def n_features(self):
        """Columns of X."""
        return self.X.shape[1]

    def bytes_per_row(self, dtype, x_columns):
        """Return the device memory that a row takes, X having so many columns, with its place in the order."""
        scalars = x_columns + self.Y.shape[1] + (self.sample_weight is not None)
        return scalars * np.dtype(dtype).itemsize + 4

    def rows(self, index, dtype, n_columns):
        """Return contiguous ``(X, Y, sample_weight)`` of these rows (a slice or an index array); see ``dense_rows``.

        Without a number of columns X is None.
        """
        X = None if n_columns is None else dense_rows(self.X, index, dtype, n_columns)
        weights = None if self.sample_weight is None else np.ascontiguousarray(self.sample_weight[index], dtype)
        return X, np.ascontiguousarray(self.Y[index], dtype), weights


def dense_rows(X, index, dtype, n_columns):
    """Return rows of a dense or sparse matrix as a contiguous dense array of so many columns, zeros after its own."""
    rows = X[index]
    if scipy.sparse.issparse(rows):
        rows = rows.toarray()
    if rows.shape[1] == n_columns:
        return np.ascontiguousarray(rows, dtype)
    padded = np.zeros((len(rows), n_columns), dtype)
    padded[:, : rows.shape[1]] = rows
    return padded


def upload_slices(begin, end, n_columns, dtype):
    """Yield slices of the rows from ``begin`` to ``end``, each of so many that they may be converted at once."""
    rows = max(1, UPLOAD_BYTES // (max(n_columns, 1) * np.dtype(dtype).itemsize))
    for first in range(begin, end, rows):
        yield slice(first, min(first + rows, end))


def write_rows(device, buffer, array, offset=0):
    """Copy an array to a place in a buffer, and zeros into the tail after it."""
    if array.size:
        device.write(buffer, array, offset)
    device.write(buffer, np.zeros(TAIL, array.dtype), offset + array.nbytes)


def row_buffer(device, n_rows, n_columns, dtype):
    """Return a buffer for so many rows and the tail that vector loads may touch."""
    return device.buffer((n_rows * n_columns + TAIL) * np.dtype(dtype).itemsize)
