"""Metadata routing, scikit-learn's callbacks and the HTML representation."""

import subprocess
import sys

import numpy as np
import pytest
import sklearn
from problems import QUICK, assert_same_model, classes, classifier, numbers, regressor
from sklearn.base import clone
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object

from skintricate import IntricateClassifier, IntricateRegressor
from skintricate.exceptions import DivergenceError
from skintricate.layers import Dense
from skintricate.optimizers import Adam

try:
    from sklearn import callback as callbacks
except ImportError:
    callbacks = None
needs_callbacks = pytest.mark.skipif(callbacks is None, reason="scikit-learn has callbacks from 1.9")

X, Y = classes(120)
WEIGHT = np.random.default_rng(0).integers(0, 3, len(Y)).astype(float)


# Metadata routing


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_what_can_be_requested():
    requests = get_routing_for_object(classifier())
    assert set(requests.fit.requests) == {"sample_weight", "X_val", "y_val", "sample_weight_val"}
    assert set(requests.partial_fit.requests) == {"classes", "sample_weight"}
    assert set(requests.score.requests) == {"sample_weight"}
    assert set(get_routing_for_object(regressor()).partial_fit.requests) == {"sample_weight"}


def test_weights_through_a_pipeline(routing):
    network = classifier(dtype="float64").set_fit_request(sample_weight=True)
    found = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), network)
    found.fit(X, Y, sample_weight=WEIGHT)
    assert_same_model(found[-1], classifier(dtype="float64").fit(found[0].transform(X), Y, sample_weight=WEIGHT))


def test_weights_through_a_search(routing):
    network = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    result = cross_validate(network, X, Y, params={"sample_weight": WEIGHT}, cv=3, return_estimator=True)
    plain = cross_validate(classifier(), X, Y, cv=3, return_estimator=True)
    for a, b in zip(result["estimator"], plain["estimator"]):
        assert not np.array_equal(a.coefs_[0], b.coefs_[0])
    search = GridSearchCV(network, {"learning_rate": [0.01, 0.1]}, cv=3).fit(X, Y, sample_weight=WEIGHT)
    assert_same_model(search.best_estimator_, clone(search.best_estimator_).fit(X, Y, sample_weight=WEIGHT))


def test_validation_data_through_a_pipeline(routing):
    network = classifier(early_stopping=True).set_fit_request(X_val=True, y_val=True)
    pipeline = Pipeline([("scale", StandardScaler()), ("network", network)], transform_input=["X_val"])
    pipeline.fit(X[:80], Y[:80], X_val=X[80:], y_val=Y[80:])
    scaled = pipeline["scale"].transform(X[80:])
    assert pipeline["network"].validation_scores_ is not None
    direct = classifier(early_stopping=True)
    direct.fit(pipeline["scale"].transform(X[:80]), Y[:80], X_val=scaled, y_val=Y[80:])
    assert_same_model(pipeline["network"], direct)
    assert pipeline["network"].validation_scores_ == direct.validation_scores_


# Callbacks


class Stopper:
    """Asks to stop after some epochs, and counts what it is told."""

    def __init__(self, after):
        self.after = after
        self.epochs = 0
        self.told = []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.told.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context):
        self.told.append(f"end {context.task_name}")
        self.epochs += context.task_name == "epoch"
        return context.task_name == "epoch" and self.epochs >= self.after


def epoch_scores(monitor, name):
    """Return the scores of the last run's epochs in their order."""
    return [row[name] for row in monitor.get_logs().data if row["task_name"] == "epoch"]


@needs_callbacks
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_a_monitor_scores_every_epoch(weight):
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    estimator = classifier(batch_size=32, learning_rate=0.01).set_callbacks(monitor)
    estimator.fit(X, Y, sample_weight=weight)
    scores = epoch_scores(monitor, "accuracy")
    assert len(scores) == 5
    for epoch, score in enumerate(scores, 1):
        expected = classifier(batch_size=32, learning_rate=0.01, max_iter=epoch).fit(X, Y, sample_weight=weight)
        assert score == expected.score(X, Y, sample_weight=weight)


@needs_callbacks
def test_a_monitor_of_a_regressor_in_float64():
    X_real, y_real = numbers()
    monitor = callbacks.ScoringMonitor(scoring=["r2", "neg_mean_absolute_error"])
    estimator = regressor(dtype="float64").set_callbacks(monitor).fit(X_real, y_real)
    assert epoch_scores(monitor, "r2")[-1] == pytest.approx(estimator.score(X_real, y_real))
    assert len(epoch_scores(monitor, "neg_mean_absolute_error")) == 5


@needs_callbacks
def test_the_whole_fit_is_scored_as_what_it_made():
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    estimator = classifier(learning_rate=0.05).set_callbacks(monitor)
    for n_epochs in (3, 40):
        estimator.set_params(max_iter=n_epochs).fit(X, Y)
        whole = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "fit"]
        assert whole in ([], [estimator.score(X, Y)])


@needs_callbacks
def test_callbacks_change_nothing():
    watched = classifier(batch_size=32).set_callbacks(callbacks.ScoringMonitor(scoring="accuracy")).fit(X, Y)
    assert_same_model(watched, classifier(batch_size=32).fit(X, Y))


