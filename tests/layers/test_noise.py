"""Gaussian noise: its distribution, what it depends on, and that predictions have none.

A step of plain descent on ``mean_bias``, whose gradient by the output is one, shows one row of it.
"""

import numpy as np
import pytest
from contracts import assert_bitwise, assert_close, random_weights
from scipy import stats

from skintricate import Model
from skintricate.initializers import Constant
from skintricate.layers import Conv2D, Dense, GaussianNoise, Identity, Reshape, TanH
from skintricate.optimizers import Basic


def noise(stddev, device, columns=20_000, dtype="float32", seed=3, step=0, before=(), value=0.0, n_samples=1):
    """Return the values of rows after noise, the mean over all of them: the gradient of the next layer's weights."""
    network = [*before, GaussianNoise(stddev), Dense(1, Constant(0.0), use_bias=False)]
    model = Model(network, device=device, dtype=dtype, random_state=seed)
    X, y = np.full((n_samples, columns), value), np.zeros(n_samples)
    options = {"loss": "mean_bias", "optimizer": Basic(1.0), "batch_size": n_samples, "max_iter": 1}
    model.fit(X, y, **options)
    found = -model.coefs_[0][:, 0]
    for _ in range(step):
        before_step = model.coefs_[0][:, 0]
        model.fit(X, y, **options)
        found = before_step - model.coefs_[0][:, 0]
    return found


@pytest.mark.parametrize("stddev", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_and_deviation(stddev, dtype, float64):
    found = noise(stddev, float64, dtype=dtype)
    assert abs(found.mean()) <= 5 * stddev / np.sqrt(len(found))
    assert found.std() == pytest.approx(stddev, rel=0.03)


def test_it_is_normal(device):
    assert stats.kstest(noise(2.0, device), "norm", (0, 2.0)).pvalue > 1e-3
    assert np.abs(noise(1.0, device)).max() > 3.5


def test_it_is_added(float64):
    assert_close([noise(0.5, float64, value=3.0, dtype="float64") - 3.0], [noise(0.5, float64, dtype="float64")], 1e-12)


def test_samples_have_noise_of_their_own(float64):
    assert noise(1.0, float64, n_samples=25).std() == pytest.approx(1 / 5, rel=0.05)


def test_the_same_seed_has_the_same_noise(device):
    assert_bitwise([noise(0.5, device)], [noise(0.5, device)])


def test_steps_seeds_and_layers_are_unrelated(float64):
    rows = np.array(
        [
            noise(1.0, float64),
            noise(1.0, float64, step=1),
            noise(1.0, float64, step=2),
            noise(1.0, float64, seed=4),
            noise(1.0, float64, before=[Identity()]),
        ]
    )
    rows = np.vstack([rows, rows[:1, np.r_[1:20_000, 0]]])  # neighbours
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / np.sqrt(rows.shape[1])


def test_types_have_the_same_noise(float64):
    assert_close([noise(1.0, float64)], [noise(1.0, float64, dtype="float64")], 1e-5)


def test_prediction_has_none(device):
    plain, noisy = (
        [Dense(9), TanH(), Dense(2)],
        [GaussianNoise(5.0), Dense(9), GaussianNoise(5.0), TanH(), GaussianNoise(5.0), Dense(2)],
    )
    weights, X = random_weights(plain, 3), np.random.default_rng(0).normal(size=(33, 3))
    outputs = []
    for network in (plain, noisy):
        model = Model(network, device=device, random_state=0)
        model.fit(X, X[:, :2], max_iter=1)
        model.state.weights = [w.astype("float32") for w in weights]
        outputs.append(Model.predict(model, X))
    assert_bitwise([outputs[0]], [outputs[1]])


def test_validation_score_has_none(device):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = Model([GaussianNoise(5.0), Dense(1)], device=device, random_state=0)
    history = model.fit(X, X[:, 0], max_iter=3, validation_data=(X, X[:, 0]))
    residual = ((model.predict(X)[:, 0] - X[:, 0]) ** 2).sum() / ((X[:, 0] - X[:, 0].mean()) ** 2).sum()
    assert history.validation_score[-1] == pytest.approx(1 - residual, rel=1e-4)


def test_images_have_noise_in_every_pixel(float64):
    """A kernel of one pixel, whose gradient is the mean over all: small if they are unrelated."""
    layers = [Reshape((20, 20, 3)), GaussianNoise(1.0), Conv2D(1, 1, kernel_initializer=Constant(0.0), use_bias=False)]
    model = Model(layers, device=float64, random_state=0)
    model.fit(np.zeros((30, 1200)), np.zeros((30, 400)), loss="mean_bias", optimizer=Basic(1.0), max_iter=1)
    assert model.coefs_[0].any()
    assert np.abs(model.coefs_[0]).max() < 5 / np.sqrt(30 * 400)
