"""Ensembles of networks that are trained together."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn import model_selection
from sklearn.base import clone
from sklearn.datasets import load_iris, make_regression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skintricate import IntricateClassifier, IntricateRegressor
from skintricate.backend import open_device
from skintricate.estimators import IntricateEnsembleClassifier, IntricateEnsembleRegressor
from skintricate.model_selection import GridSearchCV

SHORT = {"max_iter": 5, "n_iter_no_change": None, "batch_size": 32}
X, y = load_iris(return_X_y=True)


def agree(mine, wanted, device):
    np.testing.assert_allclose(mine, wanted, atol=0 if open_device(device).is_cpu else 1e-3)


def test_classifier_averages_its_networks(device, served):
    network = IntricateClassifier((8,), device=device, **SHORT)
    weight = np.linspace(0, 2, len(y))
    ensemble = IntricateEnsembleClassifier(network, 6, random_state=3).fit(X, y, weight)
    assert served == [6]
    seeds = np.random.RandomState(3).randint(2**31 - 1, size=6)
    alone = [clone(network).set_params(random_state=seed).fit(X, y, weight) for seed in seeds]
    assert [e.random_state for e in ensemble.estimators_] == seeds.tolist()
    wanted = np.mean([e.predict_proba(X) for e in alone], axis=0)
    agree(ensemble.predict_proba(X), wanted, device)
    agree(ensemble.predict_log_proba(X), np.log(wanted), device)
    np.testing.assert_array_equal(ensemble.predict(X), wanted.argmax(axis=1))
    agree(pickle.loads(pickle.dumps(ensemble)).predict_proba(X), wanted, device)


def test_multilabel_classifier(device, served):
    labels = np.column_stack([y == 0, y == 2]).astype(int)
    network = IntricateClassifier((8,), device=device, **SHORT)
    ensemble = IntricateEnsembleClassifier(network, 3, random_state=0).fit(X, labels)
    wanted = np.mean([e.predict_proba(X) for e in ensemble.estimators_], axis=0)
    agree(ensemble.predict_proba(X), wanted, device)
    np.testing.assert_array_equal(ensemble.predict(X), wanted > 0.5)


@pytest.mark.parametrize("weighted", [False, True])
def test_bootstrap(weighted, device, served):
    data, target = make_regression(80, 4, n_targets=2, random_state=0)
    weight = np.linspace(0.5, 1, 80) if weighted else None
    network = IntricateRegressor((8,), device=device, **SHORT)
    ensemble = IntricateEnsembleRegressor(network, 4, bootstrap=True, random_state=1).fit(data, target, weight)
    assert served == [4]
    generator = np.random.RandomState(1)
    seeds = [generator.randint(2**31 - 1) for _ in range(4)]
    alone = []
    for seed in seeds:
        drawn = generator.multinomial(80, np.full(80, 1 / 80))
        assert drawn.sum() == 80
        assert (drawn == 0).any()
        alone.append(
            clone(network).set_params(random_state=seed).fit(data, target, drawn * (1 if weight is None else weight))
        )
    np.testing.assert_allclose(ensemble.predict(data), np.mean([e.predict(data) for e in alone], axis=0), atol=1e-3)


def test_in_a_pipeline_and_a_search(device, served):
    ensemble = IntricateEnsembleClassifier(IntricateClassifier((8,), device=device, **SHORT), 3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), ensemble)
    space = {"intricateensembleclassifier__estimator__learning_rate": [1e-3, 0.1]}
    mine = GridSearchCV(pipeline, space, cv=4).fit(X, y)
    wanted = model_selection.GridSearchCV(pipeline, space, cv=4).fit(X, y)
    assert served[0] == 2 * 4 * 3
    agree(mine.cv_results_["mean_test_score"], wanted.cv_results_["mean_test_score"], device)


def test_feature_names(device):
    frame = pd.DataFrame(X, columns=list("abcd"))
    ensemble = IntricateEnsembleClassifier(IntricateClassifier((8,), device=device, **SHORT), 2).fit(frame, y)
    assert ensemble.feature_names_in_.tolist() == list("abcd")
    assert ensemble.predict(frame).shape == y.shape
    assert not hasattr(ensemble.fit(X, y), "feature_names_in_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": LogisticRegression()}, "estimator must be None or an IntricateClassifier"),
        ({"n_estimators": 0}, "n_estimators"),
        ({"bootstrap": "yes"}, "bootstrap must be True or False"),
        ({"bootstrap": True, "estimator": IntricateClassifier(early_stopping=True)}, "Use bootstrap=False"),
        ({"estimator": IntricateClassifier(batch_size=0)}, "batch_size"),
    ],
)
def test_bad_parameters(options, message, device):
    with pytest.raises((TypeError, ValueError), match=message):
        IntricateEnsembleClassifier(**options).fit(X, y)


def test_bootstrap_leaves_errors_of_the_data_to_the_networks(device):
    ensemble = IntricateEnsembleClassifier(IntricateClassifier(device=device), 2, bootstrap=True)
    for data in (np.empty((0, 3)), None):
        with pytest.raises(ValueError, match=r"0 sample|2D array"):
            ensemble.fit(data, np.empty(0))


def test_bootstrap_with_few_weights_above_zero(device):
    weight = np.zeros(len(y))
    weight[[0, 60, 120]] = 1
    network = IntricateClassifier((4,), device=device, **SHORT)
    ensemble = IntricateEnsembleClassifier(network, 5, bootstrap=True, random_state=0).fit(X, y, weight)
    assert ensemble.predict_proba(X).shape == (150, 3)
