"""The validation score and halting conditions, decided on the device, are what the host would decide."""

import numpy as np
import pytest
from contracts import assert_bitwise
from sklearn.metrics import accuracy_score, r2_score

from skintricate import IntricateClassifier, IntricateRegressor, Model
from skintricate.backend import open_device
from skintricate.kernels import Tile
from skintricate.layers import Dense, Dropout, SoftMax, TanH
from skintricate.training import Callback, Halting, MinAccuracyReached, MinLossReached, resident
from skintricate.training.data import Data
from skintricate.training.on_device import ResidentTrainer
from skintricate.training.validation import Validation

rng = np.random.default_rng(0)
X, X_VAL = rng.normal(size=(90, 5)), rng.normal(size=(47, 5))
TARGETS = {
    "classes": lambda X: (X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0),
    "two classes": lambda X: (X[:, 0] + X[:, 1] > 0).astype(int),
    "labels": lambda X: (X[:, :3] > 0).astype(int),
    "number": lambda X: X[:, 0] * X[:, 1],
    "numbers": lambda X: np.column_stack([X[:, 0] * X[:, 1], 100 * X[:, 2]]),
}


def estimator(target, device, layers=(8,), **options):
    cls = IntricateRegressor if target.startswith("number") else IntricateClassifier
    options = {"batch_size": 20, "max_iter": 300, "learning_rate": 0.02, "n_iter_no_change": 4, **options}
    return cls(layers, device=device, random_state=0, **options)


def skip_where_the_host_decides(device):
    if not resident.suits(Tile.of(open_device(device), "float32")):
        pytest.skip("On this device the host decides.")


@pytest.fixture
def waits(monkeypatch):
    """Return the list of whether each training waited for the host after every epoch."""
    made, init = [], ResidentTrainer.__init__

    def spy(self, *arguments):
        init(self, *arguments)
        made.append(self.waits_each_epoch)

    monkeypatch.setattr(ResidentTrainer, "__init__", spy)
    return made


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_device_stops_where_the_host_would(target, weighted, groups, device, monkeypatch, waits):
    skip_where_the_host_decides(device)
    data = {"X_val": X_VAL, "y_val": TARGETS[target](X_VAL)}
    if weighted:
        data["sample_weight_val"] = np.arange(47) % 4
    fitted = []
    monkeypatch.setattr(resident, "choose_groups", lambda plan, units: groups)
    for suits in (True, False):
        monkeypatch.setattr(resident, "suits", lambda tile, suits=suits: suits)
        fitted.append(estimator(target, device, early_stopping=True).fit(X, TARGETS[target](X), **data))
    on_device, on_host = fitted
    assert waits == [False, True]
    if target.startswith("number"):
        np.testing.assert_allclose(on_device.validation_scores_, on_host.validation_scores_, rtol=1e-5, atol=1e-6)
    elif weighted:
        np.testing.assert_allclose(on_device.validation_scores_, on_host.validation_scores_, rtol=1e-6)
    else:
        assert on_device.validation_scores_ == on_host.validation_scores_
    assert on_device.n_iter_ == on_host.n_iter_
    assert_bitwise(on_device.coefs_ + on_device.intercepts_, on_host.coefs_ + on_host.intercepts_)


@pytest.mark.parametrize("target", TARGETS)
def test_scores_are_scikit_learns(target, device):
    """With a validation set of several batches, the last one short, and dropout that a score must not see."""
    model = estimator(target, device, layers=[Dense(8), Dropout(0.4), TanH()], max_iter=7, n_iter_no_change=None)
    y_val = TARGETS[target](X_VAL)
    model.fit(X, TARGETS[target](X), X_val=X_VAL, y_val=y_val)
    score = r2_score if target.startswith("number") else accuracy_score
    assert model.validation_scores_[-1] == pytest.approx(score(y_val, model.predict(X_VAL)), rel=1e-5, abs=1e-6)