@needs_callbacks
def test_a_wish_to_stop_is_honoured():
    stopper = Stopper(after=3)
    estimator = classifier(max_iter=50).set_callbacks(stopper).fit(X, Y)
    assert estimator.n_iter_ == stopper.epochs == 3
    assert stopper.told[0] == "setup"
    assert stopper.told[-1] == "teardown"
    assert stopper.told.count("begin epoch") == stopper.told.count("end epoch") == 3
    assert_same_model(estimator, classifier(max_iter=3).fit(X, Y))


@needs_callbacks
def test_teardown_after_an_error():
    stopper = Stopper(after=100)
    estimator = classifier(optimizer="sgd", learning_rate=1e30).set_callbacks(stopper)
    with pytest.raises(DivergenceError):
        estimator.fit(X, Y)
    assert stopper.told.count("setup") == stopper.told.count("teardown") == 1
    assert not hasattr(estimator, "model_")


@needs_callbacks
def test_an_error_is_not_hidden_by_a_monitor():
    estimator = classifier(optimizer="sgd", learning_rate=1e30)
    estimator.set_callbacks(callbacks.ScoringMonitor(scoring="neg_log_loss"))
    with pytest.raises(DivergenceError, match="Lower learning_rate"):
        estimator.fit(X, Y)


@needs_callbacks
def test_a_progress_bar(capsys):
    pytest.importorskip("rich")
    classifier().set_callbacks(callbacks.ProgressBar()).fit(X, Y)
    shown = capsys.readouterr().out
    assert "IntricateClassifier" in shown
    assert "100%" in shown


@needs_callbacks
def test_callbacks_in_a_pipeline():
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    pipeline = make_pipeline(StandardScaler(), classifier().set_callbacks(monitor)).fit(X, Y)
    assert epoch_scores(monitor, "accuracy")[-1] == pipeline.score(X, Y)


@needs_callbacks
def test_a_progress_bar_over_a_pipeline(capsys):
    pytest.importorskip("rich")
    bar = callbacks.ProgressBar(max_propagation_depth=2)
    make_pipeline(StandardScaler(), classifier()).set_callbacks(bar).fit(X, Y)
    assert "IntricateClassifier" in capsys.readouterr().out


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_callbacks_in_a_search(n_jobs):
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(classifier().set_callbacks(monitor), {"learning_rate": [0.01, 0.1]}, cv=2, n_jobs=n_jobs)
    search.fit(X, Y)
    log = monitor.get_logs()
    assert log.estimator_name == "GridSearchCV"
    assert sum(row["task_name"] == "epoch" for row in log.data) == 5 * (2 * 2 + 1)


@needs_callbacks
def test_clones_keep_their_callbacks():
    monitor = callbacks.ScoringMonitor(scoring="accuracy")
    clone(classifier().set_callbacks(monitor)).fit(X, Y)
    assert len(epoch_scores(monitor, "accuracy")) == 5


@needs_callbacks
def test_a_custom_scorer():
    monitor = callbacks.ScoringMonitor(scoring={"mine": make_scorer(accuracy_score)})
    estimator = classifier().set_callbacks(monitor).fit(X, Y)
    assert epoch_scores(monitor, "mine")[-1] == estimator.score(X, Y)


# HTML representation


@pytest.mark.parametrize("cls", [IntricateClassifier, IntricateRegressor])
def test_html_shows_every_parameter_with_its_documentation(cls):
    page = cls()._repr_html_()
    for name in cls().get_params(deep=False):
        assert name in page
    if callbacks is not None:
        assert "Most epochs." in page
        assert "Epochs without improvement after which training stops" in page
    assert (
        f"skintricate.readthedocs.io/en/latest/skintricate.estimators.{cls.__name__.removeprefix('Intricate').lower()}"
        in (page.lower())
    )


def test_html_of_nested_objects_and_fitted_estimators():
    estimator = classifier((("hidden", Dense(4)), "tanh"), optimizer=Adam(beta_1=0.8))
    assert "Dense(4)" in estimator._repr_html_()
    estimator.fit(X, Y)
    page = make_pipeline(StandardScaler(), estimator)._repr_html_()
    assert "Adam(beta_1=0.8)" in page
    assert "IntricateClassifier" in page


def test_html_touches_no_device(tmp_path):
    import joblib

    joblib.dump(classifier().fit(X, Y), tmp_path / "model")
    code = (
        "import sys, joblib, skintricate\n"
        "assert skintricate.IntricateClassifier()._repr_html_()\n"
        "estimator = joblib.load(sys.argv[1])\n"
        "assert 'IntricateClassifier' in estimator._repr_html_() and repr(estimator)\n"
        "assert estimator.coefs_ and estimator.history_ and estimator.device_\n"
        "assert 'pyopencl' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "model"], check=True, timeout=120)


def test_an_unfitted_estimator_has_no_fitted_attributes():
    estimator = IntricateClassifier(**QUICK)
    for name in ("coefs_", "intercepts_", "history_", "classes_", "n_iter_", "device_", "model_"):
        assert not hasattr(estimator, name)
