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

from skintricate.training.cores import allowed_cores, bring_here, release

# Seconds after which a task that does not come back, and does not work, may be waiting for one that has asked; and the
# same once that has happened.
PATIENCE, LATER_PATIENCE = 10.0, 0.05
# Seconds that tasks have to end after an error, such as Ctrl-C.
ENDING_PATIENCE = 1.0
# What `warnings.catch_warnings` changes, for all threads: each task has its own.
WARNINGS_STATE = [name for name in ("filters", "showwarning", "_showwarnmsg_impl") if hasattr(warnings, name)]

_here = threading.local()
if hasattr(os, "register_at_fork"):
    # Nobody serves a child that a task has forked: it is no task.
    os.register_at_fork(after_in_child=lambda: _here.__dict__.clear())


def current():
    """Return the rendezvous whose task this thread runs, or None."""
    return getattr(_here, "rendezvous", None)


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
        # What tasks share, see shared_values.py; and numbers that they draw to share several devices.
        self.common = {} if outer is None else outer.common
        self.turns = itertools.count() if outer is None else outer.turns
        self._patience = PATIENCE
        self._lock, self._has_ended = threading.Lock(), False
        # Tasks that are to run, and the one whose turn it is.
        self._ready, self._in_turn = collections.deque(), None
        # Tasks that have asked or ended since somebody looked; the bell rings when none goes on by itself.
        self._reported, self._bell = [], queue.SimpleQueue()
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
        """Take note, in its thread, that a task has asked or ended; if it was its turn, the next one goes on."""
        if current() is not self:
            return  # in a process that the task has forked
        with self._lock:
            self._reported.append(task)
        if task.error is None and self._pass_turn(task):
            return
        with self._lock:
            if self._is_waiting:
                bring_here(self._thread)
        self._bell.put(None)

    def _pass_turn(self, task):
        """Let the next task go on, if it is still the turn of this one; say whether it is another's now."""
        with self._lock:
            if self._in_turn is not task:
                return False
            self._in_turn = follower = self._ready.popleft() if self._ready else None
        if follower is None:
            return False
        try:
            follower.go_on()
        except Exception as error:
            follower.could_not_begin(error)
            with self._lock:
                self._reported.append(follower)
        return follower.error is None

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
        """Let each task run until it asks or ends, or may wait for one that has asked."""
        self._ready.extend(ready)
        self._pass_turn(None)
        while True:
            task = self._in_turn
            self._take_back(running, asking)
            if task is None:
                return
            try:
                self._wait(self._patience)
            except queue.Empty:
                self._take_back(running, asking)
                if self._in_turn is task and self._may_be_stuck(running, asking):
                    self._patience = min(self._patience, LATER_PATIENCE)
                    self._pass_turn(task)

    def _may_be_stuck(self, running, asking):
        """Say whether some wait, for which others may wait, while none has worked since this was asked."""
        with self._lock:
            ready = set(self._ready)
        if not asking and not any(task.is_waiting for task in ready):
            return False
        return not any(task.is_busy(self._patience) for task in running - ready)

    def _wait(self, seconds):
        """Wait for the bell, or raise ``queue.Empty`` after so many seconds."""
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
            reported, self._reported = self._reported, []
        for task in reported:
            running.remove(task)
            task.join()
            if not task.has_ended:
                asking.add(task)
        for task in reported:
            if task.error is not None:
                raise task.error

    def _end(self, tasks):
        """Raise inside all tasks that have asked, one after the other, and give those that have begun time to end."""
        with self._lock:
            self._has_ended, self._in_turn = True, None
            self._ready.clear()
        begun, patience = [task for task in tasks if task.has_begun], ENDING_PATIENCE
        # Twice, since one may wait for another to end, such as for its lock.
        for task in begun + begun:
            if task.is_waiting:
                task.outcomes = _Ended()
                task.go_on()
            try:
                while not task.has_ended:
                    self._bell.get(timeout=patience)
                task.join()
            except queue.Empty:
                patience = LATER_PATIENCE


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

    @property
    def has_begun(self):
        """Whether it has a thread."""
        return self._thread is not None

    def go_on(self):
        """Let it run; it reports to the rendezvous when it asks or ends."""
        if not self.has_begun:
            self._thread = threading.Thread(target=self._context.run, args=(self._run,), daemon=True)
            bring_here()  # which the new thread inherits
            self._thread.start()
            release(self._rendezvous._cores)
        else:
            bring_here(self._thread.native_id)
            with contextlib.suppress(RuntimeError):  # it has been told, and has yet to wake
                self._told.release()

    def is_busy(self, seconds):
        """Say whether the thread has worked in the seconds since this was asked last."""
        thread = self._thread  # which another one may make or give up
        if thread is None or thread.ident is None or self.has_ended:
            return False
        try:
            worked = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        except (AttributeError, OSError):  # not on Windows and macOS
            return False
        before, self._worked = self._worked, worked
        return worked - before > seconds / 100

    def could_not_begin(self, error):
        """Take note that there is no thread for it."""
        self.error, self.has_ended, self._thread = error, True, None

    def join(self):
        """Wait for the end of the thread of a task that has ended."""
        if self.has_ended and self.has_begun:
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
        self.is_waiting = False
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
        if not self._rendezvous._has_ended:  # meanwhile
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
