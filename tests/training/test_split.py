"""One network trained by several devices: the weights of one device, and the same bits every time."""

import pickle

import numpy as np
import pytest
from contracts import assert_bitwise

from skintricate import IntricateRegressor, Model
from skintricate.backend import Device, open_device
from skintricate.exceptions import DivergenceError, TrainingInterruptedWarning
from skintricate.layers import BatchNorm, Dense, Dropout, GaussianNoise, ReLU, Residual, SoftMax, TanH
from skintricate.optimizers import Adam, Basic
from skintricate.training import Callback, split
from skintricate.training.plan import Launch, Plan

RANDOM = np.random.default_rng(5)
N = 230
X, CLASSES, TARGETS = RANDOM.normal(size=(N, 7)), RANDOM.integers(3, size=N), RANDOM.normal(size=(N, 2))
WEIGHT = RANDOM.random(N)
NETWORKS = {
    "classes": ([Dense(9), TanH(), Dense(3), SoftMax()], CLASSES, {"loss": "categorical_cross_entropy"}),
    "targets": ([Dense(9, l1=0.001), ReLU(), Dense(2)], TARGETS, {}),
    "noise": ([Dropout(0.2), Dense(9), GaussianNoise(0.1), TanH(), Dropout(0.3), Dense(2)], TARGETS, {}),
    "residual": ([Dense(8), Residual([Dense(8), TanH()]), Dense(2)], TARGETS, {}),
}
OPTIONS = {
    "plain": {},
    "alpha": {"alpha": 0.1, "optimizer": Adam()},
    "weighted": {"sample_weight": WEIGHT},
    "clipped": {"optimizer": Basic(0.1, clip_norm=0.01), "alpha": 0.1},
    "not shuffled": {"shuffle": False},
}


@pytest.fixture
def devices(device, monkeypatch):
    """Return a function that makes every model train on so many devices, each a context of the tests' own."""
    first = open_device(device)

    def use(count):
        others = [Device(first.info, first.handle) for _ in range(count - 1)]
        monkeypatch.setattr("skintricate.model.open_devices", lambda wish: [first, *others])
        monkeypatch.setattr(split, "pays", lambda *_: True)

    return use


def trained(network, y, options, batch_size=32, dtype="float64", **more):
    """Return a model after three epochs, and its history."""
    model = Model(network, dtype=dtype, random_state=3)
    return model, model.fit(X, y, **{"batch_size": batch_size, "max_iter": 3, "optimizer": "adam", **options, **more})


def n_devices(model):
    """Return how many devices a model names."""
    return len(model.device_.split("), "))


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_those_of_one_device(name, options, count, float64, devices):
    network, y, more = NETWORKS[name]
    expected, expected_history = trained(network, y, {**more, **OPTIONS[options]})
    devices(count)
    model, history = trained(network, y, {**more, **OPTIONS[options]})
    assert (n_devices(expected), n_devices(model)) == (1, count)
    states = [array for states in model.state.optimizer_states for array in states]
    expected_states = [array for states in expected.state.optimizer_states for array in states]
    for found, array in zip([*model.state.weights, *states], [*expected.state.weights, *expected_states], strict=True):
        np.testing.assert_allclose(found, array, rtol=1e-9, atol=1e-11)
    for attribute in ("loss", "accuracy", "step_loss", "step_accuracy"):
        np.testing.assert_allclose(getattr(history, attribute), getattr(expected_history, attribute), rtol=1e-10)
    assert (model.state.step, model.state.epoch) == (expected.state.step, expected.state.epoch)
    again, again_history = trained(network, y, {**more, **OPTIONS[options]})
    assert_bitwise(again.state.weights, model.state.weights)
    assert_bitwise([again_history.step_loss], [history.step_loss])


@pytest.mark.parametrize("batch_size", [2, 5, 113, 229, 230, 1000])
def test_batches_that_do_not_divide(batch_size, float64, devices):
    network, y, more = NETWORKS["noise"]
    expected, _ = trained(network, y, more, batch_size)
    devices(2)
    model, _ = trained(network, y, more, batch_size)
    assert n_devices(model) == 2
    for found, array in zip(model.state.weights, expected.state.weights):
        np.testing.assert_allclose(found, array, rtol=1e-9, atol=1e-11)


def test_pieces_larger_than_a_chunk(float64, devices, monkeypatch):
    network, y, more = NETWORKS["targets"]
    devices(3)
    expected, _ = trained(network, y, more)
    monkeypatch.setattr("skintricate.backend.exchange.CHUNK_BYTES", 40)
    model, _ = trained(network, y, more)
    assert_bitwise(model.state.weights, expected.state.weights)


def test_goes_on_with_the_state_it_has(float64, devices):
    network, y, more = NETWORKS["noise"]
    devices(2)
    expected, _ = trained(network, y, more)
    model, _ = trained(network, y, more, max_iter=2)
    model.fit(X, y, **{"batch_size": 32, "max_iter": 1, "optimizer": "adam", **more})
    assert_bitwise(model.state.weights, expected.state.weights)


