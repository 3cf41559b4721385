"""Gradients against central differences, for every layer and every loss in every place."""

import numpy as np
import pytest
from contracts import (
    ACTIVATIONS,
    LOSSES,
    assert_close,
    gradient_step,
    output_layers,
    problem,
    random_weights,
)
from reference import Network, central_differences

from skintricate.layers import (
    ELU,
    GELU,
    Dense,
    Dropout,
    Exponential,
    ReLU,
    Sigmoid,
    SiLU,
    SoftMax,
    Softplus,
    TanH,
)
from skintricate.losses import BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquared, Poisson

OUTPUTS = [(loss, output) for loss in LOSSES for output in output_layers(loss)]


def check_gradient(
    network, loss, device, *, y=None, sample_weight=None, alpha=0.0, n_outputs=3, n_features=3, seed=0, scale=0.7
):
    """Compare one step with the reference's gradient, with its differences, and with the model's own."""
    X, Y = problem(loss, n_features=n_features, n_outputs=n_outputs, seed=seed)
    weights = random_weights(network, n_features, seed, scale)
    X = X * scale
    reference = Network(network, loss, alpha)

    def objective(w):
        return reference.objective(w, X, Y, sample_weight)

    def measure(w):
        given = Y if y is None else y(Y)
        return gradient_step(network, w, X, given, loss, device, sample_weight=sample_weight, alpha=alpha)

    value, gradient = measure(weights)
    np.testing.assert_allclose(value, objective(weights), rtol=1e-12, atol=1e-13)
    assert_close(gradient, central_differences(objective, weights), 2e-7)
    assert_close(gradient, reference.gradients(weights, X, Y, sample_weight), 1e-11)

    direction = [np.random.default_rng(seed + 1).normal(size=w.shape) for w in weights]
    above, below = (measure([w + h * d for w, d in zip(weights, direction)])[0] for h in (1e-5, -1e-5))
    slope = sum((g * d).sum() for g, d in zip(gradient, direction))
    np.testing.assert_allclose((above - below) / 2e-5, slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("loss", "output"), OUTPUTS, ids=repr)
def test_output_activation(loss, output, float64):
    network = [Dense(4), TanH(), Dense(3)] + ([output] if output else [])
    check_gradient(network, loss, float64)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("activation", [*ACTIVATIONS, SoftMax()], ids=repr)
def test_hidden_activation(activation, loss, float64):
    network = [Dense(5), activation, Dense(3)] + [layer for layer in output_layers(loss)[:1] if layer]
    check_gradient(network, loss, float64)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, SoftMax()], ids=repr)
@pytest.mark.parametrize(
    "place",
    [
        lambda a: [a, Dense(3)],
        lambda a: [a, a, Dense(4), TanH(), Dense(3)],
        lambda a: [Dense(4), a, a, Dense(3)],
        lambda a: [Dense(4), TanH(), a, Dense(3)],
        lambda a: [Dense(4), SoftMax(), a, Dense(3)],
        lambda a: [Dense(4), a, SoftMax(), Dense(3)],
        lambda a: [Dense(4), a, Dropout(0.0), Dense(3)],
        lambda a: [Dense(4), Dropout(0.0), a, Dense(3)],
        lambda a: [Dropout(0.0), a, Dense(3)],
        lambda a: [Dense(4), Dropout(0.0), Dropout(0.0), a, Dropout(0.0), SoftMax(), a, Dense(3)],
        lambda a: [Dense(4), TanH(), Dense(3), a, a],
        lambda a: [Dense(3), a, Dropout(0.0)],
    ],
    ids=[
        "first",
        "twice first",
        "twice",
        "after an activation",
        "after softmax",
        "before softmax",
        "before dropout",
        "after dropout",
        "after dropout of X",
        "long chain",
        "twice last",
        "before a last dropout",
    ],
)
def test_activation_standing_alone(place, activation, float64):
    check_gradient(place(activation), MeanSquared(), float64, seed=3, scale=0.3)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, SoftMax(), Dropout(0.0)], ids=repr)
@pytest.mark.parametrize(
    ("loss", "output"),
    [
        (CategoricalCrossEntropy(), SoftMax()),
        (CategoricalCrossEntropy(), Sigmoid()),
        (BinaryCrossEntropy(), Sigmoid()),
        (Poisson(), Exponential()),
    ],
    ids=repr,
)
def test_activation_between_dense_and_output(loss, output, activation, float64):
    check_gradient([Dense(4), TanH(), Dense(3), activation, output], loss, float64)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("n_outputs", [1, 2, 17])
def test_without_bias_with_weights_and_penalty(loss, n_outputs, float64):
    output = [layer for layer in output_layers(loss)[:1] if layer]
    network = [Dense(5, use_bias=False), GELU(), Dense(4), ELU(), Dense(n_outputs, use_bias=False), *output]
    sample_weight = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25, 1.0])
    check_gradient(network, loss, float64, sample_weight=sample_weight, alpha=0.7, n_outputs=n_outputs)


@pytest.mark.parametrize("dtype", [int, bool, np.uint8, np.int64])
@pytest.mark.parametrize("output", [SoftMax(), Sigmoid()], ids=repr)
def test_class_codes(output, dtype, float64):
    n_outputs = 2 if dtype is bool else 5

    def codes(Y):
        return Y.argmax(axis=1).astype(dtype)

    network = [Dense(4), SiLU(), Dense(n_outputs), output]
    check_gradient(network, CategoricalCrossEntropy(), float64, y=codes, n_outputs=n_outputs)


def test_soft_targets(float64):
    X, _ = problem(MeanSquared())
    Y = np.random.default_rng(1).dirichlet(np.ones(3), 7) * 1.5
    network, loss = [Dense(4), Softplus(), Dense(3), SoftMax()], CategoricalCrossEntropy()
    weights, reference = random_weights(network, 3), Network(network, loss)
    value, gradient = gradient_step(network, weights, X, Y, loss, float64)
    np.testing.assert_allclose(value, reference.objective(weights, X, Y), rtol=1e-12)
    assert_close(gradient, central_differences(lambda w: reference.objective(w, X, Y), weights), 2e-7)


def test_flat_and_column_targets_are_the_same(float64):
    X, Y = problem(MeanSquared(), n_outputs=1)
    network = [Dense(4), ReLU(), Dense(1)]
    weights = random_weights(network, 3)
    flat = gradient_step(network, weights, X, Y[:, 0], MeanSquared(), float64)
    column = gradient_step(network, weights, X, Y, MeanSquared(), float64)
    assert flat[0] == column[0]
    for a, b in zip(flat[1], column[1]):
        np.testing.assert_array_equal(a, b)
