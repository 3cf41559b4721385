"""Training in parts: early stopping, warm start and partial fits."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
from problems import assert_same_model, classes, classifier, differ, labels, numbers, regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split

from skintricate.exceptions import HaltingWarning, TrainingInterruptedWarning
from skintricate.layers import Dropout
from skintricate.optimizers import ExponentialRate
from skintricate.training import Callback, MinAccuracyReached, MinLossReached

X, Y = classes(200)
X_REAL, Y_REAL = numbers(200)
NOISY = Y_REAL + np.random.default_rng(0).normal(0, 0.7, len(Y_REAL))


class Recorder(Callback):
    """Keeps the weights after each epoch; can interrupt as Ctrl-C does, or stop."""

    def __init__(self, interrupt_at=None, stop_at=None):
        self.interrupt_at = interrupt_at
        self.stop_at = stop_at

    def on_fit_begin(self, max_iter):
        self.weights = []

    def on_epoch_end(self, epoch, weights):
        self.weights.append([w.copy() for w in weights().weights])
        if epoch.number == self.interrupt_at:
            raise KeyboardInterrupt
        return epoch.number == self.stop_at


# Early stopping


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("make", "data", "score"), [(classifier, (X, Y), accuracy_score), (regressor, (X_REAL, NOISY), r2_score)]
)
def test_best_weights_on_data_of_ones_own(make, data, score, weighted):
    X_train, X_val, y_train, y_val = train_test_split(*data, random_state=0, test_size=0.4)
    weight = np.random.default_rng(0).uniform(0, 3, len(y_val)) if weighted else None
    recorder = Recorder()
    estimator = make(
        (16,), max_iter=40, learning_rate=0.2, batch_size=16, early_stopping=True, n_iter_no_change=6, verbose=recorder
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(X_train, y_train, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    scores = estimator.validation_scores_
    assert len(scores) == estimator.n_iter_ == len(estimator.loss_curve_)
    assert estimator.best_validation_score_ == max(scores)
    assert scores[-1] < max(scores), "this problem should overshoot, or the test says nothing"
    for found, expected in zip(estimator.model_.state.weights, recorder.weights[int(np.argmax(scores))]):
        np.testing.assert_array_equal(found, expected)
    found = score(y_val, estimator.predict(X_val), sample_weight=weight)
    assert found == pytest.approx(max(scores), abs=1e-6)


@pytest.mark.parametrize(
    ("make", "data"), [(classifier, (X, Y)), (regressor, (X_REAL, Y_REAL)), (classifier, labels())]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_best_weights_on_a_split(make, data, weighted):
    weight = np.random.default_rng(0).uniform(0, 3, len(data[1])) if weighted else None
    estimator = make(early_stopping=True, validation_fraction=0.25, n_iter_no_change=3, max_iter=200, learning_rate=0.1)
    estimator.fit(*data, sample_weight=weight)
    assert estimator.n_iter_ < 200
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    since_best = len(estimator.validation_scores_) - 1 - int(np.argmax(estimator.validation_scores_))
    assert since_best >= 3


def test_the_split_is_stratified_and_seeded():
    y = (np.arange(len(Y)) % 10 == 0).astype(int)
    first = classifier(early_stopping=True).fit(X, y)
    assert_same_model(classifier(early_stopping=True).fit(X, y), first)
    assert differ(classifier(early_stopping=True, random_state=1).fit(X, y), first)


def test_validation_data_without_early_stopping_only_watches():
    estimator = classifier().fit(X, Y, X_val=X, y_val=Y)
    assert len(estimator.validation_scores_) == 5
    assert_same_model(estimator, classifier().fit(X, Y))
    assert estimator.validation_scores_[-1] == estimator.score(X, Y)
    assert classifier().fit(X, Y).validation_scores_ is None


def test_no_validation_data_means_no_scores():
    estimator = classifier().fit(X, Y)
    assert estimator.validation_scores_ is None
    assert estimator.best_validation_score_ is None


def test_patience_counts_epochs_without_improvement():
    estimator = classifier(tol=1e6, n_iter_no_change=4, max_iter=100).fit(X, Y)
    assert estimator.n_iter_ == 6
    watched = classifier(tol=1e6, n_iter_no_change=4, max_iter=100, early_stopping=True).fit(X, Y)
    assert watched.n_iter_ == 6


def test_patience_is_the_same_whether_the_host_waits_or_not():
    params = {"n_iter_no_change": 3, "tol": 5e-3, "max_iter": 500, "learning_rate": 0.02, "batch_size": 32}
    alone, watched = classifier(**params).fit(X, Y), classifier(**params, verbose=Recorder()).fit(X, Y)
    assert alone.n_iter_ == watched.n_iter_ < 500
    assert_same_model(alone, watched)


@pytest.mark.parametrize("endless", [None, np.inf])
def test_endless_patience(endless):
    estimator = classifier(n_iter_no_change=endless, tol=1e6, max_iter=30).fit(X, Y)
    assert estimator.n_iter_ == 30


def test_a_fit_that_did_not_converge_warns():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(5\)"):
        classifier(n_iter_no_change=10).fit(X, Y)


# Other reasons to stop


def test_halting_conditions():
    with pytest.warns(HaltingWarning, match="MinLossReached"):
        estimator = classifier(max_iter=500, learning_rate=0.05, halting_condition=MinLossReached(0.5)).fit(X, Y)
    assert estimator.loss_ <= 0.5 < estimator.loss_curve_[-2]
    condition = MinAccuracyReached(0.8) | MinLossReached(0.0)
    with pytest.warns(HaltingWarning, match="MinAccuracyReached"):
        estimator = classifier(max_iter=500, learning_rate=0.05, halting_condition=condition).fit(X, Y)
    assert estimator.history_.accuracy[-1] >= 0.8 > estimator.history_.accuracy[-2]


def test_a_callback_ends_training():
    estimator = classifier(max_iter=50, verbose=Recorder(stop_at=7)).fit(X, Y)
    assert estimator.n_iter_ == 7
    assert_same_model(estimator, classifier(max_iter=7).fit(X, Y))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupt_keeps_the_weights_so_far(early_stopping):
    params = {"early_stopping": early_stopping, "max_iter": 50}
    with pytest.warns(TrainingInterruptedWarning, match="after 3 epochs"):
        estimator = classifier(**params, verbose=Recorder(interrupt_at=3)).fit(X, Y)
    assert estimator.n_iter_ == 3
    if not early_stopping:
        assert_same_model(estimator, classifier(max_iter=3).fit(X, Y))


def test_an_interrupt_before_the_first_epoch():
    class Impatient(Callback):
        def on_epoch_begin(self):
            raise KeyboardInterrupt

    for train in (classifier(verbose=Impatient()).fit, classifier(verbose=Impatient()).partial_fit):
        with pytest.warns(TrainingInterruptedWarning, match="after 0 epochs"):
            estimator = train(X, Y)
        assert estimator.n_iter_ == 0
        assert estimator.loss_curve_ == []
        assert estimator.predict(X).shape == Y.shape
    estimator = classifier().partial_fit(X, Y).set_params(verbose=Impatient())
    expected = copy.deepcopy(estimator)
    with pytest.warns(TrainingInterruptedWarning, match="after 0 epochs"):
        estimator.partial_fit(X, Y)
    assert_same_model(estimator, expected)


# Warm start

NETWORKS = {
    "adam": {},
    "batches": {"batch_size": 32},
    "momentum": {"batch_size": 32, "optimizer": "momentum"},
    "no shuffle": {"batch_size": 32, "shuffle": False},
    "dropout": {"batch_size": 32, "layers": (8, Dropout(0.3), 4)},
    "schedule": {"batch_size": 64, "learning_rate": ExponentialRate(0.01, 0.7)},
    "float64": {"batch_size": 32, "dtype": "float64"},
    "weight decay": {"batch_size": 32, "optimizer": "adamw", "alpha": 0.1},
}


@pytest.mark.parametrize("params", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("make", "data"), [(classifier, (X, Y)), (regressor, (X_REAL, Y_REAL))])
def test_warm_start_goes_on_where_it_was(make, data, params):
    whole = make(**params, max_iter=5).fit(*data)
    parts = make(**params, max_iter=2, warm_start=True).fit(*data)
    parts.set_params(max_iter=3).fit(*data)
    assert_same_model(parts, whole)
    assert parts.loss_curve_ == whole.loss_curve_[2:]


def test_without_warm_start_fit_starts_anew():
    estimator = classifier().fit(X, Y)
    expected = copy.deepcopy(estimator)
    estimator.fit(X[:50], Y[:50])
    assert_same_model(estimator.fit(X, Y), expected)


def test_warm_start_takes_other_rows_and_rates():
    estimator = classifier(warm_start=True).fit(X, Y)
    before = copy.deepcopy(estimator)
    estimator.set_params(learning_rate=1e-9, batch_size=7).fit(X[:20], Y[:20])
    assert_same_model(estimator, before, rtol=1e-4)


def test_warm_start_with_another_optimizer():
    estimator = classifier(warm_start=True).fit(X, Y).set_params(optimizer="sgd").fit(X, Y)
    assert estimator.n_iter_ == 5


# Partial fits

CHUNKS = [(X[begin : begin + 33], Y[begin : begin + 33]) for begin in range(0, len(X), 33)]
BETWEEN = {
    "nothing": lambda estimator, folder: estimator,
    "predict": lambda estimator, folder: (estimator.predict(X), estimator)[1],
    "pickle": lambda estimator, folder: pickle.loads(pickle.dumps(estimator)),
    "deepcopy": lambda estimator, folder: copy.deepcopy(estimator),
    "joblib": lambda estimator, folder: joblib.load(joblib.dump(estimator, folder / "model")[0]),
    "memory map": lambda estimator, folder: joblib.load(
        joblib.dump(estimator, folder / f"model{estimator.n_iter_}")[0], mmap_mode="r"
    ),
}


def trained_in_chunks(params, between=BETWEEN["nothing"], folder=None):
    estimator = classifier(**params)
    for chunk in CHUNKS:
        estimator = between(estimator.partial_fit(*chunk, classes=[0, 1, 2]), folder)
    return estimator


@pytest.mark.parametrize("between", [name for name in BETWEEN if name != "nothing"])
@pytest.mark.parametrize("params", NETWORKS.values(), ids=NETWORKS)
def test_saving_between_chunks_changes_nothing(params, between, tmp_path):
    expected = trained_in_chunks(params)
    found = trained_in_chunks(params, BETWEEN[between], tmp_path)
    assert_same_model(found, expected)
    assert found.n_iter_ == expected.n_iter_ == len(CHUNKS)
    assert found.loss_curve_ == expected.loss_curve_
    assert found.best_loss_ == min(expected.loss_curve_)


@pytest.mark.parametrize("params", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(("make", "data"), [(classifier, (X, Y)), (regressor, (X_REAL, Y_REAL))])
def test_partial_fits_are_the_epochs_of_a_fit(make, data, params):
    estimator = make(**params)
    for _ in range(5):
        estimator.partial_fit(*data)
    expected = make(**params).fit(*data)
    assert_same_model(estimator, expected)
    assert estimator.loss_curve_ == expected.loss_curve_


def test_partial_fit_goes_on_after_fit():
    estimator = classifier(max_iter=4).fit(X, Y)
    estimator.partial_fit(X, Y)
    assert_same_model(estimator, classifier(max_iter=5).fit(X, Y))
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 5


def test_fit_after_partial_fit_starts_anew():
    assert_same_model(classifier().partial_fit(X, Y).fit(X, Y), classifier().fit(X, Y))


def test_announced_classes():
    first = Y[0] == Y
    estimator = classifier().partial_fit(X[first], Y[first], classes=[2, 0, 1])
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])
    assert estimator.predict_proba(X).shape == (len(X), 3)
    estimator.partial_fit(X, Y).partial_fit(X, Y, classes=[0, 1, 2])
    assert estimator.n_iter_ == 3


def test_announced_names():
    names = np.array(["ash", "birch", "cedar"])
    estimator = classifier().partial_fit(X[:40], names[Y[:40]], classes=names)
    assert set(estimator.predict(X)) <= set(names)


def test_classes_of_the_first_chunk_where_none_are_announced():
    estimator = classifier().partial_fit(X, Y)
    np.testing.assert_array_equal(estimator.classes_, [0, 1, 2])
    only_some = classifier().partial_fit(X[Y < 2], Y[Y < 2])
    with pytest.raises(ValueError, match="not among the known classes"):
        only_some.partial_fit(X, Y)


def test_chunks_of_multilabel_and_many_outputs():
    X_labels, Y_labels = labels(100)
    estimator = classifier()
    for _ in range(30):
        estimator.set_params(learning_rate=0.03).partial_fit(X_labels, Y_labels)
    assert estimator.score(X_labels, Y_labels) > 0.6
    X_many, Y_many = numbers(100, n_outputs=3)
    assert regressor().partial_fit(X_many, Y_many).partial_fit(X_many[:1], Y_many[:1]).predict(X_many).shape == (100, 3)


def test_weights_of_a_chunk():
    weight = (Y != 2).astype(float)
    weighted = classifier(dtype="float64").partial_fit(X, Y, classes=[0, 1, 2], sample_weight=weight)
    fewer = classifier(dtype="float64").partial_fit(X[Y != 2], Y[Y != 2], classes=[0, 1, 2])
    assert_same_model(weighted, fewer, rtol=1e-10)


def test_a_model_that_learns_from_chunks():
    estimator = classifier((32,), learning_rate=0.01, batch_size=16)
    for _ in range(20):
        for chunk in CHUNKS:
            estimator.partial_fit(*chunk, classes=[0, 1, 2])
    assert estimator.score(X, Y) > 0.85
