"""What training records: losses and accuracies of steps and epochs, metrics, validation scores."""

import numpy as np
import pytest
from contracts import SEED, initial_weights, problem
from reference import Descent, Network, train
from sklearn.metrics import accuracy_score, f1_score, r2_score

from skintricate import Model
from skintricate.kernels import shuffled_order
from skintricate.layers import Dense, Sigmoid, SoftMax, TanH
from skintricate.losses import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquared
from skintricate.optimizers import Basic
from skintricate.training import History

N = 23


@pytest.mark.parametrize("loss", [CategoricalCrossEntropy(), BinaryCrossEntropy(), MeanSquared()], ids=repr)
@pytest.mark.parametrize("weighted", [True, False])
def test_epochs_are_weighted_means_of_steps(loss, weighted, float64):
    X, Y = problem(loss, N)
    weight = np.random.default_rng(1).random(N) + 0.1 if weighted else None
    output = {"CategoricalCrossEntropy": [SoftMax()], "BinaryCrossEntropy": [Sigmoid()]}.get(type(loss).__name__, [])
    network = [Dense(4), TanH(), Dense(3), *output]
    orders = [shuffled_order(N, SEED, epoch) for epoch in range(3)]
    arguments = (Network(network, loss), initial_weights(network, 3), X, Y, Descent(Basic(0.5)), orders, 5, weight)
    _, losses, accuracies = train(*arguments)

    model = Model(network, device=float64, dtype="float64", random_state=SEED)
    history = model.fit(X, Y, loss=loss, optimizer=Basic(0.5), batch_size=5, max_iter=3, sample_weight=weight)
    rows = np.ones(N) if weight is None else weight
    step_weights = [[rows[order[b : b + 5]].sum() for b in range(0, N, 5)] for order in orders]
    np.testing.assert_allclose(history.step_loss, losses, rtol=1e-10)
    expected = np.average(losses.reshape(3, 5), axis=1, weights=step_weights)
    np.testing.assert_allclose(history.loss, expected, rtol=1e-10)
    if isinstance(loss, MeanSquared):
        assert np.isnan(history.accuracy).all()
        assert np.isnan(history.step_accuracy).all()
    else:
        np.testing.assert_allclose(history.step_accuracy, accuracies, rtol=1e-12)
        expected = np.average(accuracies.reshape(3, 5), axis=1, weights=step_weights)
        np.testing.assert_allclose(history.accuracy, expected, rtol=1e-12)


def test_shapes_and_numbers(device):
    X, Y = problem(MeanSquared(), N)
    model = Model([Dense(3)], device=device, random_state=0)
    history = model.fit(X, Y, batch_size=10, max_iter=4, verbose=0)
    assert model.history_ is history
    assert (len(history), history.stopped_by) == (4, "max_iter")
    assert [epoch.number for epoch in history.epochs] == [1, 2, 3, 4]
    assert history.loss.shape == history.accuracy.shape == history.validation_score.shape == (4,)
    assert history.step_loss.shape == history.step_accuracy.shape == (12,)
    elapsed = [epoch.elapsed for epoch in history.epochs]
    assert elapsed == sorted(elapsed)
    assert history.metrics == {}
    assert np.isnan(history.validation_score).all()


def test_an_empty_history():
    history = History()
    assert len(history) == 0
    assert history.loss.shape == history.step_loss.shape == (0,)
    assert history.metrics == {}


def test_metrics_of_classes(device):
    X, Y = problem(CategoricalCrossEntropy(), N)
    codes = Y.argmax(axis=1)
    X_validation, codes_validation = X[::2] + 0.1, codes[::2]

    def share(y_true, y_pred):
        assert y_true.dtype.kind == y_pred.dtype.kind == "i"
        return float(np.mean(y_true == y_pred))

    model = Model([Dense(3), SoftMax()], device=device, random_state=0)
    history = model.fit(
        X,
        codes,
        loss="categorical_cross_entropy",
        max_iter=3,
        metrics=["f1_macro", "neg_log_loss", share],
        validation_data=(X_validation, codes_validation),
    )
    assert set(history.metrics) == {
        *("f1_macro", "neg_log_loss", "share"),
        *("validation_f1_macro", "validation_neg_log_loss", "validation_share"),
    }
    predicted = model.predict(X).argmax(axis=1)
    assert history.metrics["f1_macro"][-1] == pytest.approx(f1_score(codes, predicted, average="macro"))
    assert history.metrics["share"][-1] == accuracy_score(codes, predicted)
    predicted = model.predict(X_validation).argmax(axis=1)
    assert history.metrics["validation_share"][-1] == accuracy_score(codes_validation, predicted)
    assert history.validation_score[-1] == accuracy_score(codes_validation, predicted)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_metrics_of_values(n_outputs, device):
    X, Y = problem(MeanSquared(), N, n_outputs=n_outputs)
    model = Model([Dense(n_outputs)], device=device, random_state=0)
    validation = (X[5:], Y[5:])
    history = model.fit(X, Y, max_iter=3, metrics=["r2", "neg_mean_squared_error"], validation_data=validation)
    assert history.metrics["r2"][-1] == pytest.approx(r2_score(Y, model.predict(X)), rel=1e-5)
    assert -history.metrics["neg_mean_squared_error"][-1] == pytest.approx(
        np.mean((Y - model.predict(X)) ** 2), rel=1e-5
    )
    assert history.validation_score[-1] == pytest.approx(r2_score(Y[5:], model.predict(X[5:])), rel=1e-5)


def test_the_loss_includes_the_penalty(float64):
    X, Y = problem(MeanSquared(), N)
    losses = []
    for alpha in (0.0, 3.0):
        model = Model([Dense(3)], device=float64, dtype="float64", random_state=0)
        losses.append(model.fit(X, Y, alpha=alpha, optimizer=Basic(1e-30), batch_size=N, max_iter=1).loss[0])
    penalty = 3.0 / 2 * (model.coefs_[0] ** 2).sum() / N
    np.testing.assert_allclose(losses[1] - losses[0], penalty, rtol=1e-12)
