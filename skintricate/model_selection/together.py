"""A backend of joblib whose tasks train their networks together."""

import contextlib

import numpy as np
from joblib import Parallel, delayed, parallel_config
from joblib.parallel import ParallelBackendBase, get_active_backend

from skintricate.backend.memory import free_host_memory
from skintricate.model_selection.picked_rows import pick_rows_once
from skintricate.training.rendezvous import Rendezvous
from skintricate.training.together import Together, run_together

# Tasks that run together at most, and the share of the free memory that their arguments, copied once, may take.
LARGEST_WAVE, SHARE_OF_MEMORY = 1024, 0.25


@contextlib.contextmanager
def train_together():
    """Train the networks of whatever uses joblib inside the block together.

    ``cross_validate``, ``cross_val_predict``, ``OneVsRestClassifier``, ``MultiOutputRegressor``, ``BaggingClassifier``
    and the like run as they always do, each of their tasks up to where a network is trained, or predicts; there they
    wait for each other, and the device works for all of them at once. Their ``n_jobs`` has no meaning then: the
    device's cores are at work anyway, and everything else runs one after the other.

    Inside joblib's backends for several machines, such as ``parallel_config(backend="dask")``, each worker gets a share
    of the tasks, and trains their networks together.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from skintricate import IntricateClassifier
    >>> from skintricate.model_selection import train_together
    >>> X, y = load_iris(return_X_y=True)
    >>> network = IntricateClassifier((16,), learning_rate=0.01, max_iter=100, n_iter_no_change=None, random_state=0)
    >>> with train_together():
    ...     scores = cross_val_score(network, X, y, cv=5)
    >>> bool(scores.mean() > 0.9)
    True
    """
    outer, n_jobs = get_active_backend()
    if isinstance(outer, TogetherBackend):
        yield
        return
    # Threads and the like are of this process; joblib's default, or one job, is nobody's wish for several processes.
    is_here = n_jobs in (None, 1) or getattr(outer, "supports_sharedmem", False)
    with parallel_config(backend=TogetherBackend(None if is_here else (outer, n_jobs)), n_jobs=-1):
        yield


class TogetherBackend(ParallelBackendBase):
    """Runs tasks in waves, whose networks are trained together.

    Parameters
    ----------
    outer : tuple of (joblib backend, int), default=None
        Another backend, to whose workers the tasks are sent in equal shares, and its number of jobs.
    together : Together, default=None
        What serves the tasks; a nested backend has that of the one outside.
    nesting_level : int, default=0
    """

    uses_threads = supports_sharedmem = True
    supports_timeout = False

    def __init__(self, outer=None, together=None, nesting_level=0):
        super().__init__(nesting_level=nesting_level)
        self._outer, self._together = outer, together or Together()
        self._waiting = []

    def effective_n_jobs(self, n_jobs):
        """Return how many tasks joblib may hand over at once."""
        return LARGEST_WAVE

    def submit(self, func, callback=None):
        """Keep a task until a result is asked for."""
        self._waiting.append(_Future(self, func, callback))
        return self._waiting[-1]

    apply_async = submit

    def retrieve_result(self, out, timeout=None):
        """Return the result of a task; if it has not run, the tasks that wait run now."""
        while not out.is_done:
            self._run_wave()
        return out.result

    def abort_everything(self, ensure_ready=True):
        """Forget the tasks that wait."""
        self._waiting.clear()

    def get_nested_backend(self):
        """Return the backend of a task's own tasks, whose networks are trained with all others."""
        return TogetherBackend(together=self._together, nesting_level=(self.nesting_level or 0) + 1), None

    def __reduce__(self):
        return TogetherBackend, (None, None, self.nesting_level)

    def _run_wave(self):
        """Run the tasks that wait, as many as there is memory for."""
        size = _wave_size(self._waiting)
        wave, self._waiting = self._waiting[:size], self._waiting[size:]
        functions = [future.function for future in wave]
        if self._outer is None:
            pick_rows_once(functions)
            results = Rendezvous(self._together.serve).run(functions)
        else:
            results = self._run_on_workers(functions)
        for future, result in zip(wave, results):
            future.result, future.is_done, future.function = result, True, None
        for future in wave:  # which hands over further tasks
            if future.callback is not None:
                future.callback(future.result)

    def _run_on_workers(self, functions):
        """Return the results of functions that the workers of the backend outside call."""
        backend, n_jobs = self._outer
        n_shares = max(1, min(backend.effective_n_jobs(n_jobs), len(functions)))
        with parallel_config(backend=backend, n_jobs=n_jobs):
            shares = Parallel()(delayed(_run_share)(functions[k::n_shares]) for k in range(n_shares))
        results = [None] * len(functions)
        for k, share in enumerate(shares):
            results[k::n_shares] = share
        return results


def _run_share(functions):
    """Return the results of functions that a worker calls together."""
    pick_rows_once(functions)
    return run_together(functions)


class _Future:
    """A task of joblib and, some time, its result."""

    def __init__(self, backend, function, callback):
        self._backend, self.function, self.callback = backend, function, callback
        self.result, self.is_done = None, False

    def get(self, timeout=None):
        """Return the result, for which joblib before 1.5 asks here."""
        return self._backend.retrieve_result(self)


def _wave_size(futures):
    """Return how many tasks may run at once: each may hold as much as the largest of its arguments."""
    largest = max(map(_bytes_of_task, futures))
    return int(max(1, min(LARGEST_WAVE, SHARE_OF_MEMORY * free_host_memory() // max(largest, 1))))


def _bytes_of_task(future):
    """Return the bytes of the largest argument of a batch of calls."""
    calls = getattr(future.function, "items", [])
    return max((_n_bytes(value) for _, args, kwargs in calls for value in (*args, *kwargs.values())), default=0)


def _n_bytes(value):
    """Return the bytes of an array, a sparse matrix or a data frame; 0 for anything else."""
    value = getattr(value, "data", value) if hasattr(value, "nnz") else value
    if hasattr(value, "memory_usage"):
        return int(np.sum(value.memory_usage()))
    return getattr(value, "nbytes", 0)
