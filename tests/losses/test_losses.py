"""Values of the losses: scikit-learn's definitions, weights, extreme outputs, accuracy."""

import numpy as np
import pytest
from contracts import LOSSES, classes, model_with
from reference import LOSSES as REFERENCE
from reference import Network, one_hot
from scipy import special
from sklearn import metrics

from skintricate import losses
from skintricate.layers import Dense, Exponential, Sigmoid, SoftMax
from skintricate.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    MeanAbsolute,
    MeanBias,
    MeanSquared,
    Poisson,
    Quantile,
)
from skintricate.optimizers import Basic

TINY = 1e-30


def first_epoch(outputs, Y, loss, device, link=None, dtype="float64", sample_weight=None):
    """Return the epoch of a network whose outputs before the link are given."""
    n_columns = outputs.shape[1]
    network = [Dense(n_columns, use_bias=False)] + ([link] if link else [])
    model = model_with(network, [np.eye(n_columns)], device, dtype)
    options = {"optimizer": Basic(TINY), "batch_size": len(outputs), "max_iter": 1, "shuffle": False}
    return model.fit(outputs, Y, loss=loss, sample_weight=sample_weight, **options).epochs[0]


def data(n_samples=13, n_columns=3, seed=0):
    """Return outputs, real targets and weights."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_columns)), rng.normal(size=(n_samples, n_columns)), rng.random(n_samples)


def test_reference_knows_every_loss():
    assert {cls.__name__ for cls in classes(losses)} == set(REFERENCE)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (MeanSquared(), metrics.mean_squared_error),
        (MeanAbsolute(), metrics.mean_absolute_error),
        (
            Quantile(0.3),
            lambda t, y, sample_weight: metrics.mean_pinball_loss(t, y, alpha=0.3, sample_weight=sample_weight),
        ),
        (
            Huber(0.7),
            lambda t, y, sample_weight: np.average(special.huber(0.7, t - y), axis=0, weights=sample_weight).mean(),
        ),
        (MeanBias(), lambda t, y, sample_weight: np.average(y - t, axis=0, weights=sample_weight).mean()),
    ],
    ids=lambda value: "" if callable(value) else repr(value),
)
def test_regression_losses_are_scikit_learns(loss, expected, float64):
    y, t, weight = data()
    epoch = first_epoch(y, t, loss, float64, sample_weight=weight)
    np.testing.assert_allclose(epoch.loss, expected(t, y, sample_weight=weight), rtol=1e-13)
    assert np.isnan(epoch.accuracy)


def test_poisson_is_half_the_deviance(float64):
    x, _, weight = data(n_columns=1)
    t = np.random.default_rng(1).poisson(3.0, x.shape).astype(float)
    deviance = metrics.mean_poisson_deviance(t[:, 0], np.exp(x[:, 0]), sample_weight=weight)
    saturated = np.average((t - special.xlogy(t, t))[:, 0], weights=weight)
    for outputs, link in ((x, Exponential()), (np.exp(x), None)):
        epoch = first_epoch(outputs, t, Poisson(), float64, link, sample_weight=weight)
        np.testing.assert_allclose(epoch.loss, deviance / 2 + saturated, rtol=1e-13)


def test_categorical_cross_entropy_is_log_loss(float64):
    x, _, weight = data(n_columns=5)
    codes = np.arange(len(x)) % 5
    probabilities = special.softmax(x, axis=1)
    expected = metrics.log_loss(codes, probabilities, sample_weight=weight)
    accuracy = metrics.accuracy_score(codes, probabilities.argmax(axis=1), sample_weight=weight)
    for target in (codes, one_hot(codes, 5)):
        epoch = first_epoch(x, target, CategoricalCrossEntropy(), float64, SoftMax(), sample_weight=weight)
        np.testing.assert_allclose([epoch.loss, epoch.accuracy], [expected, accuracy], rtol=1e-13)
    plain = first_epoch(probabilities, codes, CategoricalCrossEntropy(), float64, sample_weight=weight)
    np.testing.assert_allclose(plain.loss, expected, rtol=1e-13)


def test_categorical_accuracy_without_a_link(float64):
    x, _, _ = data(n_columns=5)
    codes, probabilities = np.arange(len(x)) % 5, special.softmax(x, axis=1)
    epoch = first_epoch(probabilities, codes, CategoricalCrossEntropy(), float64)
    np.testing.assert_allclose(epoch.accuracy, np.mean(probabilities.argmax(axis=1) == codes), rtol=1e-13)


def test_binary_cross_entropy_is_a_sum_of_log_losses(float64):
    x, t, weight = data(n_columns=4)
    t = (t > 0).astype(float)
    expected = sum(metrics.log_loss(t[:, k], special.expit(x[:, k]), sample_weight=weight) for k in range(4))
    accuracy = np.average((x > 0) == (t > 0.5), axis=0, weights=weight).mean()
    for link in (Sigmoid(), None):
        epoch = first_epoch(x, t, BinaryCrossEntropy(), float64, link, sample_weight=weight)
        np.testing.assert_allclose([epoch.loss, epoch.accuracy], [expected, accuracy], rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [50.0, 1e3, 1e5])
def test_extreme_logits(dtype, size, float64):
    x = np.array([[size, 0, -size], [-size, size, 0], [size, size, -size]])
    codes = np.array([0, 0, 2])
    chosen = x[np.arange(3), codes]
    cross_entropy = (special.logsumexp(x, axis=1) - chosen).mean()
    epoch = first_epoch(x, codes, CategoricalCrossEntropy(), float64, SoftMax(), dtype)
    np.testing.assert_allclose(epoch.loss, cross_entropy, rtol=1e-6)
    t = one_hot(codes, 3)
    binary = -(t * special.log_expit(x) + (1 - t) * special.log_expit(-x)).sum(axis=1).mean()
    epoch = first_epoch(x, t, BinaryCrossEntropy(), float64, Sigmoid(), dtype)
    np.testing.assert_allclose(epoch.loss, binary, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rates_that_vanish(dtype, float64):
    x, t = np.array([[-300.0], [-90.0], [3.0]]), np.array([[2.0], [0.0], [1.0]])
    epoch = first_epoch(x, t, Poisson(), float64, Exponential(), dtype)
    np.testing.assert_allclose(epoch.loss, (np.exp(x) - t * x).mean(), rtol=1e-6)


def test_probability_of_zero_is_cut_off(device):
    y, t = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    epoch = first_epoch(y, t, CategoricalCrossEntropy(), device, dtype="float32")
    np.testing.assert_allclose(epoch.loss, -np.log(1e-7), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_weights_of_zero_take_samples_out(loss, float64):
    x, t, _ = data(9, 2)
    x, t = np.abs(x) / 5 + 0.1, (t > 0).astype(float)
    weight = np.array([1.0, 0, 2, 0, 1, 1, 0, 3, 1])
    kept = weight > 0
    all_rows = first_epoch(x, t, loss, float64, sample_weight=weight)
    some_rows = first_epoch(x[kept], t[kept], loss, float64, sample_weight=weight[kept])
    np.testing.assert_allclose([all_rows.loss, all_rows.accuracy], [some_rows.loss, some_rows.accuracy], rtol=1e-13)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("n_columns", [1, 7, 48, 49, 101])
def test_any_number_of_outputs(loss, n_columns, float64):
    x, t, weight = data(10, n_columns)
    x, t = np.abs(x) / 5 + 0.1, (t > 0).astype(float)
    epoch = first_epoch(x, t, loss, float64, sample_weight=weight)
    network = Network([Dense(n_columns, use_bias=False)], loss)
    np.testing.assert_allclose(epoch.loss, network.objective([np.eye(n_columns)], x, t, weight), rtol=1e-12)
