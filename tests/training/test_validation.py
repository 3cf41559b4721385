"""The validation score and halting conditions, decided on the device, are what the host would decide."""

import numpy as np
import pytest
from contracts import assert_bitwise
from sklearn.metrics import accuracy_score, r2_score

from skintricate import IntricateClassifier, IntricateRegressor, Model
from skintricate.backend import open_device
from skintricate.exceptions import DivergenceError
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
    if not open_device(device).has_fence:
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
    monkeypatch.setattr(resident, "choose_groups", lambda *_: groups)
    for suits in (True, False):
        monkeypatch.setattr(resident, "suits", lambda *_, suits=suits: suits)
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
    offset, divisor, factors = Validation(Data(X, Y, weight), None, is_accuracy=False).linear_terms
    total = (weight * (factors * (outputs - Y) ** 2).sum(axis=1)).sum()
    assert offset + total / divisor == pytest.approx(r2_score(Y, outputs, sample_weight=weight))


@pytest.mark.parametrize(
    "y_val", [np.full(47, 3.4e-6), np.full(47, 1e6), 1e-20 * np.arange(47)], ids=["tiny", "large", "varies"]
)
def test_r2_that_float32_cannot_sum_is_left_to_the_host(y_val, device, waits):
    model = estimator("number", device, max_iter=2, n_iter_no_change=None)
    weight = np.random.default_rng(7).random(47)
    model.fit(X, TARGETS["number"](X), X_val=X_VAL, y_val=y_val, sample_weight_val=weight)
    assert waits == [True]


def test_the_best_epoch_of_a_score_close_to_one(device):
    """Where scores of float32 are all the same number, the errors still differ."""

    class Weights(Callback):
        def __init__(self):
            self.seen = []

        def on_epoch_end(self, epoch, weights):
            self.seen.append(weights().weights)

    model, epochs = Model([Dense(1)], device=device, random_state=0), Weights()
    options = {"early_stopping": True, "learning_rate": 0.03, "max_iter": 600, "callbacks": [epochs], "batch_size": 90}
    history = model.fit(X, X[:, 0], validation_data=(X_VAL, X_VAL[:, 0]), **options)
    assert history.validation_score.max() > 1 - 1e-6
    [kept] = [k for k, seen in enumerate(epochs.seen) if all(map(np.array_equal, seen, model.state.weights))]
    assert history.validation_score[kept] == history.validation_score.max()


def test_outputs_that_are_not_finite_are_noticed(device):
    """Also where the score is an accuracy, which has a value for any outputs, and the training rows stay finite."""
    model = Model([Dense(3), SoftMax()], device=device, random_state=0)
    far = np.full((4, 2), 3e38)
    options = {"loss": "categorical_cross_entropy", "learning_rate": 10.0, "max_iter": 3}
    with pytest.raises(DivergenceError):
        model.fit(np.eye(2), [0, 1], validation_data=(far, [0, 1, 2, 0]), **options)


@pytest.mark.parametrize("epochs", [0, 2])
def test_an_interrupt_keeps_the_weights_there_are(epochs, device, monkeypatch):
    """Before the first score there is no best one yet."""

    def run(self, wanted):
        if self._epochs_done == epochs:
            raise KeyboardInterrupt
        return original(self, 1)

    original = ResidentTrainer.run
    monkeypatch.setattr(ResidentTrainer, "run", run)
    model = Model([Dense(3), TanH(), Dense(1)], device=device, random_state=0)
    options = {"early_stopping": True, "max_iter": 9, "validation_data": (X_VAL, X_VAL[:, 0])}
    with pytest.warns(match="interrupted"):
        history = model.fit(X, X[:, 0], **options)
    assert len(history) == epochs
    assert all(weights.any() for weights in model.state.weights)


def test_large_validation_data_do_not_make_a_launch_long(device, monkeypatch):
    skip_where_the_host_decides(device)
    asked, run = [], ResidentTrainer.run

    def spy(self, epochs):
        asked.append(min(epochs, self.epochs_at_once))
        return run(self, epochs)

    monkeypatch.setattr(ResidentTrainer, "run", spy)
    many = np.random.default_rng(0).normal(size=(60_000, 5))
    model = Model([Dense(30), TanH(), Dense(1)], device=device, random_state=0)
    model.fit(X[:10], X[:10, 0], validation_data=(many, many[:, 0]), max_iter=30)
    assert asked[0] < 30


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


class Never(MinLossReached):
    def reached(self, epoch):
        return False


@pytest.mark.parametrize("condition", [Never(1e9), Never(1e9) & MinLossReached(1e9)], ids=["alone", "joined"])
def test_a_subclass_is_asked_itself(condition, device):
    model = Model([Dense(1)], device=device, random_state=0)
    assert len(model.fit(X, X[:, 0], halting_condition=condition, max_iter=4)) == 4


@pytest.mark.parametrize("depth", [20, 40])
def test_a_condition_deeper_than_the_devices_stack(depth, device):
    condition = MinLossReached(0.0)
    for _ in range(depth):
        condition = MinLossReached(0.0) | condition
    model = Model([Dense(1)], device=device, random_state=0)
    with pytest.warns(match="halted"):
        history = model.fit(X, X[:, 0], halting_condition=MinLossReached(1e9) | condition, max_iter=4)
    assert len(history) == 1


@pytest.mark.parametrize("bound", [0.1, 0.3, 1 / 3])
def test_bounds_in_float32_say_what_they_say_in_float64(bound):
    (_, loss), (_, accuracy) = (
        c.on_device(True, "float32")[0] for c in (MinLossReached(bound), MinAccuracyReached(bound))
    )
    near = np.float32(bound)
    for number in (np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(1))):
        assert (number <= np.float32(loss)) == (float(number) <= bound)
        assert (number >= np.float32(accuracy)) == (float(number) >= bound - 1e-7)


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
