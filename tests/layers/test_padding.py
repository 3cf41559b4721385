"""Columns that fill no vector: what an activation makes of the zeros behind the last one is nobody's number."""

import numpy as np
import pytest
from contracts import check_step

from skintricate.layers import (
    AvgPool1D,
    BatchNorm,
    Columns,
    Concatenate,
    Conv1D,
    Dense,
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
