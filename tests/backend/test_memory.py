"""The memory budget, and what refuses to fit."""

from types import SimpleNamespace

import numpy as np
import pytest

from skintricate import Model
from skintricate.backend import Budget, open_device
from skintricate.backend.memory import parse_bytes
from skintricate.exceptions import DeviceError, DeviceMemoryError
from skintricate.layers import Dense


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("1000000", 1_000_000),
        ("0", 0),
        ("512MiB", 512 * 2**20),
        ("512mb", 512 * 2**20),
        (" 2 G ", 2 * 2**30),
        ("1.5k", 1536),
        ("1TiB", 2**40),
        ("64B", 64),
    ],
)
def test_amounts_are_read(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "much", "-1", "1e9", "5 apples", "1.2.3", "."])
def test_what_is_no_amount_is_named(text):
    with pytest.raises(ValueError, match="SKINTRICATE_MEMORY_LIMIT"):
        parse_bytes(text)


def test_the_least_limit_counts(monkeypatch):
    handle = SimpleNamespace(global_mem_size=1000 * 2**30, max_mem_alloc_size=250 * 2**30)
    monkeypatch.delenv("SKINTRICATE_MEMORY_LIMIT", raising=False)
    gpu = Budget.of(handle, is_cpu=False)
    assert gpu.total == 800 * 2**30
    assert gpu.largest == 250 * 2**30
    assert Budget.of(handle, is_cpu=True).total <= gpu.total
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "3GiB")
    assert Budget.of(handle, is_cpu=False) == Budget(3 * 2**30, 3 * 2**30)


def test_refusals_have_numbers_and_a_remedy():
    Budget(100, 50).require(50, "It", "Buy more.")
    with pytest.raises(DeviceMemoryError, match=r"It needs 3\.0 MiB.* 2\.0 MiB with at most 1\.0 MiB.* Buy more\."):
        Budget(2 * 2**20, 2**20).require(3 * 2**20, "It", "Buy more.")
    assert issubclass(DeviceMemoryError, MemoryError)
    assert issubclass(DeviceMemoryError, DeviceError)


def test_small_refusals_have_numbers_too():
    with pytest.raises(DeviceMemoryError) as caught:
        Budget(2000, 2000).require(3000, "It", "Buy more.")
    assert "0.0 MiB" not in str(caught.value)


@pytest.mark.parametrize(("units", "what"), [(300_000, "network"), (3000, "batch")])
def test_a_model_too_large_is_refused(runtime, monkeypatch, units, what):
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "1MiB")
    model = Model([Dense(units), Dense(1)], device=runtime)
    with pytest.raises(DeviceMemoryError, match=what):
        model.fit(np.zeros((500, 2)), np.zeros(500), batch_size=500)
    assert model.state is None


def test_a_large_model_is_refused_before_its_weights_are_drawn(runtime, monkeypatch):
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "1MiB")
    model = Model([Dense(50_000), Dense(50_000)], device=runtime)
    monkeypatch.setattr(np.random, "default_rng", lambda *_: pytest.fail("weights were drawn"))
    with pytest.raises(DeviceMemoryError):
        model.fit(np.zeros((4, 2)), np.zeros((4, 50_000)))


def test_a_buffer_that_cannot_be_had_is_a_device_error(runtime):
    device = open_device(runtime)
    with pytest.raises(DeviceError, match="could not allocate"):
        device.buffer(2**60)


def test_no_buffer_is_empty(runtime):
    assert open_device(runtime).buffer(0).size > 0
