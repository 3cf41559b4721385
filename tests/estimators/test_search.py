"""Searches, cross-validation, and parameters that are got, set and cloned."""

import copy

import joblib
import numpy as np
import pytest
from problems import assert_same_model, classes, classifier, numbers, regressor
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skintricate import initializers, layers, losses, optimizers
from skintricate.initializers import HeNormal
from skintricate.layers import Dense, Dropout, LeakyReLU, TanH
from skintricate.losses import Huber
from skintricate.optimizers import Adam, CosineRate, Momentum
from skintricate.training import MinAccuracyReached, MinLossReached

X, Y = classes(90)
X_REAL, Y_REAL = numbers(90)
NAMED = (("hidden", Dense(4)), TanH(), ("noise", Dropout(0.1)))


# Grid searches

GRIDS = {
    "learning rate": (classifier(), {"learning_rate": [1e-4, 0.05]}),
    "layers": (classifier(), {"layers": [(), (4,), (8, "tanh"), (Dense(3), "leaky_relu")]}),
    "units of a named layer": (classifier(NAMED), {"layers__hidden__units": [2, 9], "layers__noise__rate": [0, 0.2]}),
    "a named layer": (classifier(NAMED), {"layers__hidden": [Dense(3), Dense(5, use_bias=False)]}),
    "optimizer": (classifier(optimizer=Adam()), {"optimizer__beta_1": [0.5, 0.9], "optimizer__learning_rate": [0.01]}),
    "schedule": (classifier(optimizer=Adam(CosineRate())), {"optimizer__learning_rate__rate": [1e-4, 0.1]}),
    "names": (classifier(), {"optimizer": ["sgd", Momentum(0.1)], "activation": ["relu", LeakyReLU(0.2)]}),
    "halting": (classifier(halting_condition=MinLossReached(0)), {"halting_condition__loss": [0.0, -1.0]}),
    "loss": (regressor(loss=Huber()), {"loss__delta": [0.1, 2.0]}),
    "batch size": (regressor(), {"batch_size": [8, "auto"], "alpha": [0.0, 0.1], "dtype": ["float32", "float64"]}),
}


@pytest.mark.parametrize(("estimator", "grid"), GRIDS.values(), ids=GRIDS)
def test_grid_search(estimator, grid):
    data = (X, Y) if "Classifier" in type(estimator).__name__ else (X_REAL, Y_REAL)
    before = repr(estimator)
    search = GridSearchCV(estimator, grid, cv=3, error_score="raise").fit(*data)
    assert repr(estimator) == before
    assert not hasattr(estimator, "model_")
    expected = clone(estimator).set_params(**search.best_params_).fit(*data)
    assert_same_model(search.best_estimator_, expected)
    for params in search.cv_results_["params"]:
        got = clone(estimator).set_params(**params).get_params()
        assert all(got[name] == value for name, value in params.items())


def test_processes_find_what_one_finds():
    grid = {"learning_rate": [0.001, 0.05], "layers__hidden__units": [3, 8]}
    searches = [
        GridSearchCV(classifier(NAMED), grid, cv=3, n_jobs=n_jobs, error_score="raise").fit(X, Y) for n_jobs in (1, 2)
    ]
    one, two = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_array_equal(one, two)
    assert_same_model(*(search.best_estimator_ for search in searches), rtol=1e-5)


def test_threads_find_what_one_finds():
    grid = {"learning_rate": [0.001, 0.01, 0.05], "optimizer": ["adam", "momentum"]}
    alone = GridSearchCV(classifier(batch_size=16), grid, cv=3).fit(X, Y)
    with joblib.parallel_config(backend="threading"):
        threads = GridSearchCV(classifier(batch_size=16), grid, cv=3, n_jobs=4).fit(X, Y)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], threads.cv_results_["mean_test_score"])
    assert_same_model(alone.best_estimator_, threads.best_estimator_)


