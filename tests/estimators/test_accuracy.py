"""As accurate as scikit-learn's networks at the same settings."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from skintricate import IntricateClassifier, IntricateRegressor

SEEDS = range(5)
# Loader, units, learning rate, epochs: enough for a good model in a second or two.
PROBLEMS = {
    "digits": (load_digits, (32,), 0.005, 15),
    "breast cancer": (load_breast_cancer, (16,), 0.005, 20),
    "wine": (load_wine, (16,), 0.01, 30),
    "diabetes": (load_diabetes, (16,), 0.01, 60),
}


def scores(cls, loader, seeds, **params):
    """Return the test score of each seed, of the split and of the network alike."""
    X, y = loader(return_X_y=True)
    X = scale(X)
    y = scale(y) if loader is load_diabetes else y
    results = []
    for seed in seeds:
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed, test_size=0.3)
        results.append(cls(random_state=seed, **params).fit(X_train, y_train).score(X_test, y_test))
    return np.array(results)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_as_accurate_as_scikit_learn(name, dtype):
    loader, units, rate, epochs = PROBLEMS[name]
    mine, theirs = (IntricateRegressor, MLPRegressor) if name == "diabetes" else (IntricateClassifier, MLPClassifier)
    settings = {"max_iter": epochs, "batch_size": 50, "alpha": 1e-4}
    expected = scores(theirs, loader, SEEDS, hidden_layer_sizes=units, learning_rate_init=rate, **settings)
    found = scores(mine, loader, SEEDS, layers=units, learning_rate=rate, dtype=dtype, **settings)
    assert found.mean() >= expected.mean() - expected.std(), (found, expected)
    # Far better would mean that the settings differ.
    assert abs(found.mean() - expected.mean()) <= 2 * max(expected.std(), found.std()), (found, expected)


def test_losses_fall_alike():
    X, y = load_digits(return_X_y=True)
    settings = {"max_iter": 10, "batch_size": 100, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        expected = MLPClassifier((32,), alpha=0, **settings).fit(X / 16, y).loss_curve_
    with pytest.warns(ConvergenceWarning):
        found = IntricateClassifier((32,), **settings).fit(X / 16, y).loss_curve_
    np.testing.assert_allclose(found, expected, rtol=0.15)
