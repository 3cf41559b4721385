"""Rows of X that several tasks of a search ask for are picked once.

scikit-learn picks the rows of a fold anew for each candidate. Networks only read them, as scikit-learn's scorers do.
"""

import numpy as np
from sklearn import get_config
from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer, _PassthroughScorer
from sklearn.model_selection._validation import _fit_and_score

from skintricate.estimators import IntricateClassifier, IntricateRegressor

# Who does not write into X. The steps of a Pipeline may, and a function of the user's that scores.
ESTIMATORS, SCORERS = (IntricateClassifier, IntricateRegressor), (_BaseScorer, _PassthroughScorer)


class PickedRows:
    """Stands for an array in the one place where rows are picked from it.

    The same list of rows, as an object, gives the same array, which nobody may write into.

    Parameters
    ----------
    array : ndarray
    """

    def __init__(self, array):
        self._array, self._picked = array, {}
        self.shape = array.shape

    def __len__(self):
        return len(self._array)

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
    if get_config()["array_api_dispatch"]:  # which asks X what it is
        return
    stand_ins = {}
    for function in functions:
        items = getattr(function, "items", [])
        for place, (call, args, kwargs) in enumerate(items):
            if getattr(call, "function", None) is not _fit_and_score or len(args) < 2:
                continue
            if type(args[0]) in ESTIMATORS and type(args[1]) is np.ndarray and _only_reads(kwargs.get("scorer")):
                stand_in = stand_ins.setdefault(id(args[1]), PickedRows(args[1]))
                items[place] = call, (args[0], stand_in, *args[2:]), kwargs


def _only_reads(scorer):
    """Say whether a scorer is scikit-learn's, with whatever metric of targets and predictions, or several of them."""
    scorer = getattr(scorer, "_scorers", scorer) if isinstance(scorer, _MultimetricScorer) else scorer
    scorers = scorer.values() if isinstance(scorer, dict) else [scorer]
    return all(isinstance(each, SCORERS) for each in scorers)
