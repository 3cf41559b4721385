"""Prediction: the forward pass over any number of rows, in slices of bounded memory."""

import functools
import math
import queue
import threading

import numpy as np

from skintricate.backend.launch import device_errors
from skintricate.backend.staging import finish
from skintricate.training.arena import Arena
from skintricate.training.contents import prediction_runs
from skintricate.training.data import dense_rows, row_buffer, write_tail
from skintricate.training.lowering import Lowering
from skintricate.training.sparse import Entries, n_integers, takes_entries
from skintricate.training.vocabulary import program_for

SMALL_BATCH = 16
# Bytes of a slice with its activations: what a CPU's caches hold; on a GPU enough that a copy is worth its wait.
SLICE_BYTES = 8 * 2**20
SLICE_BYTES_STAGED = 128 * 2**20


def slice_rows(n, most):
    """Return how many of ``n`` rows to take at once: a power of two, so that few passes are ever made."""
    return max(SMALL_BATCH, min(2 ** (n - 1).bit_length(), most))


def most_rows(device, program, plan, n_features):
    """Return the rows of the largest slice of a prediction, a power of two; ``plan`` is that of a few."""
    itemsize = program.itemsize
    row_bytes = (program.tile.x_columns(n_features) + plan.workspace_size // SMALL_BATCH + 1) * itemsize
    budget = device.budget
    budget.require_buffer(row_bytes * SMALL_BATCH, f"Predicting {SMALL_BATCH} rows", "Use a smaller network.")
    staging = device.staging
    n_bytes, passes = (SLICE_BYTES, 1) if staging is None else (SLICE_BYTES_STAGED, staging.n_threads)
    packed = program.tile.packed_weights(plan.weights) * itemsize
    rows = min(max(n_bytes, 256 * row_bytes), budget.largest // (2 * passes) - packed) // row_bytes
    return 2 ** (max(int(rows), SMALL_BATCH).bit_length() - 1)


class Forward:
    """The forward pass of a network on a device; several threads may use it.

    Parameters
    ----------
    device : Device
    dtype : {"float32", "float64"}
    network : list of Layer
    n_features : int
    state : NetworkState
        Its weights are copied to the device.
    parameters : pyopencl.Buffer, default=None
        Weights already on the device, used instead of the state's; they may change between predictions.
    precision : {"highest", "high", "medium"}, default="highest"
    """

    def __init__(self, device, dtype, network, n_features, state=None, parameters=None, precision="highest"):
        self.device, self.dtype = device, np.dtype(dtype)
        self._network, self.n_features = network, n_features
        self._precision, self._programs = precision, {}
        self._lock = threading.Lock()
        self._passes = {}
        self._parameters = parameters
        if parameters is None:
            self._write(state)

    def _write(self, state):
        """Copy the weights to the device."""
        with device_errors(self.device):
            plan = self._lower(SMALL_BATCH)
            flat = state.pack(plan, self._program().tile.layout, 0, self.dtype)
            # Not queued: other threads may predict on queues of their own at once.
            self._parameters = self.device.buffer_of(flat if flat.size else np.zeros(4, self.dtype))

    def predict(self, X):
        """Return the outputs of the last layer.

        Parameters
        ----------
        X : ndarray or CSR matrix of shape (N, I)

        Returns
        -------
        outputs : ndarray of shape (N, O)
        """
        return self._run(X, lambda plan: [plan.output])[0]

    def outputs(self, X):
        """Return the outputs of every layer, a list of arrays of shape ``(N, *shape)``."""
        return self._run(X, lambda plan: plan.tensors, fused=False)

    def _run(self, X, chosen, fused=True):
        """Return the chosen tensors for all rows of X."""
        with self._lock, device_errors(self.device):
            # Whatever the density, so that a row's outputs do not depend on the rows beside it.
            n, is_sparse = X.shape[0], takes_entries(self._network, X)
            capacity = slice_rows(n, self._most_rows)
            most_entries = _most_entries(X, capacity) if is_sparse else None
            slices = [slice(begin, begin + capacity) for begin in range(0, n, capacity)]
            staging = self.device.staging if len(slices) > 1 else None
            n_passes = 1 if staging is None else min(staging.n_threads, len(slices))
            passes = [self._pass(capacity, fused, most_entries, number) for number in range(n_passes)]
            results = [np.empty((n, *tensor.shape), self.dtype) for tensor in chosen(passes[0].plan)]
            idle = queue.SimpleQueue()
            for one in passes:
                idle.put(one)

            def predict(rows):
                one = idle.get()
                try:
                    for result, part in zip(results, one.run(X, rows, chosen, staging)):
                        result[rows] = part
                finally:
                    idle.put(one)

            try:
                if staging is None:
                    for rows in slices:
                        predict(rows)
                else:
                    finish(staging.begin(predict, slices))
            except BaseException:
                # They may be under way, and another thread would use them on a queue of its own.
                self._passes = {key: one for key, one in self._passes.items() if one not in passes}
                raise
            return results

    def _pass(self, capacity, fused, most_entries, number):
        """Return a pass for slices of so many rows, made on first use; passes of different numbers run at once."""
        key = capacity, fused, most_entries, number
        if key not in self._passes:
            is_sparse = most_entries is not None
            if is_sparse:  # sizes come and go with the data
                self._passes = {k: one for k, one in self._passes.items() if k[2] in (None, most_entries)}
            plan = self._lower(capacity, fused, is_sparse)
            self._passes[key] = _Pass(self.device, self._program(is_sparse), plan, self, most_entries)
            self.device.finish()  # its buffers are filled; other threads have queues of their own
        return self._passes[key]

    @functools.cached_property
    def _most_rows(self):
        """The rows of the largest slice."""
        return most_rows(self.device, self._program(), self._lower(SMALL_BATCH), self.n_features)

    def _program(self, is_sparse=False):
        """Return the program that reads X as dense rows, or as a sparse matrix."""
        if is_sparse not in self._programs:
            self._programs[is_sparse] = program_for(
                self.device, self.dtype, self._network, precision=self._precision, is_sparse=is_sparse
            )
        return self._programs[is_sparse]

    def _lower(self, batch_size, fused=True, is_sparse=False):
        """Return the plan of the forward pass alone."""
        program = self._program(is_sparse)
        return Lowering(self._network, self.n_features, batch_size, program, fused=fused, is_sparse=is_sparse).run()


def _most_entries(X, capacity):
    """Return the entries of the largest slice of so many rows of a sparse matrix, rounded up to a power of two."""
    ends = X.indptr[np.minimum(np.arange(0, X.shape[0] + capacity, capacity), X.shape[0])]
    return 2 ** (int(np.diff(ends).max(initial=1)) - 1).bit_length()


class _Pass:
    """The forward pass over slices of a fixed capacity, of rows or of a sparse matrix's entries too."""

    def __init__(self, device, program, plan, forward, most_entries=None):
        self.capacity, self._is_sparse = plan.batch_size, most_entries is not None
        self._device, self.plan, self._layout = device, plan, program.tile.layout
        self._dtype = forward.dtype
        if self._is_sparse:
            self._X = device.buffer(max(most_entries, 1) * self._dtype.itemsize)
            data = {"X": self._X, "order": device.buffer(4 * n_integers(self.capacity, most_entries))}
        else:
            self._x_columns = program.tile.x_columns(forward.n_features)
            self._X = row_buffer(device, self.capacity, self._x_columns, self._dtype)
            data = {"X": self._X}
        self._buffers = data
        self._arena = Arena(device, program, plan, self._dtype, data, forward._parameters)
        self._launchers = self._arena.step_launchers()
        self._rows = None

    def run(self, X, rows, chosen, staging=None):
        """Return the chosen tensors for a slice of X; staging lends the calling thread pinned memory on the way."""
        if self._is_sparse:
            X = Entries([X[rows]], self._dtype)
        else:
            X = dense_rows(X, rows, self._dtype, self._x_columns, np.empty if staging is None else staging.array)
        n_rows = X.n_rows if self._is_sparse else len(X)
        self._start(X, n_rows, staging is not None)
        return (self._read(tensor, X, n_rows, staging) for tensor in chosen(self.plan))

    def _start(self, X, n_rows, is_pinned):
        """Queue the pass over up to ``capacity`` rows, which must not change before they are read."""
        device = self._device
        if n_rows != self._rows:
            fields = X.fields(0) if self._is_sparse else {}
            self._arena.write_runs(prediction_runs(self.plan, n_rows, **fields))
            self._rows = n_rows
        if self._is_sparse:
            for name, array in (("X", X.values), ("order", X.table)):
                if array.size:
                    device.write(self._buffers[name], array)
        else:
            if X.size:
                device.write(self._X, X, is_pinned=is_pinned)
            write_tail(device, self._X, X.nbytes, X.dtype)
        for launch in self._launchers:
            launch(device.queue, 0)

    def _read(self, tensor, X, n_rows, staging):
        """Wait, and return a tensor's values for the rows of this slice, which hold until the next are read."""
        if tensor.offset < 0:
            return X[:, : math.prod(tensor.shape)].reshape(n_rows, *tensor.shape)
        size, place = tensor.size(self._layout, self.capacity), tensor.offset * self._dtype.itemsize
        if staging is None:
            flat = self._device.read(np.empty(size, self._dtype), self._arena.workspace, place)
        else:
            flat = staging.array((size,), self._dtype, "results")
            self._device.read(flat, self._arena.workspace, place, idly=True)
        return tensor.unpacked(flat, self._layout, n_rows, self.capacity)
