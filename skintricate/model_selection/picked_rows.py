"""Rows of X and y that several tasks of a search ask for are picked once.

scikit-learn picks the rows of a fold anew for each candidate. Networks only read them, as scikit-learn's scorers do.
"""

import numpy as np
from sklearn import get_config
from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer, _PassthroughScorer
from sklearn.model_selection._validation import _fit_and_score

from skintricate.estimators import IntricateClassifier, IntricateRegressor
from skintricate.training.shared_values import fix

# Who does not write into X, nor y. The steps of a Pipeline may, and a function of the user's that scores.
ESTIMATORS, SCORERS = (IntricateClassifier, IntricateRegressor), (_BaseScorer, _PassthroughScorer)


class PickedRows:
    """Stands for an array in the one place where rows are picked from it.

    The same list of rows, as an object, gives the same array, which nobody may write into. scikit-learn takes it for a
    data frame, by ``iloc``: looking for those first, it is done sooner than with an array.

    Parameters
    ----------
    array : ndarray
    """

    def __init__(self, array):
        self._array, self._picked = array, {}
        self.shape = array.shape

    def __len__(self):
        return len(self._array)

    @property
    def iloc(self):
        """What other keys than lists of rows are looked up in."""
        return self._array

    loc = iloc

    def take(self, rows, axis=0):
        """Return the rows of a list of their numbers."""
        if id(rows) not in self._picked:
            picked = fix(self._array.take(rows, axis=axis))
            self._picked[id(rows)] = rows, picked  # `rows` stays alive, so that its id remains its own
        return self._picked[id(rows)][1]


def pick_rows_once(functions):
    """Let the calls of a search that joblib has batched share the rows that they pick from one X, and one y."""
    if get_config()["array_api_dispatch"]:  # which asks X what it is
        return
    stand_ins = {}
    for function in functions:
        items = getattr(function, "items", [])
        for place, (call, args, kwargs) in enumerate(items):
            if getattr(call, "function", None) is _fit_and_score and len(args) > 2 and type(args[0]) in ESTIMATORS:
                scorers = _scorers_of(kwargs.get("scorer"))
                data = list(args[1:3])
                for k, only_reads in enumerate((_only_reads_X, _only_reads_y)):
                    if type(data[k]) is np.ndarray and all(map(only_reads, scorers)):
                        data[k] = stand_ins.setdefault(id(data[k]), PickedRows(data[k]))
                items[place] = call, (args[0], *data, *args[3:]), kwargs


def _scorers_of(scorer):
    """Return the list of what scores."""
    scorer = getattr(scorer, "_scorers", scorer) if isinstance(scorer, _MultimetricScorer) else scorer
    return list(scorer.values()) if isinstance(scorer, dict) else [scorer]


def _only_reads_X(scorer):
    """Say whether a scorer is scikit-learn's, with whatever metric of targets and predictions."""
    return isinstance(scorer, SCORERS)


def _only_reads_y(scorer):
    """Say whether its metric is scikit-learn's, too, or the estimator's own score."""
    if isinstance(scorer, _PassthroughScorer):
        return True
    module = getattr(getattr(scorer, "_score_func", None), "__module__", None) or ""
    return _only_reads_X(scorer) and module.startswith("sklearn.")
