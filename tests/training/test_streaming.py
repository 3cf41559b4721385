"""Data larger than the memory budget: the same bits, in slices."""

import numpy as np
import pytest
import scipy.sparse
from contracts import assert_bitwise, model_with, random_weights

from skintricate import Model
from skintricate.backend import Device
from skintricate.backend.staging import Staging
from skintricate.exceptions import DeviceMemoryError
from skintricate.layers import Dense, Dropout, SoftMax, TanH
from skintricate.optimizers import Adam, ExponentialRate
from skintricate.training import streamed
from skintricate.training.forward import _Pass

# 62 batches of 32 samples, the last of five: slices end unevenly.
N, I = 61 * 32 + 5, 20  # noqa: E741


@pytest.fixture
def slices(monkeypatch):
    """Return the list of rows that each slice of streamed training brought to the device."""
    counts, begin = [], streamed.StreamedTrainer._begin_rows

    def spy(self, data, index, *arguments, **options):
        counts.append(len(index))
        return begin(self, data, index, *arguments, **options)

    monkeypatch.setattr(streamed.StreamedTrainer, "_begin_rows", spy)
    return counts


@pytest.fixture(params=[False, True])
def stages(request, monkeypatch):
    """Say whether rows come through pinned memory, as they do where the device is no CPU; slices are small."""
    if request.param:
        monkeypatch.setattr(Device, "staging", property(lambda self: self.once(Staging, lambda: Staging(self))))
        monkeypatch.setattr("skintricate.training.data.STAGED_BYTES", 4000)
    return request.param


