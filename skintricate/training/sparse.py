"""A sparse X on the device: its entries alone, never a dense row."""

import numpy as np
import scipy.sparse

# Share of entries up to which products with the entries alone are faster than with dense rows.
MOST_DENSITY = 0.1


def takes_entries(network, X):
    """Say whether a network can read X entry by entry."""
    return scipy.sparse.issparse(X) and bool(network) and network[0].takes_sparse


def stays_sparse(network, X):
    """Say whether a network is trained on the entries of X: where it can read them and they are few."""
    return takes_entries(network, X) and X.nnz <= MOST_DENSITY * X.shape[0] * X.shape[1]


def n_entries_of(matrices):
    """Return the entries of some matrices, dense or sparse, and their rows."""
    counts = (X.nnz if scipy.sparse.issparse(X) else np.count_nonzero(X) for X in matrices)
    return sum(map(int, counts)), sum(X.shape[0] for X in matrices)


class Entries:
    """The entries of the rows of matrices, row after row, with their columns in order.

    Parameters
    ----------
    matrices : sequence of {ndarray, sparse matrix} of shape (N, I)
        One after another.
    dtype : dtype

    Raises
    ------
    ValueError
        If a matrix names columns that it does not have.
    """

    def __init__(self, matrices, dtype):
        rows = [_in_order(scipy.sparse.csr_array(X)) for X in matrices]
        X = rows[0] if len(rows) == 1 else _in_order(scipy.sparse.vstack(rows, format="csr"))
        if X.indices.size and not 0 <= X.indices.min() <= X.indices.max() < X.shape[1]:
            raise ValueError(
                f"A sparse X of {X.shape[1]} columns has entries in columns {X.indices.min()} to {X.indices.max()}; "
                "make it with scipy.sparse's constructors, or look at it with X.check_format()."
            )
        # A buffer holds a number at least.
        self.values = np.ascontiguousarray(X.data if X.data.size else [0.0], dtype)
        self._starts, self._columns = X.indptr.astype(np.int32), X.indices.astype(np.int32)

    @property
    def n_rows(self):
        """Rows of all matrices."""
        return len(self._starts) - 1

    @property
    def table(self):
        """Where each row begins, and the columns of all entries, as integers one after another."""
        return np.concatenate([self._starts, self._columns])

    def fields(self, first):
        """Return what a ``Run`` tells of the table, which begins at this place of the buffer ``order``."""
        return {"x_starts": first, "x_columns": first + len(self._starts)}


def n_integers(n_rows, n_entries):
    """Return the integers of the table of so many rows and entries."""
    return n_rows + 1 + n_entries


def _in_order(X):
    """Return a CSR matrix whose rows have their columns in order."""
    return X if X.has_sorted_indices else X.sorted_indices()
