"""Values of the activations, at ordinary and at extreme inputs."""

import numpy as np
import pytest
from contracts import ACTIVATIONS, classes, model_with
from reference import ACTIVATIONS as REFERENCE
from reference import kind
from scipy import special

from skintricate import layers
from skintricate.layers import Activation, Dense, Exponential, SoftMax


def layer_output(layer, X, device, dtype):
    """Return what a layer makes of X, standing first in a network."""
    model = model_with([layer, Dense(1)], [np.ones((X.shape[1] + 1, 1))], device, dtype)
    return model.outputs(X)[0]


def test_reference_knows_every_activation():
    named = {cls.__name__ for cls in classes(layers) if issubclass(cls, Activation)}
    assert named == set(REFERENCE)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-6), ("float64", 1e-14)])
def test_values(activation, dtype, tolerance, request):
    device = request.getfixturevalue("float64" if dtype == "float64" else "device")
    x = np.concatenate([np.linspace(-8, 8, 97), [0.0, 1e-5, -1e-5, 30, -30]])[:, None].astype(dtype)
    expected = REFERENCE[kind(activation)][0](x.astype(float), **activation.get_params())
    np.testing.assert_allclose(layer_output(activation, x, device, dtype), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_values_are_finite(activation, dtype, request):
    device = request.getfixturevalue("float64" if dtype == "float64" else "device")
    largest = 80.0 if isinstance(activation, Exponential) else 1e5
    x = np.array([[-largest, -1e3, -200.0, -90.0, 80.0, largest]], dtype)
    expected = REFERENCE[kind(activation)][0](x.astype(float), **activation.get_params())
    np.testing.assert_allclose(layer_output(activation, x, device, dtype), expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("columns", [1, 2, 5, 48, 49, 130])
@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_softmax(columns, shift, device):
    x = np.random.default_rng(columns).normal(0, 5, (9, columns)).astype("float32") + np.float32(shift)
    found = layer_output(SoftMax(), x, device, "float32")
    np.testing.assert_allclose(found, special.softmax(x.astype(float), axis=1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
