"""Rows that go to a device through pinned memory."""

import threading

import numpy as np
import pytest

from skintricate.backend import open_device
from skintricate.backend.staging import Staging, finish


@pytest.fixture
def staging(device):
    return Staging(open_device(device))


def test_a_cpu_reads_the_host_itself(device):
    opened = open_device(device)
    assert (opened.staging is None) is (opened.is_cpu or opened.info.runtime == "oclgrind")


def test_slices_come_where_they_belong(staging, device):
    opened, rows = open_device(device), np.arange(10_000, dtype=np.float32)
    buffer = opened.buffer(rows.nbytes)

    def bring(begin):
        part = staging.array((700,), np.float32)[: len(rows) - begin]
        part[:] = rows[begin : begin + 700]
        staging.write(buffer, part, 4 * begin)

    finish(staging.begin(bring, range(0, len(rows), 700)))
    assert np.array_equal(opened.read(np.empty_like(rows), buffer), rows)


def test_a_thread_keeps_its_memory_as_large_as_it_was(staging):
    first, other = staging.array((3, 4), np.float64), staging.array((5,), np.float32, "results")
    first[:], other[:] = 1, 2
    assert first.min() == 1
    assert not np.shares_memory(first, other)
    smaller = staging.array((2, 4), np.float32)
    assert np.shares_memory(smaller, first)
    larger = staging.array((300, 4), np.float64)
    assert larger.shape == (300, 4)
    assert np.shares_memory(staging.array((300, 4), np.float64), larger)


def test_threads_have_memory_of_their_own(staging):
    arrays, all_there = [], threading.Barrier(2, timeout=30)

    def take(_):
        arrays.append(staging.array((100,), np.float32))
        all_there.wait()

    finish(staging.begin(take, range(2)))
    assert not np.shares_memory(*arrays)


def test_an_error_calls_off_what_has_not_begun(staging):
    done, go = [], threading.Event()

    def work(number):
        if number == 0:
            raise ValueError("the first")
        go.wait(30)
        done.append(number)

    begun = staging.begin(work, range(1000))
    threading.Timer(0.1, go.set).start()
    with pytest.raises(ValueError, match="the first"):
        finish(begun)
    assert all(future.done() for future in begun)
    assert len(done) < 999


def test_threads_that_have_ended_leave_the_work_to_the_caller(staging):
    """The interpreter ends them when the main thread does; others may go on."""
    staging._threads.shutdown()
    done = []
    finish(staging.begin(done.append, range(3)))
    assert done == [0, 1, 2]
