"""The order of samples: a permutation, another one every epoch, the same on the device and the host."""

import itertools
import math

import numpy as np
import pytest
from contracts import model_with
from scipy import stats

from skintricate.kernels import shuffle_side, shuffled_order
from skintricate.kernels.shuffle import _philox_first
from skintricate.layers import Dense
from skintricate.optimizers import Basic

SIZES = [1, 2, 3, 4, 5, 10, 15, 16, 17, 100, 1797]


def device_orders(n_samples, seed, epochs, device, batch_size=1):
    """Return the order of each epoch: with a prediction of zero, the loss of a batch of one is its target."""
    model = model_with([Dense(1, use_bias=False)], [np.zeros((1, 1))], device, "float32", seed=seed)
    X, y = np.zeros((n_samples, 1)), -np.arange(n_samples, dtype=float)
    history = model.fit(X, y, loss="mean_bias", optimizer=Basic(1e-30), batch_size=batch_size, max_iter=epochs)
    return [epoch.step_loss for epoch in history.epochs]


@pytest.mark.parametrize("n_samples", [*SIZES, 100_003])
def test_is_a_permutation(n_samples):
    for seed, epoch in itertools.product((0, 1, 2**32 - 1), (0, 1, 1000)):
        order = shuffled_order(n_samples, seed, epoch)
        assert order.dtype == np.int32
        np.testing.assert_array_equal(np.sort(order), np.arange(n_samples))


@pytest.mark.parametrize("seed", [0, 12345, 2**32 - 1])
@pytest.mark.parametrize("n_samples", SIZES)
def test_device_orders_as_the_host(n_samples, seed, device):
    orders = device_orders(n_samples, seed, 4, device)
    assert len(orders) == 4
    for epoch, order in enumerate(orders):
        np.testing.assert_array_equal(order, shuffled_order(n_samples, seed, epoch))


def test_device_orders_many_samples_as_the_host(device):
    n_samples = 100_003
    (order,) = device_orders(n_samples, 7, 1, device)
    np.testing.assert_array_equal(order, shuffled_order(n_samples, 7, 0))


def test_batches_together_hold_every_sample_once(device):
    """Each step's mean tells the sum of its indices."""
    (sums,) = device_orders(103, 1, 1, device, batch_size=10)
    order = shuffled_order(103, 1, 0).astype(float)
    expected = [order[begin : begin + 10].mean() for begin in range(0, 103, 10)]
    np.testing.assert_allclose(sums, expected, rtol=1e-6)


def test_epochs_and_seeds_differ():
    orders = {(seed, epoch): shuffled_order(50, seed, epoch).tobytes() for seed in range(20) for epoch in range(20)}
    assert len(set(orders.values())) == 400


def test_a_later_fit_goes_on_with_the_next_epoch(device):
    model = model_with([Dense(1, use_bias=False)], [np.zeros((1, 1))], device, "float32", seed=5)
    X, y = np.zeros((30, 1)), -np.arange(30.0)
    for epoch in range(3):
        history = model.fit(X, y, loss="mean_bias", optimizer=Basic(1e-30), batch_size=1, max_iter=1)
        np.testing.assert_array_equal(history.step_loss, shuffled_order(30, 5, epoch))


def test_without_shuffling_the_order_is_the_datas(device):
    model = model_with([Dense(1, use_bias=False)], [np.zeros((1, 1))], device, "float32")
    options = {"loss": "mean_bias", "optimizer": Basic(1e-30), "batch_size": 1, "max_iter": 2}
    history = model.fit(np.zeros((30, 1)), -np.arange(30.0), shuffle=False, **options)
    np.testing.assert_array_equal(history.step_loss, np.tile(np.arange(30.0), 2))


@pytest.mark.parametrize("n_samples", [2, 3, 4])
def test_every_order_of_few_samples_is_as_likely(n_samples):
    counts = dict.fromkeys(itertools.permutations(range(n_samples)), 0)
    for epoch in range(60 * len(counts)):
        counts[tuple(shuffled_order(n_samples, 1, epoch).tolist())] += 1
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("n_samples", [5, 7, 10, 48])
def test_every_sample_is_as_likely_at_every_place(n_samples):
    counts = np.zeros((n_samples, n_samples))
    for epoch in range(1000):
        counts[np.arange(n_samples), shuffled_order(n_samples, 3, epoch)] += 1
    expected = 1000 / n_samples
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = (n_samples - 1) ** 2
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_every_order_of_five_samples_occurs():
    orders = {shuffled_order(5, 1, epoch).tobytes() for epoch in range(15 * math.factorial(5))}
    assert len(orders) == math.factorial(5)


def test_neighbours_are_torn_apart():
    order = shuffled_order(10_000, 0, 0).astype(int)
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.002
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05


@pytest.mark.parametrize(("counter", "key", "word"), [(0, 0, 0xFF1DAE59)])
def test_philox_is_philox(counter, key, word):
    """The known answer of the Random123 library for philox2x32 with ten rounds."""
    assert _philox_first(counter, key) == word


@pytest.mark.parametrize("n_samples", [1, 2, 3, 4, 5, 9, 10, 2**20, 2**20 + 1, 2**31 - 1])
def test_side_of_the_square(n_samples):
    side = shuffle_side(n_samples)
    assert (side - 1) ** 2 < n_samples <= side**2
