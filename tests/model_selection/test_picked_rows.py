"""Rows of X that several tasks ask for: picked once, as NumPy picks them, for those who only read them."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

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


@pytest.mark.parametrize("key", [(np.array([3, 1, 1]), ...), slice(2, 5), np.array([0, 2]), (..., 1), 4], ids=repr)
def test_rows_are_those_that_numpy_picks(key, problem):
    X, _ = problem
    np.testing.assert_array_equal(PickedRows(X)[key], X[key])
    assert np.array_equal(np.asarray(PickedRows(X)), X)
    assert len(PickedRows(X)) == len(X)


def test_each_list_of_rows_has_an_array_of_its_own(problem):
    rows, others = np.arange(5), np.arange(5, 10)
    picked = PickedRows(problem[0])
    assert picked[rows, ...] is picked[rows, ...]
    assert not np.array_equal(picked[rows, ...], picked[others, ...])


def test_the_candidates_of_a_search_share_the_rows_of_a_fold(problem):
    seen = []

    def score(estimator, X, y):
        seen.append(X)
        return estimator.score(X, y)

    GridSearchCV(network(), RATES, cv=5, scoring=score, refit=False).fit(*problem)
    assert len(seen) == 15
    assert len({id(X) for X in seen}) == 5
    assert {type(X) for X in seen} == {np.ndarray}


def test_who_writes_into_shared_rows_is_told(problem):
    def score(estimator, X, y):
        X *= 0
        return 0.0

    with pytest.raises(ValueError, match="read-only"), train_together():
        cross_validate(network(), *problem, scoring=score, error_score="raise")
    assert problem[0].any()


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
