"""Shapes and parameters of the dense layer, and its products at awkward sizes."""

import numpy as np
import pytest
from contracts import assert_close, gradient_step, initial_weights, model_with, random_weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reference import Network

from skintricate.backend import open_device
from skintricate.initializers import Constant, HeNormal
from skintricate.kernels.tile import tile_of
from skintricate.layers import GELU, Dense, Identity, LeakyReLU, SoftMax, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Basic

SIZES = [1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 47, 48, 49, 97]


def random_data(n_samples, n_features, n_outputs, seed=0):
    """Return inputs and real targets."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_samples, n_features)), generator.normal(size=(n_samples, n_outputs))


def check_sizes(network, n_samples, n_features, device, seed=0, scale=0.3):
    """Compare prediction, loss and gradient of one batch with the reference."""
    X, Y = random_data(n_samples, n_features, network_outputs(network), seed)
    weights, loss = random_weights(network, n_features, seed, scale), MeanSquared()
    reference = Network(network, loss)
    value, gradient = gradient_step(network, weights, X, Y, loss, device)
    np.testing.assert_allclose(value, reference.objective(weights, X, Y), rtol=1e-11)
    assert_close(gradient, reference.gradients(weights, X, Y), 1e-9)
    predicted = model_with(network, weights, device).predict(X)
    assert_close([predicted], [reference.values(weights, X)[-1]], 1e-11)


def check_sizes_float32(network, n_samples, n_features, device, seed=0):
    """Compare prediction and one step in single precision with the reference."""
    X, Y = random_data(n_samples, n_features, network_outputs(network), seed)
    weights, loss = random_weights(network, n_features, seed, 0.3), MeanSquared()
    model = model_with(network, weights, device, "float32")
    reference = Network(network, loss)
    assert_close([model.predict(X)], [reference.values(weights, X)[-1]], 1e-4)
    model.fit(X, Y, loss=loss, optimizer=Basic(1.0), batch_size=n_samples, max_iter=1, shuffle=False)
    expected = [w - g for w, g in zip(weights, reference.gradients(weights, X, Y))]
    assert_close(model.state.weights, expected, 1e-4)


def network_outputs(network):
    """Return the units of the last dense layer."""
    return [layer for layer in network if isinstance(layer, Dense)][-1].units


@pytest.mark.parametrize("units", SIZES)
@pytest.mark.parametrize("n_samples", [1, 9])
def test_units(units, n_samples, float64):
    check_sizes([Dense(units), TanH(), Dense(units), GELU(), Dense(units)], n_samples, 3, float64)
    check_sizes_float32([Dense(units), TanH(), Dense(units), GELU(), Dense(units)], n_samples, 3, float64)


@pytest.mark.parametrize("n_features", [*SIZES, 331])
def test_features(n_features, float64):
    check_sizes([Dense(3), TanH(), Dense(2)], 6, n_features, float64)
    check_sizes_float32([TanH(), Dense(3), TanH(), Dense(2)], 6, n_features, float64)


@pytest.mark.parametrize("n_samples", [*SIZES, 211])
def test_samples(n_samples, float64):
    check_sizes([Dense(5), TanH(), Dense(2)], n_samples, 4, float64)
    check_sizes_float32([Dense(5), TanH(), Dense(2)], n_samples, 4, float64)


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_around_panels(panels, more, dtype, float64):
    tile = tile_of(open_device(float64), dtype)
    units = panels * (tile.layout.panel if tile.family == "cpu" else max(tile.sizes)) + more
    check = check_sizes if dtype == "float64" else check_sizes_float32
    check([Dense(units), TanH(), Dense(units, use_bias=False), LeakyReLU(0.2), Dense(2)], 10, units, float64)


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    units=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    activations=st.lists(st.sampled_from([TanH(), GELU(), Identity(), SoftMax(), None]), min_size=4, max_size=4),
    use_bias=st.booleans(),
    n_samples=st.integers(1, 40),
    n_features=st.integers(1, 60),
)
def test_any_network(units, activations, use_bias, n_samples, n_features, float64):
    network = []
    for count, activation in zip(units, activations):
        network += [Dense(count, use_bias=use_bias)] + ([activation] if activation else [])
    check_sizes(network, n_samples, n_features, float64)


def test_parameters_are_described():
    kernel, bias = Dense(4, HeNormal(), Constant(2.0)).parameters((3,))
    assert (kernel.name, kernel.shape, kernel.initializer) == ("kernel", (3, 4), HeNormal())
    assert (bias.name, bias.shape, bias.initializer) == ("bias", (1, 4), Constant(2.0))
    assert len(Dense(4, use_bias=False).parameters((3,))) == 1


def test_coefs_and_intercepts(device):
    network = [Dense(5, use_bias=False), TanH(), Dense(2, bias_initializer=Constant(0.5))]
    weights = initial_weights(network, 3, dtype="float32")
    model = model_with(network, weights, device, "float32")
    assert [w.shape for w in model.coefs_] == [(3, 5), (5, 2)]
    np.testing.assert_array_equal(model.intercepts_[0], np.zeros(5))
    np.testing.assert_array_equal(model.intercepts_[1], [0.5, 0.5])
    X = np.random.default_rng(0).normal(size=(4, 3))
    hidden = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    np.testing.assert_allclose(model.predict(X), hidden @ model.coefs_[1] + model.intercepts_[1], rtol=1e-5, atol=1e-6)
