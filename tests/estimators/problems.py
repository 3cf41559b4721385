"""Small data sets and comparisons that the estimators' tests share."""

import numpy as np
from sklearn.datasets import make_classification, make_regression

from skintricate import IntricateClassifier, IntricateRegressor

QUICK = {"max_iter": 5, "n_iter_no_change": None, "random_state": 0}


def classifier(layers=(8,), **params):
    """Return a classifier that trains five epochs."""
    return IntricateClassifier(layers, **{**QUICK, **params})


def regressor(layers=(8,), **params):
    """Return a regressor that trains five epochs."""
    return IntricateRegressor(layers, **{**QUICK, **params})


def classes(n_samples=60, n_classes=3, seed=0):
    """Return a classification problem of 5 features."""
    return make_classification(
        n_samples, 5, n_informative=4, n_redundant=0, n_classes=n_classes, n_clusters_per_class=1, random_state=seed
    )


def labels(n_samples=60, n_labels=3, seed=0):
    """Return a multilabel problem whose labels a linear network can learn."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_samples, 5))
    return X, (X @ generator.normal(size=(5, n_labels)) > 0).astype(int)


def numbers(n_samples=60, n_outputs=1, seed=0):
    """Return a regression problem of 5 features, targets of unit scale."""
    X, y = make_regression(n_samples, 5, n_targets=n_outputs, random_state=seed)
    return X, y / y.std(axis=0)


def weights_of(estimator):
    """Return every weight and bias of a fitted estimator."""
    return [*estimator.coefs_, *estimator.intercepts_]


def assert_same_model(found, expected, rtol=0):
    """Assert that two fitted estimators have the same weights; without ``rtol``, in every bit."""
    found, expected = weights_of(found), weights_of(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        if rtol:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
        else:
            np.testing.assert_array_equal(a, b, strict=True)


def differ(a, b):
    """Say whether two fitted estimators have different weights."""
    return any(not np.array_equal(p, q) for p, q in zip(weights_of(a), weights_of(b)))
