"""Training data: rows of X, targets and weights, dense or sparse, in host memory."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse

# Bytes that are converted on the host at once, and those of a thread that brings them to the device.
UPLOAD_BYTES, STAGED_BYTES = 64 * 2**20, 16 * 2**20
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


def dense_rows(X, index, dtype, n_columns, empty=np.empty):
    """Return rows of a dense or sparse matrix as a contiguous dense array of so many columns, zeros after its own.

    ``empty`` makes an array of a shape and a dtype, into which they are copied.
    """
    if isinstance(index, np.ndarray) and type(X) is np.ndarray and (n_columns, dtype) == (X.shape[1], X.dtype):
        # With indices out of range forbidden, "clip" keeps NumPy from making a copy in between.
        return np.take(X, index, axis=0, out=empty((len(index), n_columns), dtype), mode="clip")
    rows = X[index]
    if scipy.sparse.issparse(rows):
        rows = rows.toarray()
    columns = rows.shape[1]
    if columns == n_columns and empty is np.empty:
        return np.ascontiguousarray(rows, dtype)
    array = empty((len(rows), n_columns), dtype)
    array[:, :columns] = rows
    array[:, columns:] = 0
    return array


def begin_rows(device, buffer, X, index, dtype, n_columns, first=0, ahead=False):
    """Begin to bring rows of a matrix to a buffer, as ``dense_rows`` makes them, and zeros into the tail after them.

    Parameters
    ----------
    device : Device
    buffer : pyopencl.Buffer
    X : ndarray or CSR matrix
    index : ndarray or None
        Which rows; None takes all.
    dtype : dtype
    n_columns : int
    first : int, default=0
        Row of the buffer to which the first of them goes.
    ahead : bool, default=False
        Whether the caller has other things to do meanwhile.

    Returns
    -------
    begun : list
        For ``staging.finish``, after which the rows are there.
    """
    n_rows, staging = X.shape[0] if index is None else len(index), device.staging
    row_bytes = n_columns * np.dtype(dtype).itemsize

    def take(rows, empty=np.empty):
        return dense_rows(X, rows if index is None else index[rows], dtype, n_columns, empty)

    def bring(rows):
        staging.write(buffer, take(rows, staging.array), (first + rows.start) * row_bytes)

    begun = []
    if staging is not None and (ahead or n_rows * row_bytes > STAGED_BYTES):
        begun = staging.begin(bring, _slices(n_rows, row_bytes, STAGED_BYTES))
    else:  # so many rows at a time that a sparse X is never dense on the host
        for rows in _slices(n_rows, row_bytes, UPLOAD_BYTES):
            device.write(buffer, take(rows), (first + rows.start) * row_bytes)
    if staging is None or not ahead:  # else other rows may lie there, which are worked on
        write_tail(device, buffer, (first + n_rows) * row_bytes, dtype)
    return begun


def _slices(n_rows, row_bytes, n_bytes):
    """Yield slices of rows that have at most so many bytes each, or are one row."""
    rows = max(1, n_bytes // max(row_bytes, 1))
    for begin in range(0, n_rows, rows):
        yield slice(begin, min(begin + rows, n_rows))


def write_tail(device, buffer, offset, dtype):
    """Write zeros where vector loads reach beyond the rows that end there."""
    device.write(buffer, np.zeros(TAIL, dtype), offset)


def row_buffer(device, n_rows, n_columns, dtype):
    """Return a buffer for so many rows and the tail that vector loads may touch."""
    return device.buffer((n_rows * n_columns + TAIL) * np.dtype(dtype).itemsize)
