"""Columns that fill no vector: what an activation makes of the zeros behind the last one is nobody's number."""

import numpy as np
import pytest
from contracts import assert_close, check_step, expected_steps, model_with, random_weights
from reference import Network

from skintricate.layers import (
    AvgPool1D,
    BatchNorm,
    Columns,
    Concatenate,
    Conv1D,
    Dense,
    Exponential,
    Flatten,
    GlobalAvgPool1D,
    LayerNorm,
    MaxPool1D,
    Reshape,
    Residual,
    Scale,
    Sigmoid,
    SoftMax,
    Softplus,
    TanH,
)
from skintricate.losses import MeanSquared
from skintricate.optimizers import Basic


def behind(activation):
    """Return lists of layers, by name, that follow an activation of five columns."""
    convolution = [Reshape((5, 1)), Conv1D(3, 2), activation]
    return {
        "softmax": [SoftMax()],
        "batch norm": [BatchNorm()],
        "layer norm": [LayerNorm()],
        "scale": [Scale()],
        "a dense layer": [Dense(7), activation],
        "another activation": [TanH(), LayerNorm()],
        "softmax, then normalised": [SoftMax(), LayerNorm()],
        "batch norm, then normalised": [BatchNorm(), activation, LayerNorm()],
        "a residual": [Residual([Dense(5), activation]), LayerNorm()],
        "branches": [Concatenate([[Dense(2), activation], [Columns(1, 3)]]), LayerNorm()],
        "largest of a convolution": [*convolution, MaxPool1D(2), LayerNorm(), Flatten()],
        "means of a convolution": [*convolution, AvgPool1D(2), activation, LayerNorm(), Flatten()],
        "means of all places": [*convolution, GlobalAvgPool1D(), LayerNorm()],
    }


@pytest.mark.parametrize("activation", [Sigmoid(), Softplus()], ids=repr)
@pytest.mark.parametrize("name", behind(Sigmoid()))
def test_behind_an_activation_that_makes_something_of_zero(name, activation, float64):
    generator = np.random.default_rng(0)
    network = [Dense(5), activation, *behind(activation)[name], Dense(3)]
    check_step(network, generator.normal(size=(19, 6)), generator.normal(size=(19, 3)), float64, tolerance=1e-8)


def test_behind_an_activation_of_the_features(float64):
    generator = np.random.default_rng(0)
    network = [Sigmoid(), LayerNorm(), Dense(3)]
    check_step(network, generator.normal(size=(19, 5)), generator.normal(size=(19, 3)), float64, tolerance=1e-8)


@pytest.mark.parametrize(
    "layers",
    [[LayerNorm()], [Scale()], [BatchNorm()], [Residual([SoftMax()]), BatchNorm()]],
    ids=["layer norm", "scale", "batch norm", "batch norm behind softmax"],
)
def test_behind_what_is_infinite(layers, float64):
    """x + exp(x) six times over stays small below -6, and not from zero on. Clipping looks at every gradient."""
    generator = np.random.default_rng(0)
    X, Y = generator.normal(size=(19, 6)), generator.normal(size=(19, 3))
    network = [Dense(5), *(Residual([Exponential()]) for _ in range(6)), *layers, Dense(3)]
    weights = random_weights(network, 6, 0, 0.1)
    weights[0][-1] -= 6
    model = model_with(network, weights, float64, n_features=6)
    model.fit(X, Y, optimizer=Basic(1.0, clip_norm=1e6), batch_size=19, max_iter=1, shuffle=False)
    steps = expected_steps(Network(network, MeanSquared()), weights, X, Y)
    assert_close(model.state.weights, [w - step for w, step in zip(weights, steps)], 1e-8)
