"""Rows of X that several tasks of a search ask for are picked once.

scikit-learn picks the rows of a fold anew for each candidate. A network only reads them; so do the scorers.
"""

import numpy as np
from sklearn.model_selection._validation import _fit_and_score

from skintricate.estimators import IntricateClassifier, IntricateRegressor

# Estimators that do not write into X; a Pipeline's steps may.
READERS = (IntricateClassifier, IntricateRegressor)


class PickedRows:
    """Stands for an array in the one place where rows are picked from it.

    Equal lists of rows that are one object give one array, which nobody may write into.

    Parameters
    ----------
    array : ndarray
    """

    def __init__(self, array):
        self._array, self._picked = array, {}
        self.shape, self.dtype, self.ndim, self.nbytes = array.shape, array.dtype, array.ndim, array.nbytes

    def __len__(self):
        return len(self._array)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype, copy=copy)

    def __getitem__(self, key):
        """Return the rows of a key ``(list of rows, Ellipsis)``, as scikit-learn writes it, or of any other one."""
        rows = key[0] if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis else None
        if not isinstance(rows, np.ndarray):
            return self._array[key]
        if id(rows) not in self._picked:
            picked = self._array[key]
            picked.flags.writeable = False
            self._picked[id(rows)] = rows, picked  # `rows` stays alive, so that its id remains its own
        return self._picked[id(rows)][1]


def pick_rows_once(functions):
    """Let the calls of a search that joblib has batched share the rows that they pick from one X."""
    stand_ins = {}
    for function in functions:
        items = getattr(function, "items", [])
        for place, (call, args, kwargs) in enumerate(items):
            if getattr(call, "function", None) is not _fit_and_score or len(args) < 2:
                continue
            if type(args[0]) in READERS and type(args[1]) is np.ndarray:
                stand_in = stand_ins.setdefault(id(args[1]), PickedRows(args[1]))
                items[place] = call, (args[0], stand_in, *args[2:]), kwargs