def data(sparse=False):
    """Return inputs and class codes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, I)) * (rng.random((N, I)) < 0.4)
    return (scipy.sparse.csr_matrix(X) if sparse else X), rng.integers(3, size=N)


def trained(X, y, device, dtype="float32", **options):
    """Return a model after four epochs, and its history."""
    network = [Dropout(0.1), Dense(9), TanH(), Dense(3), SoftMax()]
    model = Model(network, device=device, dtype=dtype, random_state=1)
    options = {"optimizer": Adam(ExponentialRate(0.01)), "batch_size": 32, "max_iter": 4, "alpha": 0.1, **options}
    return model, model.fit(X, y, loss="categorical_cross_entropy", **options)


@pytest.mark.parametrize("limit", ["48k", "100k"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shuffle", [True, False])
def test_same_bits_as_resident_training(limit, sparse, weighted, shuffle, stages, device, monkeypatch, slices):
    (X, y), weight = data(sparse), np.random.default_rng(2).random(N) if weighted else None
    options = {"sample_weight": weight, "shuffle": shuffle}
    resident, expected = trained(data()[0], y, device, **options)
    assert not slices
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", limit)
    streamed, history = trained(X, y, device, **options)
    assert sum(slices) == 4 * N
    assert max(slices) < N
    assert max(slices) % 32 == 0
    assert_bitwise(streamed.state.weights, resident.state.weights)
    for mine, theirs in zip(streamed.state.optimizer_states, resident.state.optimizer_states):
        assert_bitwise(mine, theirs)
    assert_bitwise([history.step_loss], [expected.step_loss])
    np.testing.assert_allclose(history.loss, expected.loss, rtol=1e-6)
    np.testing.assert_allclose(history.accuracy, expected.accuracy, rtol=1e-6)
    assert (streamed.state.step, streamed.state.epoch) == (resident.state.step, resident.state.epoch)


def test_same_step_accuracies_as_resident_training(device, monkeypatch, slices):
    X, y = data()
    _, expected = trained(X, y, device)
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "60k")
    _, history = trained(X, y, device)
    assert slices
    assert_bitwise([history.step_accuracy], [expected.step_accuracy])


def test_goes_on_where_resident_training_ended(device, monkeypatch, slices):
    X, y = data()
    uninterrupted, _ = trained(X, y, device)
    model, _ = trained(X, y, device, max_iter=2)
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "60k")
    model.fit(
        X,
        y,
        loss="categorical_cross_entropy",
        optimizer=Adam(ExponentialRate(0.01)),
        batch_size=32,
        max_iter=2,
        alpha=0.1,
    )
    assert slices
    assert_bitwise(model.state.weights, uninterrupted.state.weights)


def test_stops_for_the_same_reason(stages, device, monkeypatch, slices):
    X, y = data()
    options = {"max_iter": 50, "tol": 0.02, "n_iter_no_change": 2}
    _, expected = trained(X, y, device, **options)
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "60k")
    _, history = trained(X, y, device, **options)
    assert slices
    assert history.stopped_by == expected.stopped_by == "no improvement"
    assert len(history) == len(expected)


def test_a_slice_without_any_weight(device, monkeypatch, slices):
    (X, y), weight = data(), np.ones(N)
    weight[:900] = 0
    resident, _ = trained(X, y, device, sample_weight=weight, shuffle=False)
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "48k")
    streamed, _ = trained(X, y, device, sample_weight=weight, shuffle=False)
    assert max(slices) <= 900
    assert_bitwise(streamed.state.weights, resident.state.weights)


@pytest.mark.parametrize("sparse", [False, True])
def test_prediction_in_slices(sparse, stages, device, monkeypatch):
    network = [Dense(9), TanH(), Dense(3), SoftMax()]
    weights = random_weights(network, I)
    whole = model_with(network, weights, device, "float32")
    expected, outputs = whole.predict(data(sparse)[0]), whole.outputs(data(sparse)[0])
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "20k")
    sliced = model_with(network, weights, device, "float32")
    assert_bitwise([sliced.predict(data(sparse)[0])], [expected])
    assert_bitwise(sliced.outputs(data(sparse)[0]), outputs)
    passes = sliced._forward._passes
    assert max(capacity for capacity, *_ in passes) < N
    assert (len({number for *_, number in passes}) > 1) is (sliced._forward.device.staging is not None)


def test_a_slice_that_fails(stages, device, monkeypatch):
    network = [Dense(9), TanH(), Dense(3), SoftMax()]
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "20k")
    model = model_with(network, random_weights(network, I), device, "float32")
    expected, read = model.predict(data()[0]), _Pass._read
    seen = []

    def fail_once(*arguments):
        seen.append(arguments)
        if len(seen) == 3:
            raise MemoryError("no memory for the third slice")
        return read(*arguments)

    monkeypatch.setattr(_Pass, "_read", fail_once)
    with pytest.raises(MemoryError, match="third slice"):
        model.predict(data()[0])
    assert_bitwise([model.predict(data()[0])], [expected])


def test_slices_that_all_fail(stages, device, monkeypatch):
    """No thread waits for what others have lost."""
    network = [Dense(9), TanH(), Dense(3), SoftMax()]
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "20k")
    model = model_with(network, random_weights(network, I), device, "float32")
    expected = model.predict(data()[0])

    def fail(*_):
        raise MemoryError("no memory for any slice")

    with monkeypatch.context() as patch:
        patch.setattr(_Pass, "_start", fail)
        with pytest.raises(MemoryError, match="any slice"):
            model.predict(data()[0])
    assert_bitwise([model.predict(data()[0])], [expected])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((600, 600, 10), r"The network .* needs \d+\.\d MiB .* budget is 1\.0 MiB"),
        ((200, 5, 1000), r"activations and gradients of a batch of 1000 samples needs 1\.\d MiB .* budget is 1\.0 MiB"),
        ((5, 600, 1000), r"A batch of 1000 samples of 600 features needs 2\.3 MiB .* budget is 1\.0 MiB"),
        ((100, 400, 400), r"The network with one batch of 400 samples needs \d\.\d MiB .* budget is 1\.0 MiB"),
    ],
)
def test_a_limit_too_small_says_what_is_needed(sizes, message, device, monkeypatch):
    units, n_features, batch_size = sizes
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "1MiB")
    model = Model([Dense(units), TanH(), Dense(1)], device=device, random_state=0)
    with pytest.raises(DeviceMemoryError, match=message):
        model.fit(np.zeros((1000, n_features)), np.zeros(1000), optimizer="sgd", batch_size=batch_size, max_iter=1)
    assert model.state is None


def test_a_limit_that_is_no_number(device, monkeypatch):
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "plenty")
    with pytest.raises(ValueError, match="SKINTRICATE_MEMORY_LIMIT='plenty'"):
        trained(*data(), device)
