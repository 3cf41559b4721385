"""Threads that take turns on one core, and may use all cores while they run."""

import os
import threading
import time

import pytest

from skintricate.training import rendezvous
from skintricate.training.cores import allowed_cores, bring_here, release
from skintricate.training.rendezvous import Rendezvous, current

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="Not on Linux, or one core."
)


@pytest.fixture
def cores():
    """Return the cores of this thread, which it has after the test again."""
    before = os.sched_getaffinity(0)
    yield before
    os.sched_setaffinity(0, before)


def test_who_sleeps_is_brought_to_one_core_and_released(cores):
    told, masks = threading.Semaphore(0), []

    def sleep():
        told.acquire()
        masks.append(allowed_cores())
        release(cores)
        masks.append(allowed_cores())

    thread = threading.Thread(target=sleep)
    thread.start()
    bring_here(thread.native_id)
    told.release()
    thread.join()
    assert len(masks[0]) == 1
    assert masks[1] == cores == allowed_cores()


def test_a_thread_that_has_ended_is_no_error(cores):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    bring_here(thread.native_id)
    assert allowed_cores() == cores


@pytest.mark.parametrize("fails", [False, True])
def test_tasks_and_whoever_serves_them_may_use_all_cores(fails, cores):
    """Or threads that they begin, such as those of a library for linear algebra, would share one for ever."""
    masks = []

    def note():
        masks.append(allowed_cores())

    def task():
        note()
        current().ask([1])
        note()
        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
        if fails:
            raise KeyError

    def serve(requests):
        note()
        return requests

    try:
        Rendezvous(serve).run([task] * 3)
    except KeyError:
        assert fails
    note()
    assert len(masks) == (7 if fails else 11)
    assert all(mask == cores for mask in masks)


@pytest.fixture
def impatience(monkeypatch):
    """Let tasks be overtaken by others at once."""
    for name in ("PATIENCE", "LATER_PATIENCE"):
        monkeypatch.setattr(rendezvous, name, 0.05)


def test_a_task_that_comes_while_others_are_served_narrows_nobody(impatience, cores):
    comes, masks = threading.Event(), []

    def late():
        comes.wait()
        return current().ask([2])

    def serve(requests):
        if requests == [1]:
            comes.set()
            time.sleep(0.2)  # it asks meanwhile
        masks.append(allowed_cores())
        return requests

    assert Rendezvous(serve).run([lambda: current().ask([1]), late]) == [[1], [2]]
    assert masks == [cores, cores]


def test_a_task_that_comes_after_the_end_narrows_nobody(impatience, cores):
    may_come, threads = threading.Event(), []

    def late():
        threads.append(threading.current_thread())
        may_come.wait()
        current().ask([2])

    def fails():
        raise KeyError

    with pytest.raises(KeyError):
        Rendezvous(lambda requests: requests).run([lambda: current().ask([1]), late, fails])
    assert allowed_cores() == cores
    may_come.set()
    threads[0].join()
    assert allowed_cores() == cores


def test_cores_that_a_task_chooses_stay_its_own(cores):
    chosen = {min(cores)}

    def task():
        os.sched_setaffinity(0, chosen)
        current().ask([1])
        return allowed_cores()

    assert Rendezvous(lambda requests: requests).run([task, allowed_cores]) == [chosen, cores]