def test_early_stopping_keeps_the_best_weights(float64, devices):
    network, y, more = NETWORKS["classes"]
    options = {**more, "early_stopping": True, "validation_data": (X[:50], y[:50]), "n_iter_no_change": 2}
    expected, expected_history = trained(network, y, options, max_iter=40)
    devices(2)
    model, history = trained(network, y, options, max_iter=40)
    np.testing.assert_allclose(history.validation_score, expected_history.validation_score, rtol=1e-12)
    assert history.stopped_by == expected_history.stopped_by
    np.testing.assert_allclose(model.predict(X), expected.predict(X), rtol=1e-8)


def test_stops_where_nothing_improves(float64, devices):
    network, y, more = NETWORKS["targets"]
    options = {**more, "tol": 1.0, "n_iter_no_change": 2}
    _, expected = trained(network, y, options, max_iter=40)
    devices(2)
    _, history = trained(network, y, options, max_iter=40)
    assert history.stopped_by == expected.stopped_by == "no improvement"
    assert len(history) == len(expected)


def test_divergence_leaves_the_model_as_it_was(float64, devices):
    network, y, more = NETWORKS["targets"]
    devices(2)
    model = Model(network, dtype="float64", random_state=3)
    with pytest.raises(DivergenceError):
        model.fit(X, y, **{"optimizer": Basic(1e200), "max_iter": 5, **more})
    assert model.state is None


def test_callbacks_see_the_weights_of_every_epoch(float64, devices):
    seen = []

    class Spy(Callback):
        def on_epoch_end(self, epoch, weights):
            seen.append(weights().weights)

    network, y, more = NETWORKS["targets"]
    devices(2)
    model, _ = trained(network, y, {**more, "callbacks": [Spy()]})
    assert len(seen) == 3
    assert_bitwise(seen[-1], model.state.weights)


@pytest.mark.parametrize(
    ("network", "data"),
    [([Dense(8), BatchNorm(), Dense(2)], X), ([Dense(2)], X[:1])],
    ids=["samples that meet", "fewer rows than devices"],
)
def test_what_cannot_be_shared_is_trained_on_one_device(network, data, float64, devices):
    devices(2)
    model = Model(network, dtype="float64", random_state=3)
    model.fit(data, TARGETS[: len(data)], max_iter=1)
    assert n_devices(model) == 1


def test_small_networks_are_trained_on_one_device(float64, devices, monkeypatch):
    pays = split.pays
    devices(2)
    monkeypatch.setattr(split, "pays", pays)
    assert n_devices(trained(*NETWORKS["targets"])[0]) == 1


def test_data_beyond_the_memory_is_streamed_on_one_device(float64, devices, monkeypatch):
    devices(2)
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "24k")
    assert n_devices(trained(*NETWORKS["targets"], batch_size=8)[0]) == 1


def test_large_steps_pay():
    large = Plan(8192, 8, operations=13e11, parameter_count=33_600_000, is_large=True)
    assert split.pays(large, "highest", 4, 2)
    assert not split.pays(large, "high", 4, 2)  # the sums are on their way for longer than they take to be made
    assert not split.pays(Plan(8192, 8, operations=1e9, parameter_count=1_000_000, is_large=True), "highest", 4, 2)
    assert not split.pays(Plan(200, 8, operations=1e7, parameter_count=7_000), "highest", 4, 2)


def test_slices_of_a_launch_are_rows_of_tiles():
    launch = Launch("tensor_weights", 0, 1, tiles=5 * 3, takes_blocks=False)
    stage = {"inputs": 4 * 128 + 30, "bias": 1, "size": 128}
    slices = list(split._slices(launch, stage, 4))
    assert slices == [
        (slice(0, 3), slice(0, 128)),
        (slice(3, 6), slice(128, 256)),
        (slice(6, 9), slice(256, 384)),
        (slice(9, 15), slice(384, 640)),
    ]
    ((tiles, rows),) = split._slices(launch, stage, 1)
    assert (tiles, rows.start, rows.stop >= 543) == (slice(0, 15), 0, True)


def test_an_interrupt_keeps_the_steps_so_far(float64, devices, monkeypatch):
    network, y, more = NETWORKS["targets"]
    devices(2)
    taken, take_step = [], split._Schedule.take_step

    def interrupted(schedule, number):
        if len(taken) == 10:
            raise KeyboardInterrupt
        taken.append(number)
        take_step(schedule, number)

    monkeypatch.setattr(split._Schedule, "take_step", interrupted)
    with pytest.warns(TrainingInterruptedWarning, match="after 1 epochs"):
        model, history = trained(network, y, more)
    assert (model.state.step, history.stopped_by) == (10, "interrupted")


def test_an_estimator_and_its_files(float64, devices, tmp_path):
    devices(2)
    fitted = IntricateRegressor(
        [8], dtype="float64", random_state=0, device="gpu:all", max_iter=3, n_iter_no_change=None
    )
    fitted.fit(X, TARGETS)
    assert fitted.device_.count(", ") == 3  # each is a name, a number and a runtime
    expected = fitted.predict(X)
    assert_bitwise([pickle.loads(pickle.dumps(fitted)).predict(X)], [expected])
    fitted.model_.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert loaded.device == "gpu:all"
    assert_bitwise([loaded.predict(X)], [expected])
