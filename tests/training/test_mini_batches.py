"""Twenty steps of mini-batch training against the reference: every class in turn, weights and losses."""

import numpy as np
import pytest
from contracts import (
    ACTIVATIONS,
    INITIALIZERS,
    LOSSES,
    OPTIMIZERS,
    SEED,
    assert_close,
    initial_weights,
    output_layers,
    problem,
)
from reference import Descent, Network, train

from skintricate import Model
from skintricate.initializers import LimitedRandom
from skintricate.kernels import shuffled_order
from skintricate.layers import Dense, Sigmoid, SoftMax, TanH
from skintricate.losses import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquared
from skintricate.optimizers import Adam, Basic, Momentum

N, BATCH, EPOCHS = 23, 5, 4  # the last batch of an epoch has three samples


def check_training(
    network,
    loss,
    optimizer,
    device,
    *,
    dtype="float64",
    tolerance=1e-10,
    n_samples=N,
    batch_size=BATCH,
    shuffle=True,
    epochs=EPOCHS,
    sample_weight=None,
    alpha=0.0,
    codes=False,
    n_outputs=3,
):
    """Train the engine and the reference over the same batches, and compare all they tell."""
    X, Y = problem(loss, n_samples, 4, n_outputs)
    X = X.astype(dtype).astype(float)
    start = [w.astype(float) for w in initial_weights(network, 4, dtype=dtype)]
    orders = [shuffled_order(n_samples, SEED, epoch) if shuffle else np.arange(n_samples) for epoch in range(epochs)]
    reference = Network(network, loss, alpha)
    arguments = (X, Y, Descent(optimizer), orders, min(batch_size, n_samples), sample_weight)
    weights, losses, accuracies = train(reference, start, *arguments)

    model = Model(network, device=device, dtype=dtype, random_state=SEED)
    options = {"batch_size": batch_size, "max_iter": epochs, "shuffle": shuffle, "sample_weight": sample_weight}
    y = Y.argmax(axis=1) if codes else Y
    history = model.fit(X, y, loss=loss, optimizer=optimizer, alpha=alpha, **options)

    assert_close(model.state.weights, weights, tolerance)
    np.testing.assert_allclose(history.step_loss, losses, rtol=tolerance, atol=tolerance)
    if loss.targets == "probability" and tolerance < 1e-9:
        np.testing.assert_allclose(history.step_accuracy, accuracies, rtol=1e-13)
    outputs = reference.values(weights, X)[-1]
    np.testing.assert_allclose(model.predict(X), outputs, rtol=10 * tolerance, atol=10 * tolerance)


def ending(loss):
    """Return the output activation that suits a loss, as a list."""
    return [layer for layer in output_layers(loss)[:1] if layer]


@pytest.mark.parametrize("clip_norm", [None, 0.3])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_optimizers(optimizer, clip_norm, float64):
    optimizer = type(optimizer)(**{**optimizer.get_params(), "clip_norm": clip_norm})
    network = [Dense(6), TanH(), Dense(3)]
    check_training(network, MeanSquared(), optimizer, float64)
    check_training(network, MeanSquared(), optimizer, float64, dtype="float32", tolerance=1e-4)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_losses(loss, float64):
    network = [Dense(6), TanH(), Dense(3), *ending(loss)]
    weight = np.random.default_rng(1).random(N) + 0.1
    check_training(network, loss, Basic(0.1), float64)
    check_training(network, loss, Adam(0.01), float64, sample_weight=weight, alpha=0.2)
    check_training(network, loss, Basic(0.1), float64, dtype="float32", tolerance=1e-4)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, SoftMax()], ids=repr)
def test_activations(activation, float64):
    small = LimitedRandom(0.4)
    network = [Dense(6, small), activation, Dense(5, small), activation, Dense(3)]
    check_training(network, MeanSquared(), Momentum(0.01), float64)
    check_training(network, MeanSquared(), Momentum(0.01), float64, dtype="float32", tolerance=1e-4)


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
def test_initializers(initializer, float64):
    network = [Dense(6, initializer), TanH(), Dense(3, initializer, initializer)]
    check_training(network, MeanSquared(), Basic(0.1), float64)


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_samples": 1, "batch_size": 1},
        {"n_samples": 1, "batch_size": 200},
        {"n_samples": 2, "batch_size": 1},
        {"n_samples": 7, "batch_size": 6},
        {"n_samples": 7, "batch_size": 1000},
        {"n_samples": 31, "batch_size": 10},
        {"n_samples": 49, "batch_size": 16},
        {"n_samples": 97, "batch_size": 48},
        {"n_samples": 200, "batch_size": 199},
    ],
    ids=str,
)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_batches(sizes, shuffle, weighted, float64):
    weight = np.random.default_rng(1).random(sizes["n_samples"]) + 0.1 if weighted else None
    network, loss = [Dense(6), TanH(), Dense(3), SoftMax()], CategoricalCrossEntropy()
    for codes in (True, False):
        options = {"shuffle": shuffle, "sample_weight": weight, "codes": codes, **sizes}
        check_training(network, loss, Momentum(0.1), float64, **options)


@pytest.mark.parametrize("n_outputs", [1, 4, 25])
@pytest.mark.parametrize("use_bias", [True, False])
def test_all_at_once(n_outputs, use_bias, float64):
    network = [TanH(), Dense(49, use_bias=use_bias), TanH(), SoftMax(), Dense(n_outputs, use_bias=use_bias), Sigmoid()]
    weight = np.random.default_rng(1).random(N)
    weight[::4] = 0
    check_training(
        network,
        BinaryCrossEntropy(),
        Adam(0.01, clip_norm=0.5),
        float64,
        sample_weight=weight,
        alpha=0.3,
        n_outputs=n_outputs,
    )


def test_a_batch_without_any_weight_changes_nothing(float64):
    weight = np.ones(15)
    weight[5:10] = 0
    X, Y = problem(MeanSquared(), 15, 4)
    model = Model([Dense(3)], device=float64, dtype="float64", random_state=SEED)
    options = {"batch_size": 5, "shuffle": False, "max_iter": 1, "optimizer": Basic(0.1)}
    history = model.fit(X, Y, sample_weight=weight, **options)
    other = Model([Dense(3)], device=float64, dtype="float64", random_state=SEED)
    other_history = other.fit(X[weight > 0], Y[weight > 0], **options)
    assert_close(model.state.weights, other.state.weights, 1e-14)
    np.testing.assert_allclose(history.loss, other_history.loss, rtol=1e-14)