def test_the_first_of_equal_outputs_is_the_class(device):
    """As ``argmax`` has it: a network whose outputs are all the same predicts the first class."""
    model = Model([Dense(3), SoftMax()], device=device, random_state=0)
    zeros, y = np.zeros((4, 2)), np.array([0, 1, 2, 0])
    options = {"loss": "categorical_cross_entropy", "learning_rate": 1e-30, "max_iter": 1}
    history = model.fit(zeros, y, validation_data=(zeros, y), **options)
    assert history.validation_score[0] == 0.5


def test_a_target_that_does_not_vary_is_left_to_the_host(device, waits):
    """R^2 is then no function of the squared errors alone."""
    model = estimator("number", device, max_iter=3, n_iter_no_change=None)
    model.fit(X, TARGETS["number"](X), X_val=X_VAL, y_val=np.ones(47))
    assert waits == [True]
    assert model.validation_scores_ == [0.0] * 3


def test_linear_terms_of_weighted_scores():
    generator = np.random.default_rng(1)
    Y, outputs, weight = generator.normal(size=(30, 2)), generator.normal(size=(30, 2)), generator.random(30)
    offset, divisor, factors = Validation(Data(X, Y, weight), None, is_accuracy=False).linear_terms()
    total = (weight * (factors * (outputs - Y) ** 2).sum(axis=1)).sum()
    assert offset + total / divisor == pytest.approx(r2_score(Y, outputs, sample_weight=weight))


class EpochsReached(Halting):
    """A condition of the user's own, which only the host can look at."""

    def __init__(self, epochs):
        self.epochs = epochs

    def reached(self, epoch):
        return epoch.number >= self.epochs


CONDITIONS = [
    MinLossReached(0.5),
    MinAccuracyReached(0.8),
    MinLossReached(0.5) & MinAccuracyReached(0.8),
    MinLossReached(0.1) | MinAccuracyReached(0.8),
    (MinLossReached(0.1) | MinAccuracyReached(0.75)) & MinLossReached(0.6),
    MinLossReached(0.0) & MinAccuracyReached(0.0) | MinLossReached(0.4),
]


@pytest.mark.parametrize("condition", CONDITIONS, ids=repr)
def test_halting_on_the_device(condition, device, waits):
    skip_where_the_host_decides(device)
    model = Model([Dense(8), TanH(), Dense(3), SoftMax()], device=device, random_state=0)
    options = {"loss": "categorical_cross_entropy", "learning_rate": 0.02, "batch_size": 20, "max_iter": 200}
    with pytest.warns(match="halted"):
        history = model.fit(X, TARGETS["classes"](X), halting_condition=condition, **options)
    assert waits == [False]
    assert history.stopped_by == "halting condition"
    reached = [condition.reached(epoch) for epoch in history.epochs]
    assert reached == [False] * (len(history) - 1) + [True]


def test_accuracy_is_never_reached_without_classes(device):
    model = Model([Dense(1)], device=device, random_state=0)
    history = model.fit(X, X[:, 0], halting_condition=MinAccuracyReached(0.0), max_iter=5)
    assert (len(history), history.stopped_by) == (5, "max_iter")


@pytest.mark.parametrize("condition", [EpochsReached(3), EpochsReached(3) | MinLossReached(-1.0)], ids=repr)
def test_a_condition_of_the_users_own_is_asked_after_each_epoch(condition, device, waits):
    model = Model([Dense(1)], device=device, random_state=0)
    with pytest.warns(match="halted"):
        history = model.fit(X, X[:, 0], halting_condition=condition, max_iter=10)
    assert waits == [True]
    assert len(history) == 3


def test_halting_and_the_best_score_in_one_epoch(device):
    """The weights of the epoch that ends training are the best, and are kept."""

    class Weights(Callback):
        seen = ()

        def on_epoch_end(self, epoch, weights):
            self.seen = weights().weights

    model, last = Model([Dense(1)], device=device, random_state=0), Weights()
    options = {"early_stopping": True, "learning_rate": 0.02, "max_iter": 200, "callbacks": [last]}
    with pytest.warns(match="halted"):
        history = model.fit(
            X, X[:, 0], validation_data=(X_VAL, X_VAL[:, 0]), halting_condition=MinLossReached(0.5), **options
        )
    assert np.argmax(history.validation_score) == len(history) - 1
    assert_bitwise(model.state.weights, last.seen)
