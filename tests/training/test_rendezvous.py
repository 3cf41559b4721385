"""Tasks that meet."""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest

from skintricate.training import rendezvous
from skintricate.training.rendezvous import Rendezvous, current


class Waiter:
    """Serves requests by doubling them, and remembers what came together."""

    def __init__(self):
        self.served = []

    def __call__(self, requests):
        self.served.append(list(requests))
        return [2 * request for request in requests]


@pytest.fixture
def waiter():
    return Waiter()


def ask(number):
    return current().ask([number])[0]


def test_requests_are_served_together(waiter):
    def task(number):
        return lambda: ask(ask(number)) if number % 2 else ask(number)

    before = threading.active_count()
    assert Rendezvous(waiter).run([task(number) for number in range(5)]) == [0, 4, 4, 12, 8]
    assert waiter.served == [[0, 1, 2, 3, 4], [2, 6]]
    assert current() is None
    assert threading.active_count() == before


def test_one_task_runs_at_a_time_and_in_order(waiter):
    events, running = [], threading.Lock()

    def task(number):
        def run():
            for _ in range(3):
                assert running.acquire(blocking=False)
                events.append(number)
                running.release()
                ask(number)

        return run

    Rendezvous(waiter).run([task(number) for number in range(4)])
    assert events == 3 * [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Nothing forks here.")
def test_a_process_that_a_task_forks_is_no_task(waiter):
    """It would ask one that is not there, and wait for ever."""

    def task():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 3.12, that other threads are left behind
            child = os.fork()
        if child == 0:
            os._exit(0 if current() is None else 1)
        return os.waitpid(child, 0)[1], ask(3)

    assert Rendezvous(waiter).run([task, task]) == [(0, 6), (0, 6)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Nothing forks here.")
def test_a_forked_process_runs_no_other_task(waiter):
    parent, (reader, writer) = os.getpid(), os.pipe()

    def forks():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            child = os.fork()
        return child and os.waitpid(child, 0)  # the child goes on to the end of the task

    def other():
        os.write(writer, b"." if os.getpid() == parent else b"!")

    Rendezvous(waiter).run([forks, other])
    assert os.read(reader, 10) == b"."
    os.close(reader)
    os.close(writer)


def test_random_numbers_come_as_in_a_loop(waiter):
    def task():
        drawn = np.random.random()
        ask(1)
        return drawn

    np.random.seed(0)
    together = Rendezvous(waiter).run([task] * 5)
    np.random.seed(0)
    assert together == [np.random.random() for _ in range(5)]


def test_no_tasks(waiter):
    assert Rendezvous(waiter).run([]) == []
    assert waiter.served == []


def test_an_error_ends_the_others_where_they_wait(waiter):
    ended = []

    def waits():
        try:
            ask(1)
        finally:
            ended.append("waits")

    def fails():
        raise ValueError("no")

    before = threading.active_count()
    with pytest.raises(ValueError, match="no"):
        Rendezvous(waiter).run([waits, waits, fails, lambda: ended.append("never begun")])
    assert ended == ["waits", "waits"]
    assert threading.active_count() == before


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("n_begun", [0, 1, 2])
def test_a_task_for_which_there_is_no_thread_ends_the_others(waiter, monkeypatch, n_begun, asks):
    ended, begin, left = [], threading.Thread.start, iter(range(n_begun))

    def start(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        begin(thread)

    def task():
        try:
            asks and ask(1)
        finally:
            ended.append(1)

    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        Rendezvous(waiter).run([task] * 4)
    assert ended == [1] * n_begun
    assert threading.active_count() == before


def test_a_task_that_asks_while_it_is_ended(waiter):
    def stubborn():
        try:
            ask(1)
        finally:
            ask(2)

    with pytest.raises(KeyError):
        Rendezvous(waiter).run([stubborn, lambda: {}[0]])
    assert waiter.served == []


def test_an_interrupt_while_serving_ends_all():
    ended = []

    def serve(requests):
        raise KeyboardInterrupt

    def task():
        try:
            ask(1)
        except BaseException:
            ended.append(1)
            raise

    with pytest.raises(KeyboardInterrupt):
        Rendezvous(serve).run([task] * 3)
    assert ended == [1, 1, 1]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Threads have no signals here.")
@pytest.mark.parametrize("caller", [0, 25, 49])
def test_an_interrupt_while_tasks_run_ends_all_that_have_asked(waiter, caller):
    """It comes to the thread that waits for them, at any time."""
    begun, ended, before, threads = [], [], warnings.filters, threading.active_count()
    main = threading.main_thread().ident

    def task(number):
        def run():
            begun.append(number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    if number == caller:
                        signal.pthread_kill(main, signal.SIGINT)
                    ask(number)
                finally:
                    ended.append(number)

        return run

    with pytest.raises(KeyboardInterrupt):
        Rendezvous(waiter).run([task(number) for number in range(50)])
    wait_until(lambda: threading.active_count() == threads)  # the one that ran meanwhile has an end of its own
    assert warnings.filters is before
    assert sorted(ended) == sorted(begun) == list(range(len(begun)))


def wait_until(condition, seconds=10.0):
    """Wait until a condition holds, no longer than so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_task_that_fails_after_others_have_gone_on(waiter, monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.05)
    others, ended = threading.Event(), []

    def late():
        others.wait(5)
        raise ValueError("late")

    def task():
        try:
            return ask(1)
        finally:
            ended.append(1)

    def last():
        others.set()
        task()

    with pytest.raises(ValueError, match="late"):
        Rendezvous(waiter).run([task, late, task, task, last])
    assert ended == [1] * 4


def test_a_lock_held_while_waiting_stops_nobody_for_ever(waiter, monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", 1.0)
    lock = threading.Lock()

    def task():
        with lock:
            return ask(1)

    started = time.perf_counter()
    assert Rendezvous(waiter).run([task] * 8) == [2] * 8
    assert sum(map(len, waiter.served)) == 8
    assert time.perf_counter() - started < 5


def test_a_lock_of_one_that_has_been_served_stops_nobody_for_ever(waiter, monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.2)
    lock = threading.Lock()

    def first():
        ask(1)
        with lock:
            return ask(2)

    def second():
        with lock:
            return ask(3)

    assert Rendezvous(waiter).run([first, second]) == [4, 6]


def test_tasks_have_time_to_end_also_after_an_overtaking(waiter, monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.1)
    ended, lock, threads = [], threading.Lock(), threading.active_count()

    def slow_to_end():
        try:
            with lock:
                ask(1)
            ask(1)
        finally:
            time.sleep(0.2)
            ended.append(1)

    def fails():
        ask(1)
        ask(1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Rendezvous(waiter).run([slow_to_end, slow_to_end, fails])
    assert ended == [1, 1]
    assert threading.active_count() == threads


def test_an_end_that_wants_the_lock_of_another_task(waiter, monkeypatch):
    monkeypatch.setattr(rendezvous, "ENDING_PATIENCE", 0.1)
    lock, threads = threading.Lock(), threading.active_count()

    def holds():
        with lock:
            ask(1)

    def wants():
        try:
            ask(1)
        finally:
            with lock:
                pass

    with pytest.raises(KeyError):
        Rendezvous(waiter).run([wants, holds, lambda: {}[0]])
    assert threading.active_count() == threads


def test_tasks_that_have_worked_before_do_not_look_busy(waiter, monkeypatch):
    """Those whose turn has not come are not asked."""
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.2)
    lock = threading.Lock()

    def task():
        end = time.process_time() + 0.004
        while time.process_time() < end:
            pass
        ask(1)
        with lock:
            return ask(2)

    started = time.perf_counter()
    assert Rendezvous(waiter).run([task] * 20) == [4] * 20
    assert time.perf_counter() - started < 10


def test_a_slow_task_is_waited_for(waiter):
    def slow():
        threading.Event().wait(0.2)
        return ask(2)

    assert Rendezvous(waiter).run([lambda: ask(1), slow]) == [2, 4]
    assert waiter.served == [[1, 2]]


def test_nested_tasks_meet_all_others(waiter):
    def outer(number):
        return lambda: Rendezvous(None).run([lambda k=k: ask(10 * number + k) for k in range(2)])

    assert Rendezvous(waiter).run([outer(1), outer(2), lambda: ask(7)]) == [[20, 22], [40, 42], 14]
    assert waiter.served == [[10, 11, 20, 21, 7]]


def test_each_task_has_its_own_warning_filters(waiter):
    def quiet():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask(1)
            warnings.warn("quiet", stacklevel=1)
        ask(1)
        warnings.warn("after", stacklevel=1)

    def loud():
        ask(1)
        warnings.warn("loud", stacklevel=1)
        ask(1)

    before = warnings.filters
    with pytest.warns(UserWarning, match="loud|after") as record:
        Rendezvous(waiter).run([quiet, loud, quiet])
    assert [str(w.message) for w in record] == ["loud", "after", "after"]
    assert warnings.filters is before


def test_error_states_do_not_leak(waiter):
    def task():
        with np.errstate(divide="raise"):
            ask(1)
            return np.geterr()["divide"]

    assert Rendezvous(waiter).run([task, lambda: ask(1) and np.geterr()["divide"]]) == ["raise", "warn"]


def test_warning_filters_survive_two_threads(waiter):
    before, inside, others = warnings.filters, threading.Event(), threading.Event()

    def first():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inside.set()
            others.wait(5)

    def second():
        inside.wait(5)
        Rendezvous(waiter).run([others.set])

    thread = threading.Thread(target=second)
    thread.start()
    Rendezvous(waiter).run([first])
    thread.join()
    assert warnings.filters is before


def test_a_busy_task_is_not_overtaken(waiter, monkeypatch):
    monkeypatch.setattr(rendezvous, "PATIENCE", 0.05)

    def busy():
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
        return ask(2)

    assert Rendezvous(waiter).run([lambda: ask(1), busy, busy]) == [2, 4, 4]
    if hasattr(time, "pthread_getcpuclockid"):
        assert waiter.served == [[1, 2, 2]]
