"""Dropout: how much it drops, what it scales, and that both directions drop the same.

A step of plain descent on ``mean_bias``, whose gradient by the output is one, shows the masks.
"""

import numpy as np
import pytest
from contracts import assert_bitwise, assert_close, gradient_step, model_with, random_weights
from reference import Network

from skintricate import Model
from skintricate.initializers import Constant
from skintricate.layers import Dense, Dropout, Identity, TanH
from skintricate.losses import MeanBias, MeanSquared
from skintricate.optimizers import Basic

RATES = [0.0, 0.1, 0.5, 0.9]


def input_mask(rate, device, columns=20_000, dtype="float32", seed=3):
    """Return the factors of dropout on one row of ones: the weights' gradient."""
    network = [Dropout(rate), Dense(1, Constant(0.0), use_bias=False)]
    model = Model(network, device=device, dtype=dtype, random_state=seed)
    X, y = np.ones((1, columns)), [0.0]
    model.fit(X, y, loss="mean_bias", optimizer=Basic(1.0), max_iter=1)
    return -model.coefs_[0][:, 0]


def hidden_masks(rate, device, n_samples=6, columns=50, steps=1, seed=3, before=()):
    """Return the backward mask of every sample and the forward masks' mean, of the last step.

    A sample has a weight row of its own, whose gradient is its mask; that of the next layer is the mean.
    """
    network = [
        Dense(columns, Constant(1.0), use_bias=False),
        *before,
        Dropout(rate),
        Dense(1, Constant(1.0), use_bias=False),
    ]
    weights = [np.ones((n_samples, columns)), np.ones((columns, 1))]
    model = model_with(network, weights, device, seed=seed)
    model.state.step = steps - 1
    options = {"optimizer": Basic(1.0), "batch_size": n_samples, "max_iter": 1, "shuffle": False, "loss": "mean_bias"}
    model.optimizer = options["optimizer"]
    model.fit(np.eye(n_samples), np.zeros(n_samples), **options)
    first, second = (before - after for before, after in zip(weights, model.state.weights))
    return first * n_samples, second[:, 0]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rate_and_scale(rate, dtype, float64):
    mask = input_mask(rate, float64, dtype=dtype)
    kept = mask != 0
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / len(mask)) + 1e-12
    np.testing.assert_allclose(mask[kept], 1 / (1 - rate), rtol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_backward_drops_what_forward_dropped(rate, float64):
    backward, forward_mean = hidden_masks(rate, float64)
    np.testing.assert_allclose(backward.mean(axis=0), forward_mean, rtol=1e-12, atol=1e-15)
    assert set(np.unique(backward.round(9))) <= {0.0, round(1 / (1 - rate), 9)}


def test_masks_of_samples_steps_seeds_and_layers_are_unrelated(float64):
    masks = {
        "one": hidden_masks(0.5, float64)[0],
        "next step": hidden_masks(0.5, float64, steps=2)[0],
        "other seed": hidden_masks(0.5, float64, seed=4)[0],
        "other layer": hidden_masks(0.5, float64, before=[Identity()])[0],
    }
    rows = np.array([mask.ravel() != 0 for mask in masks.values()])
    correlation = np.corrcoef(rows) - np.eye(len(rows))
    assert np.abs(correlation).max() < 5 / np.sqrt(rows.shape[1])
    assert len(np.unique(masks["one"], axis=0)) == len(masks["one"])
    assert_bitwise([masks["one"]], [hidden_masks(0.5, float64)[0]])


def test_gradient_with_the_masks(float64):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    network, loss = [Dense(50), TanH(), Dropout(0.4), Dense(2)], MeanSquared()
    weights = random_weights(network, 4)
    masks = [hidden_masks(0.4, float64, before=[Identity()], seed=11)[0]]
    value, gradient = gradient_step(network, weights, X, Y, loss, float64)
    reference = Network(network, loss)
    np.testing.assert_allclose(value, reference.objective(weights, X, Y, masks=masks), rtol=1e-12)
    assert_close(gradient, reference.gradients(weights, X, Y, masks=masks), 1e-11)


def test_prediction_drops_nothing(device):
    plain, dropping = (
        [Dense(9), TanH(), Dense(2)],
        [Dropout(0.5), Dense(9), Dropout(0.9), TanH(), Dropout(0.5), Dense(2)],
    )
    weights, X = random_weights(plain, 3), np.random.default_rng(0).normal(size=(33, 3))
    models = [model_with(network, weights, device, "float32") for network in (plain, dropping)]
    assert_bitwise(*[[model.predict(X)] for model in models])


def test_validation_score_drops_nothing(device):
    X, y = np.ones((4, 3)), np.arange(4.0)
    model = Model([Dropout(0.8), Dense(1)], device=device, random_state=0)
    predictions = []

    def remember(y_true, y_pred):
        predictions.append(y_pred)
        return 0.0

    model.fit(X, y, max_iter=3, metrics=[remember])
    assert_bitwise([predictions[-1]], [model.predict(X)[:, 0]])


def test_loss_of_a_mean_over_masks_is_unbiased(device):
    network = [Dropout(0.3), Dense(1, Constant(1.0), use_bias=False)]
    model = Model(network, device=device, random_state=0)
    history = model.fit(np.ones((2000, 10)), np.zeros(2000), loss=MeanBias(), optimizer=Basic(1e-20), max_iter=1)
    assert abs(history.loss[0] - 10.0) < 5 * np.sqrt(10 * 0.3 / 0.7 / 2000)
