"""Tasks that meet: what several of them ask for is done at once.

Each task has a thread, and one runs at a time: until it asks for something, or ends. When all of them have, what they
asked for is served together, and they go on in their order. So a task is like a coroutine, but may be any code.
"""

import contextlib
import contextvars
import itertools
import os
import queue
import threading
import time
import warnings
import weakref

import numpy as np

from skintricate.training.cores import allowed_cores, bring_here, release

# Seconds after which a task that does not come back, and does not work, may be waiting for one that has asked; and the
# same once that has happened.
PATIENCE, LATER_PATIENCE = 10.0, 0.05
# Values that `kept` keeps.
MOST_KEPT = 16
# What `warnings.catch_warnings` changes, for all threads: each task has its own.
WARNINGS_STATE = [name for name in ("filters", "showwarning", "_showwarnmsg_impl") if hasattr(warnings, name)]

_here, _kept_lock = threading.local(), threading.Lock()
if hasattr(os, "register_at_fork"):
    # Nobody serves a child that a task has forked: it is no task.
    os.register_at_fork(after_in_child=lambda: _here.__dict__.clear())


def current():
    """Return the rendezvous whose task this thread runs, or None."""
    return getattr(_here, "rendezvous", None)


def shared(array):
    """Return an equal array that another task has, or where there is none the array itself."""
    rendezvous = current()
    return array if rendezvous is None else rendezvous.arrays.shared(array)


def kept(key, make):
    """Return, in a task, what ``make()`` made for this key, here or in another task if it is one of the last."""
    values = current().kept
    with _kept_lock:
        if key in values:
            return values[key]
    value = make()
    with _kept_lock:
        values[key] = value
        if len(values) > MOST_KEPT:
            del values[next(iter(values))]
    return value


class Rendezvous:
    """Runs tasks, and serves together what they ask for.

    Parameters
    ----------
    serve : callable
        Takes a list of requests and returns a list of outcomes; exceptions are outcomes too. Inside a task of another
        rendezvous, it is that one that serves.
    """

    def __init__(self, serve):
        outer = current()
        self._serve = serve if outer is None else outer.ask
        self.arrays = EqualArrays() if outer is None else outer.arrays
        # Numbers that tasks draw to share several devices.
        self.turns = itertools.count() if outer is None else outer.turns
        self.kept = {} if outer is None else outer.kept
        self._patience = PATIENCE
        self._returned, self._lock, self._has_ended = queue.SimpleQueue(), threading.Lock(), False
        self._thread, self._cores, self._is_waiting = 0, None, False

    def run(self, functions):
        """Call functions without arguments and return the list of their results.

        The first exception of a function ends the others, inside what they asked for, and is raised.
        """
        tasks = [_Task(self, function) for function in functions]
        self._thread, self._cores = threading.get_native_id(), allowed_cores()
        with _warnings_kept() as self._outside:
            try:
                self._run(tasks)
            except BaseException:
                self._end(tasks)
                raise
            finally:
                release(self._cores)
        return [task.result for task in tasks]

    def ask(self, requests):
        """Wait, in a task, until these requests are served; return the list of outcomes."""
        return _here.task.ask(requests)

    def report(self, task):
        """Let the rendezvous go on, since this task, in whose thread this is called, has asked or ended."""
        with self._lock:
            # Who does not wait for it, such as for one that comes too late, stays where it is.
            if self._is_waiting:
                bring_here(self._thread)
        self._returned.put(task)

    def _run(self, tasks):
        """Let tasks run and serve them until all have ended."""
        ready, asking, running = list(tasks), [], set()
        while ready or asking or running:
            for task in ready:
                task.go_on()
                running.add(task)
                self._wait(task, running, asking)
            if running and not asking:
                self._wait(None, running, asking)
            ready = sorted(asking, key=tasks.index)
            asking.clear()
            if not ready:
                continue
            outcomes = self._serve([request for task in ready for request in task.requests])
            for task in ready:
                task.outcomes, outcomes = outcomes[: len(task.requests)], outcomes[len(task.requests) :]

    def _wait(self, awaited, running, asking):
        """Wait until this task, or any, asks or ends; no longer than it is busy where others have asked."""
        while True:
            try:
                task = self._next(self._patience if asking else None)
            except queue.Empty:
                if any(task.is_busy(self._patience) for task in running):
                    continue
                self._patience = min(self._patience, LATER_PATIENCE)
                return
            running.remove(task)
            task.join()
            if task.error is not None:
                raise task.error
            if not task.has_ended:
                asking.append(task)
            if task is awaited or awaited is None:
                return

    def _next(self, seconds):
        """Return the next task that reports, or raise ``queue.Empty`` after so many seconds."""
        try:
            self._is_waiting = True
            return self._returned.get(timeout=seconds)
        finally:
            with self._lock:
                self._is_waiting = False
            release(self._cores)

    def _end(self, tasks):
        """Raise inside all tasks that have asked, one after the other, until they have ended."""
        with self._lock:
            self._has_ended = True
        for task in tasks:
            while task.is_waiting:
                task.outcomes = _Ended()
                task.go_on()
                while self._returned.get() is not task:
                    pass  # one that was waited for too long, and has ended
                task.join()


