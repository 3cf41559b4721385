"""A search on a cluster of two processes: each worker trains its share of the candidates together."""

import os
import signal
import threading

import joblib
import numpy as np
import pytest
from sklearn import model_selection
from sklearn.datasets import load_iris

import skintricate.model_selection as ours
from skintricate import IntricateClassifier

distributed = pytest.importorskip("distributed", reason="Dask is an extra.")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
X, y = load_iris(return_X_y=True)
# Epochs that take a share of the candidates a second or more.
LONG = 15_000
SPACE = {"learning_rate": [1e-4, 1e-3, 1e-2, 0.1]}


@pytest.fixture(scope="module")
def client():
    # Any free port: another cluster on this machine may hold the one Dask prefers.
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def search(module, device, max_iter=5):
    network = IntricateClassifier((8,), device=device, max_iter=max_iter, n_iter_no_change=None, random_state=0)
    return module.GridSearchCV(network, SPACE, cv=3, refit=False)


@pytest.mark.parametrize("module", [ours, model_selection], ids=["together", "scikit-learn"])
def test_scores_are_those_of_one_process(module, client, device):
    expected = search(ours, device).fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend="dask"):
        scores = search(module, device).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_a_killed_worker_costs_time_and_no_results(client, device):
    expected = search(ours, device, LONG).fit(X, y).cv_results_["mean_test_score"]
    victim, events = next(iter(client.run(os.getpid).values())), []

    def kill():
        os.kill(victim, signal.SIGKILL)
        events.append("killed")

    timer = threading.Timer(0.5, kill)
    timer.start()
    with joblib.parallel_config(backend="dask"):
        scores = search(ours, device, LONG).fit(X, y).cv_results_["mean_test_score"]
    events.append("done")
    timer.join()
    assert events == ["killed", "done"]
    np.testing.assert_allclose(scores, expected, atol=1e-6)