def test_search_in_a_pipeline():
    pipeline = Pipeline([("scale", StandardScaler()), ("network", classifier(NAMED))])
    grid = {"network__learning_rate": [0.01, 0.1], "network__layers__hidden__units": [2, 6]}
    search = GridSearchCV(pipeline, grid, cv=3, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss").fit(X, Y)
    assert search.predict_proba(X).shape == (len(X), 3)
    assert search.best_estimator_["network"].layers[0][1].units == search.best_params_["network__layers__hidden__units"]
    assert pipeline["network"].layers[0][1].units == 4


def test_randomized_search():
    search = RandomizedSearchCV(
        regressor(optimizer=Adam()),
        {"optimizer__learning_rate": [0.001, 0.01, 0.1], "layers": [(3,), (9,)]},
        n_iter=4,
        cv=3,
        random_state=0,
        error_score="raise",
    ).fit(X_REAL, Y_REAL)
    assert len(search.cv_results_["params"]) == 4


@pytest.mark.parametrize("resource", ["n_samples", "max_iter"])
def test_halving_search(resource):
    limits = {"max_resources": 8} if resource == "max_iter" else {"min_resources": 20}
    search = HalvingGridSearchCV(
        classifier(), {"learning_rate": [0.001, 0.01, 0.1]}, resource=resource, cv=2, random_state=0, **limits
    ).fit(X, Y)
    assert search.n_iterations_ > 1
    assert search.best_estimator_.n_iter_ == (search.n_resources_[-1] if resource == "max_iter" else 5)


def test_cross_validation():
    result = cross_validate(
        classifier(), X, Y, cv=3, return_estimator=True, return_train_score=True, error_score="raise"
    )
    assert len(result["estimator"]) == 3
    assert cross_val_score(regressor(), X_REAL, Y_REAL, cv=3, error_score="raise").shape == (3,)
    probabilities = cross_val_predict(classifier(), X, Y, cv=3, method="predict_proba")
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_curves():
    _, train, _ = learning_curve(classifier(), X, Y, cv=3, train_sizes=[0.5, 1.0], error_score="raise")
    assert train.shape == (2, 3)
    # exploit_incremental_learning goes through partial_fit with the classes announced.
    _, train, _ = learning_curve(
        classifier(), X, Y, cv=3, train_sizes=[0.5, 1.0], exploit_incremental_learning=True, error_score="raise"
    )
    assert train.shape == (2, 3)
    train, _ = validation_curve(
        classifier(NAMED), X, Y, param_name="layers__hidden__units", param_range=[2, 5], cv=3, error_score="raise"
    )
    assert train.shape == (2, 3)


# get_params, set_params, clone

RICH = {
    "layers": NAMED,
    "activation": LeakyReLU(0.3),
    "optimizer": Adam(CosineRate(0.01), beta_1=0.8, clip_norm=2.0),
    "halting_condition": MinLossReached(0.1) & MinAccuracyReached(0.5),
    "class_weight": {0: 2.0, 1: 1.0, 2: 0.5},
    "random_state": 7,
}


def test_round_trip_of_all_parameters():
    estimator = classifier(**RICH)
    params = estimator.get_params()
    for name in ("layers__hidden__units", "optimizer__beta_1", "optimizer__learning_rate__rate"):
        assert name in params
    assert params["halting_condition__first__loss"] == 0.1
    for name, value in params.items():
        again = classifier(**RICH).set_params(**{name: value}).get_params()
        assert again[name] == value
    assert repr(classifier().set_params(**estimator.get_params(deep=False))) == repr(estimator)
    assert repr(clone(estimator).set_params(**params)) == repr(estimator)


def test_shallow_parameters_are_those_of_the_constructor():
    assert not [name for name in classifier(**RICH).get_params(deep=False) if "__" in name]


def test_clone_shares_no_object():
    estimator = classifier(**RICH)
    other = clone(estimator)
    other.set_params(layers__hidden__units=99, optimizer__beta_1=0.1, halting_condition__first__loss=9.0)
    assert estimator.layers[0][1].units == 4
    assert estimator.optimizer.beta_1 == 0.8
    assert estimator.halting_condition.first.loss == 0.1


@pytest.mark.parametrize("module", [layers, losses, optimizers, initializers])
def test_clone_of_every_object(module):
    for cls in dict.fromkeys(module.BY_NAME.values()):
        thing = cls()
        for other in (clone(thing), copy.deepcopy(thing)):
            assert other == thing
            assert other is not thing
            assert other.get_params() == thing.get_params()
    assert clone(Dense(3, kernel_initializer=HeNormal())) == Dense(3, kernel_initializer=HeNormal())


def test_setting_a_named_layer_keeps_the_others():
    estimator = classifier(list(NAMED)).set_params(layers__noise=Dropout(0.4), layers__hidden__units=5)
    assert isinstance(estimator.layers, list)
    assert estimator.layers[0] == ("hidden", Dense(5))
    assert estimator.layers[2] == ("noise", Dropout(0.4))


def test_a_layer_and_its_parameter_at_once():
    estimator = classifier(NAMED)
    estimator = clone(estimator).set_params(layers__hidden=Dense(3), layers__hidden__units=6)
    assert estimator.layers[0][1].units == 6
    estimator = clone(estimator).set_params(layers__hidden__units=7, layers__hidden=Dense(3))
    assert estimator.layers[0][1].units == 7
    estimator = clone(estimator).set_params(layers=(("other", Dense(2)),), layers__other__units=8)
    assert estimator.layers[0][1].units == 8


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"units": 3}, "Invalid parameter 'units'"),
        ({"layers__absent__units": 3}, "named 'absent'.*hidden"),
        ({"layers__hidden__width": 3}, "no parameter 'width'.*units"),
        ({"optimizer__gamma": 3}, "gamma"),
        ({"layers__hidden__units": 0}, "units"),
        ({"optimizer__beta_1": 2.0}, "beta_1"),
    ],
)
def test_parameters_that_are_not(params, message):
    with pytest.raises(ValueError, match=message):
        classifier(**{**RICH, "optimizer": Adam()}).set_params(**params)


def test_a_fitted_estimator_is_not_changed_by_set_params():
    estimator = classifier(NAMED).fit(X, Y)
    expected = estimator.predict_proba(X)
    estimator.set_params(layers__hidden__units=30)
    np.testing.assert_array_equal(estimator.predict_proba(X), expected)


def test_random_states():
    first = classifier(random_state=np.random.RandomState(0)).fit(X, Y)
    assert_same_model(classifier(random_state=np.random.RandomState(0)).fit(X, Y), first)
    assert_same_model(
        make_pipeline(StandardScaler(), classifier()).fit(X, Y)[-1],
        make_pipeline(StandardScaler(), classifier()).fit(X, Y)[-1],
    )
