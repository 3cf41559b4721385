"""Reasons to stop: halting conditions, no improvement (as in scikit-learn's MLP), early stopping."""

import numpy as np
import pytest
from contracts import assert_bitwise, problem
from sklearn.neural_network import MLPRegressor

from skintricate import Model
from skintricate.exceptions import HaltingWarning
from skintricate.layers import Dense, SoftMax, TanH
from skintricate.losses import CategoricalCrossEntropy, MeanSquared
from skintricate.optimizers import Basic, Schedule
from skintricate.training import Callback, Halting, MinAccuracyReached, MinLossReached

X, Y = problem(CategoricalCrossEntropy(), 40, 4)


class Scripted(Schedule):
    """Rates that make a weight whose gradient is one take the values given, one an epoch.

    Rates must be positive, but nothing says that they fall: this one is used with its sign.
    """

    def __init__(self, values):
        self.values = values

    def __call__(self, epoch):
        steps = np.append(-np.diff(self.values), 1.0)
        return steps[np.minimum(np.asarray(epoch, int), len(steps) - 1)]


def scripted_losses(losses, device, **options):
    """Train one weight, which is the loss, through the values given; return the history."""
    model = Model([Dense(1, use_bias=False)], device=device, dtype="float64", random_state=0)
    model.fit([[1.0]], [0.0], loss="mean_bias", optimizer=Basic(1e-30), max_iter=1)
    model.state.weights = [np.array([[losses[0]]])]
    model.state.step = model.state.epoch = 0
    options = {"loss": "mean_bias", "optimizer": Basic(Scripted(losses)), "max_iter": len(losses), **options}
    return model.fit([[1.0]], [0.0], **options)


def epochs_of_scikit_learn(losses, tol, n_iter_no_change):
    """Return after how many epochs MLPRegressor stops, by its own update of the count, and why."""
    mlp = MLPRegressor(tol=tol)
    mlp.loss_curve_, mlp.best_loss_, mlp._no_improvement_count, mlp.verbose = [], np.inf, 0, False
    for epoch, loss in enumerate(losses):
        mlp.loss_curve_.append(loss)
        mlp._update_no_improvement_count(False, None, None, None)
        if mlp._no_improvement_count > n_iter_no_change:
            return epoch + 1, "no improvement"
    return len(losses), "max_iter"


def wandering(seed):
    """Return a loss curve that falls more and more slowly, with noise."""
    rng = np.random.default_rng(seed)
    return (5 * 0.7 ** np.arange(40) + 0.1 * rng.normal(size=40)).tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tol", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("n_iter_no_change", [1, 3, 10])
def test_no_improvement_is_scikit_learns(seed, tol, n_iter_no_change, float64):
    losses = wandering(seed)
    history = scripted_losses(losses, float64, tol=tol, n_iter_no_change=n_iter_no_change)
    np.testing.assert_allclose(history.loss, losses[: len(history)], atol=1e-12)
    assert (len(history), history.stopped_by) == epochs_of_scikit_learn(losses, tol, n_iter_no_change)


@pytest.mark.parametrize("patience", [None, 50, np.inf, 10**10])
def test_no_patience_never_stops(patience, float64):
    history = scripted_losses([1.0] * 30, float64, n_iter_no_change=patience)
    assert (len(history), history.stopped_by) == (30, "max_iter")


def test_weights_are_those_of_the_epoch_that_stopped(device):
    """Epochs queued beyond the decision change nothing."""
    options = {"loss": "categorical_cross_entropy", "optimizer": Basic(0.1), "batch_size": 16}
    stopped = Model([Dense(5), TanH(), Dense(3), SoftMax()], device=device, random_state=0)
    history = stopped.fit(X, Y, max_iter=500, tol=0.01, n_iter_no_change=2, **options)
    assert history.stopped_by == "no improvement"
    counted = Model([Dense(5), TanH(), Dense(3), SoftMax()], device=device, random_state=0)
    counted.fit(X, Y, max_iter=len(history), **options)
    assert_bitwise(stopped.state.weights, counted.state.weights)
    assert (stopped.state.epoch, stopped.state.step) == (counted.state.epoch, counted.state.step)


class AtEpoch(Halting):
    def __init__(self, number):
        self.number = number

    def reached(self, epoch):
        return epoch.number >= self.number


@pytest.mark.parametrize(
    ("condition", "epochs"),
    [
        (MinLossReached(3.0), 3),
        (MinLossReached(-1.0), 6),
        (AtEpoch(2), 2),
        (MinLossReached(3.0) & AtEpoch(5), 5),
        (MinLossReached(3.0) | AtEpoch(2), 2),
        (MinLossReached(2.0) | AtEpoch(5), 4),
        ((MinLossReached(2.0) & AtEpoch(5)) | AtEpoch(6), 5),
        (MinAccuracyReached(0.0), 6),
        (MinAccuracyReached(0.0) | MinLossReached(4.0), 2),
    ],
    ids=repr,
)
def test_halting_conditions(condition, epochs, float64):
    losses = [5.0, 4.0, 3.0, 2.0, 1.0, 0.5]
    if epochs == 6:
        history = scripted_losses(losses, float64, halting_condition=AtEpoch(7) & condition)
        assert history.stopped_by == "max_iter"
    else:
        with pytest.warns(HaltingWarning, match=f"after {epochs} epochs: "):
            history = scripted_losses(losses, float64, halting_condition=condition)
        assert history.stopped_by == "halting condition"
    assert len(history) == epochs