class _Ended(BaseException):
    """Raised where a task waits, when another has failed."""


class _Task:
    """A function in a thread that runs only when it is told to."""

    def __init__(self, rendezvous, function):
        self._rendezvous, self._function = rendezvous, function
        self._context = contextvars.copy_context()
        self._told = threading.Semaphore(0)
        self._warnings, self._thread = _warnings_state(), None
        self.result = self.error = self.requests = self.outcomes = None
        self.has_ended = self.is_waiting = False
        self._worked = 0.0

    def go_on(self):
        """Let it run; it reports to the rendezvous when it asks or ends."""
        self.is_waiting = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._context.run, args=(self._run,), daemon=True)
            bring_here()  # which the new thread inherits
            self._thread.start()
            release(self._rendezvous._cores)
        else:
            bring_here(self._thread.native_id)
            self._told.release()

    def is_busy(self, seconds):
        """Say whether the thread has worked in the seconds since this was asked last."""
        try:
            worked = time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))
        except (AttributeError, OSError):  # not on Windows and macOS
            return False
        before, self._worked = self._worked, worked
        return worked - before > seconds / 100

    def join(self):
        """Wait for the end of the thread of a task that has ended."""
        if self.has_ended:
            self._thread.join()

    def ask(self, requests):
        """Wait until the requests are served."""
        with self._rendezvous._lock:
            if self._rendezvous._has_ended:
                raise _Ended
            self.requests, self.is_waiting = requests, True
        self._warnings, cores = _warnings_state(), allowed_cores()
        _set_warnings_state(self._rendezvous._outside)
        self._rendezvous.report(self)
        self._told.acquire()
        release(cores)
        _set_warnings_state(self._warnings)
        outcomes, self.outcomes, self.requests = self.outcomes, None, None
        if isinstance(outcomes, _Ended):
            raise outcomes
        return outcomes

    def _run(self):
        """Call the function, in the task's thread."""
        release(self._rendezvous._cores)
        _here.rendezvous, _here.task = self._rendezvous, self
        _set_warnings_state(self._warnings)
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error
        self.has_ended = True
        if not self._rendezvous._has_ended:
            _set_warnings_state(self._rendezvous._outside)
        self._function = self._context = None
        self._rendezvous.report(self)


class EqualArrays:
    """Arrays that are alive; of equal ones the first."""

    def __init__(self):
        self._known = {}

    def shared(self, array):
        """Return the first array that is equal to this one and alive."""
        if type(array) is not np.ndarray or array.ndim == 0 or array.size == 0 or array.dtype.hasobject:
            return array
        key = array.shape, array.dtype.str, array[0].tobytes(), array[-1].tobytes()
        alive = [known for reference in self._known.get(key, []) if (known := reference()) is not None]
        for known in alive:
            if known is array or np.array_equal(known, array):
                return known
        self._known[key] = [weakref.ref(known) for known in (*alive, array)]
        return array


def _warnings_state():
    """Return what says how warnings are treated now."""
    return {name: getattr(warnings, name) for name in WARNINGS_STATE}


def _set_warnings_state(state):
    """Treat warnings as they were treated."""
    for name, value in state.items():
        setattr(warnings, name, value)
    # Lets the module forget which warnings it has shown under other filters.
    with warnings.catch_warnings():
        pass


# How warnings are treated outside of tasks, once for each rendezvous at work: the last to end restores it.
_baseline, _baseline_lock = [], threading.Lock()


@contextlib.contextmanager
def _warnings_kept():
    """Treat warnings after the block as before it, also where other threads have a rendezvous meanwhile.

    Yields how they are treated outside of its tasks.
    """
    state = _warnings_state()
    if current() is not None:
        yield state
        return
    with _baseline_lock:
        _baseline.append(_baseline[0] if _baseline else state)
        state = _baseline[0]
    try:
        yield state
    finally:
        with _baseline_lock:
            state = _baseline.pop()
            if not _baseline:
                _set_warnings_state(state)
