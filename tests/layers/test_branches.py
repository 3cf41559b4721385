"""Branches: what is added and put side by side, any tree of them, and what is in several places."""

import copy

import numpy as np
import pytest
from contracts import assert_bitwise, assert_close, check_step, gradient_step, model_with, random_weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skintricate import Model
from skintricate.layers import (
    GELU,
    BatchNorm,
    Columns,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAvgPool2D,
    Identity,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Scale,
    SoftMax,
    TanH,
)
from skintricate.losses import MeanSquared
from skintricate.training.network import all_layers, walk

WIDTH = 4


def random_data(n_samples, n_features, n_outputs, seed=0):
    """Return inputs and real targets."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_samples, n_features)), generator.normal(size=(n_samples, n_outputs))


# Lists of layers that make four columns of four; each drawn has layers of its own.
SIMPLE = st.sampled_from(
    [
        *[
            [Dense(WIDTH)],
            [Dense(3), GELU(), Dense(WIDTH)],
            [TanH()],
            [SoftMax()],
            [Dropout(0.0)],
            [GaussianNoise(0.0)],
        ],
        *[[Scale()], [LayerNorm(0.1)], [BatchNorm(0.5, 0.1)], [Reshape((2, 2)), Scale(), Flatten()]],
        *[[Concatenate([[Columns(0, 1)], [Columns(1)]])], [Concatenate([[Columns(2)], [Columns(0, 2), TanH()]])], []],
    ]
).map(copy.deepcopy)


def joined(parts):
    """Return the layers of several lists behind each other."""
    return [layer for part in parts for layer in part]


def larger(trees):
    """Return a strategy of trees with a branching layer at the root."""
    residual = trees.map(lambda inner: [Residual(inner)])
    beside = st.lists(trees, min_size=1, max_size=3).map(lambda branches: [Concatenate(branches), Dense(WIDTH)])
    return st.one_of(residual, beside, st.lists(trees, min_size=1, max_size=3).map(joined))


@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.recursive(SIMPLE, larger, max_leaves=6), n_samples=st.integers(3, 9), ends_in_dense=st.booleans())
def test_any_tree(tree, n_samples, ends_in_dense, float64):
    network = Model([*tree, Dense(WIDTH), *([TanH()] if ends_in_dense else [Concatenate([tree])])]).layers
    check_step(network, *random_data(n_samples, WIDTH, WIDTH), float64, scale=0.4, tolerance=1e-8)


@pytest.mark.parametrize(
    "inner", [[], [TanH()], [Dense(6)], [Dense(6), TanH()], [Residual([Dense(6)]), ReLU()]], ids=repr
)
@pytest.mark.parametrize("before", [[], [Dense(6)], [Dense(6), TanH()], [Dense(6), GELU()], [Scale()]], ids=repr)
def test_residual(inner, before, float64):
    """Its input's activation is gone through once for both ways, its output's own never."""
    network = [*before, Residual(inner), TanH(), Residual(inner), Dense(2)]
    check_step(Model(network).layers, *random_data(7, 6, 2), float64)


def test_a_residual_without_layers_doubles(device):
    model = Model([Residual([]), Dense(1)], device=device, random_state=0)
    X, Y = random_data(5, 3, 1)
    model.fit(X, Y, max_iter=1)
    assert_close([model.outputs(X)[0]], [2 * X], 1e-6)


@pytest.mark.parametrize(
    "branches",
    [
        [[]],
        [[], []],
        [[Conv2D(3, 1)], []],
        [[MaxPool2D(3, 1, 1)], [Conv2D(17, 3, padding="same"), TanH()]],
        [[Scale()], [BatchNorm()], [LayerNorm()], [GELU()]],
        [[Residual([Conv2D(3, 3, padding=1)])], [Concatenate([[Conv2D(2, 1)], []])]],
    ],
    ids=repr,
)
@pytest.mark.parametrize("before", [[], [Conv2D(3, 1), TanH()], [Conv2D(3, 2, padding="same"), GELU()]], ids=repr)
def test_concatenated_images(branches, before, float64):
    """By channels, of X and of what has a gradient."""
    first = Reshape((4, 5, 3))
    for last in (GlobalAvgPool2D(), Flatten()):
        network = Model([first, *before, Concatenate(branches), last, Dense(2)]).layers
        check_step(network, *random_data(7, 60, 2), float64, scale=0.3, tolerance=1e-8)


def test_columns_have_the_gradient_of_all_that_take_them(float64):
    """Overlapping ones too; those that nobody takes have none."""
    taken = Concatenate([[Columns(0, 3)], [Columns(2, 4)], [Columns(2, 3), TanH()]])
    for before in ([Scale()], [Dense(6), TanH()]):
        network = [*before, taken, Dense(2)]
        data = random_data(7, 6, 2)
        check_step(network, *data, float64)
        _, (first, _) = gradient_step(network, random_weights(network, 6), *data, MeanSquared(), float64)
        assert not first[:, 4:].any()
        assert first[:, :4].any(axis=0).all()


def test_dropout_inside_is_not_that_outside(float64):
    """Two branches of the same dropout drop different values."""
    network = [Scale(), Concatenate([[Dropout(0.5)], [Dropout(0.5)]])]
    model = Model(network, device=float64, random_state=0)
    model.fit(
        np.ones((1, 999)), np.zeros((1, 1998)), loss="mean_bias", optimizer="sgd", max_iter=1, learning_rate=1998.0
    )
    kept = np.round((1 - model.coefs_[0][0]) / 2)
    shares = [np.mean(kept == count) for count in (0, 1, 2)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.07)


def test_weights_come_in_the_order_of_the_layers():
    network = [Residual([Dense(3), Concatenate([[Dense(1)], [Columns(0, 2)]])]), Dense(2)]
    paths = [(node.path, type(node.layer)) for node in walk(network, (3,))]
    assert paths == [
        *[((0,), Residual), ((0, 0, 0), Dense), ((0, 0, 1), Concatenate), ((0, 0, 1, 0, 0), Dense)],
        *[((0, 0, 1, 1, 0), Columns), ((1,), Dense)],
    ]
    assert [type(layer) for layer in all_layers(network)] == [kind for _, kind in paths]


def test_a_branch_alone_is_the_layers_themselves(float64):
    data = random_data(7, 5, 2)
    networks = [[Dense(6), TanH(), Dense(2)], [Concatenate([[Dense(6), TanH()]]), Dense(2)]]
    weights = random_weights(networks[0], 5)
    steps = [gradient_step(network, weights, *data, MeanSquared(), float64)[1] for network in networks]
    assert_bitwise(*steps)


def test_images_of_x_in_shuffled_batches(float64):
    """A copy of X takes the rows of the batch, as a layer before it does."""
    X, Y = random_data(30, 16, 2)
    images = [Reshape((4, 4, 1)), Concatenate([[], [Conv2D(2, 1)]]), Dense(2)]
    weights = []
    for network in (images, [images[0], Identity(), *images[1:]]):
        model = model_with(network, random_weights(images, 16), float64, n_features=16)
        model.fit(X, Y, batch_size=7, max_iter=2, optimizer="sgd")
        weights.append(model.state.weights)
    assert_close(*weights, 1e-12)