def test_accuracy_reached(device):
    model = Model([Dense(20), TanH(), Dense(3), SoftMax()], device=device, random_state=0)
    options = {"loss": "categorical_cross_entropy", "learning_rate": 0.02, "max_iter": 500}
    with pytest.warns(HaltingWarning, match=r"MinAccuracyReached\(0\.9\)"):
        history = model.fit(X, Y, halting_condition=MinAccuracyReached(0.9), **options)
    right = np.rint(history.accuracy * len(X))
    assert right[-1] >= 36
    assert (right[:-1] <= 36).all()


def test_accuracy_reached_exactly(device):
    model = Model([Dense(2), SoftMax()], device=device, random_state=0)
    codes = np.array([0] * 9 + [1])
    options = {"loss": "categorical_cross_entropy", "learning_rate": 0.01, "max_iter": 300}
    with pytest.warns(HaltingWarning):
        history = model.fit(np.ones((10, 1)), codes, halting_condition=MinAccuracyReached(0.9), **options)
    assert history.accuracy[-1] == pytest.approx(0.9, rel=1e-6)


def test_conditions_show_and_compare():
    condition = MinLossReached(0.1) & (MinAccuracyReached(0.9) | MinLossReached(0.2))
    assert repr(condition).startswith("MinLossReached(0.1) & ")
    assert condition == MinLossReached(0.1) & (MinAccuracyReached(0.9) | MinLossReached(0.2))
    assert condition != MinLossReached(0.1) | (MinAccuracyReached(0.9) | MinLossReached(0.2))
    for wrong in ("accuracy", 0.5, None):
        with pytest.raises(TypeError, match="halting condition"):
            MinLossReached(0.1) & wrong


class Scores(Callback):
    """Remembers the weights of each epoch."""

    def __init__(self):
        self.weights = []

    def on_epoch_end(self, epoch, weights):
        self.weights.append([w.copy() for w in weights().weights])


def overfitting(device, **options):
    """Train on noise, validate on other noise; return the model, its history and the weights of each epoch."""
    rng = np.random.default_rng(0)
    train, validation = ((rng.normal(size=(20, 5)), rng.normal(size=20)) for _ in range(2))
    model, scores = Model([Dense(20), TanH(), Dense(1)], device=device, random_state=1), Scores()
    options = {"learning_rate": 0.02, "max_iter": 100, "early_stopping": True, **options}
    return model, model.fit(*train, validation_data=validation, callbacks=[scores], **options), scores.weights


@pytest.mark.parametrize("n_iter_no_change", [1, 5, 12])
@pytest.mark.parametrize("tol", [0.0, 0.01])
def test_early_stopping_restores_the_best_weights(n_iter_no_change, tol, device):
    model, history, weights = overfitting(device, n_iter_no_change=n_iter_no_change, tol=tol)
    best, count, number, scores = -np.inf, 0, 0, history.validation_score
    for score in scores:
        number += 1
        count = count + 1 if score < best + tol else 0
        best = max(best, score)
        if count > n_iter_no_change:
            break
    assert len(history) == number < 100
    assert history.stopped_by == "no improvement"
    assert_bitwise(model.state.weights, weights[int(np.argmax(scores))])


def test_early_stopping_without_patience_keeps_the_best_of_all(device):
    model, history, weights = overfitting(device, n_iter_no_change=None, max_iter=40)
    assert (len(history), history.stopped_by) == (40, "max_iter")
    best = int(np.argmax(history.validation_score))
    assert best < 39
    assert_bitwise(model.state.weights, weights[best])


def test_validation_without_early_stopping_keeps_the_last(device):
    model, history, weights = overfitting(device, early_stopping=False, max_iter=30)
    assert len(history) == 30
    assert_bitwise(model.state.weights, weights[-1])


def test_mean_squared_stops_with_float32_losses(device):
    rng = np.random.default_rng(0)
    model = Model([Dense(1)], device=device, random_state=0)
    history = model.fit(
        rng.normal(size=(30, 3)),
        rng.normal(size=30),
        loss=MeanSquared(),
        learning_rate=0.1,
        max_iter=400,
        n_iter_no_change=5,
    )
    best, count = np.inf, 0
    for number, loss in enumerate(history.loss.astype("float32")):
        count = count + 1 if loss > np.float32(best) - np.float32(1e-4) else 0
        best = min(best, loss)
        assert (count > 5) == (number == len(history) - 1)
    assert history.stopped_by == "no improvement"
