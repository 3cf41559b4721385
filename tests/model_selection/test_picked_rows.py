"""Rows of X that several tasks ask for: picked once, as NumPy picks them, for those who only read them."""

import os

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing

from skintricate import IntricateClassifier
from skintricate.model_selection import GridSearchCV, train_together
from skintricate.model_selection.picked_rows import PickedRows

RATES = {"learning_rate": [0.001, 0.01, 0.1]}


@pytest.fixture
def problem():
    """Return X and classes."""
    X = np.random.default_rng(0).normal(size=(90, 4))
    return X, (X[:, 0] > 0).astype(int)


def network(**parameters):
    return IntricateClassifier((8,), max_iter=2, n_iter_no_change=None, random_state=0, **parameters)


@pytest.mark.parametrize(
    "key",
    [np.array([3, 1, 1]), [3, 1], slice(2, 5), np.arange(90) % 7 == 0, 4],
    ids=["array", "list", "slice", "mask", "number"],
)
def test_rows_are_those_that_scikit_learn_picks(key, problem):
    for array in problem:
        picked = _safe_indexing(PickedRows(array), key)
        np.testing.assert_array_equal(picked, _safe_indexing(array, key))
        assert np.shape(picked) == np.shape(_safe_indexing(array, key))
        assert len(PickedRows(array)) == len(array)


def test_each_list_of_rows_has_an_array_of_its_own(problem):
    rows, others = np.arange(5), np.arange(5, 10)
    picked = PickedRows(problem[0])
    assert picked.take(rows) is picked.take(rows)
    assert not np.array_equal(picked.take(rows), picked.take(others))


@pytest.fixture
def picked(monkeypatch):
    """Return the list of the arrays of X that are given to tasks of searches, and of those of y."""
    arrays, take = ([], []), PickedRows.take

    def spy(self, rows, axis=0):
        result = take(self, rows, axis)
        arrays[2 - result.ndim].append(result)
        return result

    monkeypatch.setattr(PickedRows, "take", spy)
    return arrays


@pytest.mark.parametrize(
    "scoring", [None, "f1", ["accuracy", "roc_auc"], {"mine": make_scorer(accuracy_score)}], ids=repr
)
def test_the_candidates_of_a_search_share_the_rows_of_a_fold(scoring, problem, picked):
    GridSearchCV(network(), RATES, cv=5, scoring=scoring, refit=False).fit(*problem)
    for arrays in picked:
        assert len(arrays) == 3 * 5 * 2  # what trains and what is scored
        assert len({id(array) for array in arrays}) == 5 * 2
        assert not any(array.flags.writeable for array in arrays)


def test_a_function_that_scores_may_write_into_its_rows(problem, picked):
    def score(estimator, X, y):
        accuracy = estimator.score(X, y)
        X *= 0
        y *= 0
        return accuracy

    with train_together():
        together = cross_validate(network(), *problem, scoring=score, error_score="raise")["test_score"]
    np.testing.assert_array_equal(together, cross_validate(network(), *problem)["test_score"])
    assert picked == ([], [])


def test_a_metric_may_write_into_its_targets(problem, picked):
    def accuracy(y, predicted):
        score = accuracy_score(y, predicted)
        y *= 0
        return score

    with train_together():
        together = cross_validate(network(), *problem, scoring=make_scorer(accuracy), error_score="raise")["test_score"]
    np.testing.assert_array_equal(together, cross_validate(network(), *problem)["test_score"])
    assert picked[0]
    assert not picked[1]


@pytest.mark.skipif("SCIPY_ARRAY_API" not in os.environ, reason="SCIPY_ARRAY_API is not set")
def test_array_api_dispatch(problem, picked):
    with config_context(array_api_dispatch=True), train_together():
        cross_validate(network(), *problem, error_score="raise")
    assert picked == ([], [])


class Doubled(TransformerMixin, BaseEstimator):
    """Doubles X where it lies."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        X *= 2
        return X


def test_steps_of_a_pipeline_may_write_into_theirs(problem):
    X, y = problem
    before = X.copy()
    with train_together():
        together = cross_validate(make_pipeline(Doubled(), network()), X, y)["test_score"]
    apart = cross_validate(make_pipeline(Doubled(), network()), X, y)["test_score"]
    np.testing.assert_array_equal(together, apart)
    np.testing.assert_array_equal(X, before)


def test_fits_to_the_same_rows_have_classes_of_their_own(problem, picked):
    folds = [(np.arange(60), np.arange(60, 90))] * 2
    with train_together():
        fits = cross_validate(network(), *problem, cv=folds, return_estimator=True)["estimator"]
    assert picked[1][0] is picked[1][-2]
    first, second = (fit.classes_ for fit in fits)
    first[0] = 7
    np.testing.assert_array_equal(second, [0, 1])
    np.testing.assert_array_equal(fits[0].predict(problem[0]), fits[1].predict(problem[0]))
