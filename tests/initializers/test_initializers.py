"""Initializers: moments and bounds of what they draw, and who draws what."""

import numpy as np
import pytest
from contracts import INITIALIZERS, assert_bitwise, classes, initial_weights

from skintricate import Model, initializers
from skintricate.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LeCunNormal,
    LimitedRandom,
    NormalRandom,
    UniformRandom,
)
from skintricate.layers import Dense, TanH
from skintricate.optimizers import Basic

I, O = 300, 500  # noqa: E741
# Of an array of I x O: mean, standard deviation, largest distance from the mean (None: unbounded).
MOMENTS = [
    (Constant(0.3), 0.3, 0.0, 1e-15),
    (UniformRandom(-0.4, 0.1), -0.15, 0.5 / np.sqrt(12), 0.25),
    (LimitedRandom(0.3), 0.0, 0.3 / np.sqrt(3), 0.3),
    (NormalRandom(0.2, 0.4), 0.2, 0.4, None),
    (GlorotUniform(), 0.0, np.sqrt(2 / (I + O)), np.sqrt(6 / (I + O))),
    (GlorotNormal(), 0.0, np.sqrt(2 / (I + O)), None),
    (HeUniform(), 0.0, np.sqrt(2 / I), np.sqrt(6 / I)),
    (HeNormal(), 0.0, np.sqrt(2 / I), None),
    (LeCunNormal(), 0.0, np.sqrt(1 / I), None),
]


class Ramp(Initializer):
    def __init__(self, slope=0.5):
        self.slope = slope

    def draw(self, generator, shape):
        return self.slope * np.arange(np.prod(shape)).reshape(shape)


class Flat(Initializer):
    def draw(self, generator, shape):
        return np.zeros(int(np.prod(shape)))


def test_moments_are_known_for_every_initializer():
    assert {type(initializer) for initializer, *_ in MOMENTS} == set(classes(initializers))


@pytest.mark.parametrize(("initializer", "mean", "deviation", "limit"), MOMENTS, ids=repr)
def test_moments(initializer, mean, deviation, limit):
    values = initializer.draw(np.random.default_rng(0), (I, O))
    assert values.shape == (I, O)
    assert abs(values.mean() - mean) <= 5 * deviation / np.sqrt(values.size) + 1e-15
    np.testing.assert_allclose(values.std(), deviation, rtol=0.01, atol=1e-15)
    if limit is not None:
        assert np.abs(values - mean).max() <= limit + 1e-12
        assert np.abs(values - mean).max() >= 0.999 * deviation


@pytest.mark.parametrize(
    ("initializer", "fan"), [(HeNormal(), 25 * 8), (GlorotUniform(), 25 * (8 + 16) / 2)], ids=["inputs", "both"]
)
def test_fans_of_a_convolution_are_those_of_its_window(initializer, fan):
    values = initializer.draw(np.random.default_rng(0), (5, 5, 8, 16))
    np.testing.assert_allclose(values.std(), np.sqrt(initializer.gain / fan), rtol=0.03)


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
def test_same_generator_same_values(initializer):
    first, second, other = (initializer.draw(np.random.default_rng(seed), (4, 6)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert isinstance(initializer, Constant) or (first != other).all()


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_starts_from_what_it_draws(initializer, dtype, float64):
    """One step of a tiny rate leaves the values where the initializer put them."""
    network = [Dense(7, initializer, Constant(0.5)), TanH(), Dense(2, kernel_initializer=initializer, use_bias=False)]
    model = Model(network, device=float64, dtype=dtype, random_state=5)
    model.fit(np.ones((3, 4)), np.zeros((3, 2)), optimizer=Basic(1e-30), max_iter=1)
    drawn = initializer.draw(np.random.default_rng([5, 0, 0]), (4, 7))
    np.testing.assert_array_equal(model.coefs_[0], drawn.astype(dtype))
    np.testing.assert_array_equal(model.intercepts_[0], np.full(7, 0.5, dtype))
    drawn = initializer.draw(np.random.default_rng([5, 2, 0]), (7, 2))
    np.testing.assert_array_equal(model.coefs_[1], drawn.astype(dtype))


def test_default_is_glorot_uniform_and_zero():
    (weights,) = initial_weights([Dense(8)], 4)
    (expected,) = initial_weights([Dense(8, GlorotUniform(), Constant(0.0))], 4)
    assert_bitwise([weights], [expected])
    np.testing.assert_array_equal(weights[-1], np.zeros(8))
    assert len(np.unique(weights[:-1])) == 32


def test_a_layer_draws_the_same_whatever_the_others_draw():
    plain = initial_weights([Dense(8), TanH(), Dense(3)], 4)
    other = initial_weights([Dense(8, HeNormal(), NormalRandom()), TanH(), Dense(3)], 4)
    np.testing.assert_array_equal(plain[1], other[1])
    seeds = [initial_weights([Dense(8)], 4, seed)[0] for seed in (0, 1)]
    assert (seeds[0][:-1] != seeds[1][:-1]).all()


def test_an_initializer_of_ones_own(device):
    model = Model([Dense(3, Ramp(0.25))], device=device, random_state=0)
    model.fit(np.zeros((2, 2)), np.zeros((2, 3)), optimizer=Basic(1e-30), max_iter=1)
    np.testing.assert_array_equal(model.coefs_[0], [[0, 0.25, 0.5], [0.75, 1.0, 1.25]])


def test_wrong_shape_names_layer_and_parameter(device):
    model = Model([TanH(), Dense(3, Flat())], device=device, random_state=0)
    with pytest.raises(ValueError, match=r"Flat\(\) drew values of shape \(6,\) for parameter 'kernel' of layer 1"):
        model.fit(np.zeros((2, 2)), np.zeros((2, 3)))
