"""Tasks that meet: what several of them ask for is done at once.

Each task has a thread, and one runs at a time: until it asks for something, or ends. When all of them have, what they
asked for is served together, and they go on in their order. So a task is like a coroutine, but may be any code. One
that asks lets the next go on by itself: waking in between who serves them takes longer than what many of them do.
"""

import collections
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


def of_array(array, key, make):
    """Return what ``make()`` finds out about an array; tasks do it once for one that nobody may write into."""
    rendezvous = current()
    is_fixed = type(array) is np.ndarray and not (array.flags.writeable or array.dtype.hasobject)
    if rendezvous is None or not is_fixed or array.base is not None:
        return make()
    return rendezvous.arrays.value(array, key, make)


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
        # Tasks that are to run, the one that does, and those that have reported; who runs them waits for the bell.
        self._ready, self._running_now, self._back, self._bell = collections.deque(), None, [], queue.SimpleQueue()
        self._lock, self._has_ended = threading.Lock(), False
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
        """Take note, in its thread, that a task has asked or ended; the next one goes on from here."""
        with self._lock:
            self._back.append(task)
            follower = None
            if task is self._running_now:
                follower = self._next() if task.error is None else None
            # Who does not wait, or not for this one, stays where it is.
            if follower is None and self._is_waiting:
                bring_here(self._thread)
        if follower is None:
            self._bell.put(None)
            return
        try:
            follower.go_on()
        except BaseException as error:
            follower.could_not_begin(error)
            self.report(follower)

    def _next(self):
        """Return the next task of those that are ready, from now on the one that runs, or None."""
        self._running_now = follower = self._ready.popleft() if self._ready else None
        if follower is not None:
            follower.is_waiting = False
        return follower

    def _run(self, tasks):
        """Let tasks run and serve them until all have ended."""
        ready, asking, running = list(tasks), set(), set()
        while ready or running:
            running.update(ready)
            self._run_in_turn(ready, running, asking)
            while running and not asking:
                self._wait(None)
                self._take_back(running, asking)
            ready = [task for task in tasks if task in asking]
            asking.clear()
            outcomes = self._serve([request for task in ready for request in task.requests]) if ready else []
            for task in ready:
                task.outcomes, outcomes = outcomes[: len(task.requests)], outcomes[len(task.requests) :]

    def _run_in_turn(self, ready, running, asking):
        """Let each task that is ready run until it asks or ends; no longer than it is busy where others have asked."""
        self._ready.extend(ready)
        self._let_next_run(None)
        while True:
            task = self._running_now
            self._take_back(running, asking)
            if task is None:
                return
            try:
                self._wait(self._patience)
            except queue.Empty:
                self._take_back(running, asking)
                is_busy = any(each.is_busy(self._patience) for each in running)
                if asking and not is_busy and self._let_next_run(task):
                    self._patience = min(self._patience, LATER_PATIENCE)

    def _let_next_run(self, running_now):
        """Let the next task that is ready, if any, run after this one has begun to; say whether it is still at it."""
        with self._lock:
            if self._running_now is not running_now:
                return False
            follower = self._next()
        if follower is not None:
            follower.go_on()
        return True

    def _wait(self, seconds):
        """Wait until a task reports that none follows, or raise ``queue.Empty`` after so many seconds."""
        try:
            self._is_waiting = True
            self._bell.get(timeout=seconds)
        finally:
            with self._lock:
                self._is_waiting = False
            release(self._cores)

    def _take_back(self, running, asking):
        """Move the tasks that have reported from those that run to those that ask; raise the error of one."""
        with self._lock:
            back, self._back = self._back, []
        for task in back:
            running.remove(task)
            task.join()
            if not task.has_ended:
                asking.add(task)
        for task in back:
            if task.error is not None:
                raise task.error

    def _end(self, tasks):
        """Raise inside all tasks that have asked, one after the other, until they have ended."""
        with self._lock:
            self._has_ended, self._running_now = True, None
            self._ready.clear()
        for task in tasks:
            while task.is_waiting:
                task.outcomes, task.is_waiting = _Ended(), False
                task.go_on()
                while task not in self._back:
                    self._bell.get()
                self._back.remove(task)
                task.join()


class _Ended(BaseException):
    """Raised where a task waits, when another has failed."""


class _Task:
    """A function in a thread that runs only when it is told to."""

    def __init__(self, rendezvous, function):
        self._rendezvous, self._function = rendezvous, function
        self._context = contextvars.copy_context()
        self._told = threading.Lock()
        self._told.acquire()
        self._warnings, self._thread = _warnings_state(), None
        self.result = self.error = self.requests = self.outcomes = None
        self.has_ended = self.is_waiting = False
        self._worked = 0.0

    def go_on(self):
        """Let it run; it reports to the rendezvous when it asks or ends."""
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

    def could_not_begin(self, error):
        """Take note that there is no thread for it."""
        self.error, self.has_ended, self._thread = error, True, None

    def join(self):
        """Wait for the end of the thread of a task that has ended."""
        if self.has_ended and self._thread is not None:
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
    """Arrays that are alive, of equal ones the first; and what is known of arrays that do not change."""

    def __init__(self):
        self._known, self._first, self._values = {}, {}, {}

    def shared(self, array):
        """Return the first array that is equal to this one and alive."""
        if id(array) in self._first and self._first[id(array)]() is array:
            return array
        if type(array) is not np.ndarray or array.ndim == 0 or array.size == 0 or array.dtype.hasobject:
            return array
        key = array.shape, array.dtype.str, array[0].tobytes(), array[-1].tobytes()
        alive = [known for reference in self._known.get(key, []) if (known := reference()) is not None]
        for known in alive:
            if known is array or np.array_equal(known, array):
                return known
        self._known[key] = [weakref.ref(known) for known in (*alive, array)]
        self._first[id(array)] = self._known[key][-1]
        return array

    def value(self, array, key, make):
        """Return what ``make()`` found out about an array and a key, when it was asked first."""
        reference, value = self._values.get((id(array), key), (None, None))
        if reference is None or reference() is not array:
            value = make()
            self._values[id(array), key] = weakref.ref(array), value
        return value


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
