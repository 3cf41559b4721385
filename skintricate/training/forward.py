"""Prediction: the forward pass over any number of rows, in slices of bounded memory."""

import functools
import math
import threading

import numpy as np

from skintricate.backend.launch import device_errors
from skintricate.training.arena import Arena
from skintricate.training.contents import prediction_runs
from skintricate.training.data import dense_rows, row_buffer, write_rows
from skintricate.training.lowering import Lowering
from skintricate.training.sparse import Entries, n_integers, takes_entries
from skintricate.training.vocabulary import program_for

SMALL_BATCH = 16
# Bytes of a slice with its activations: what a CPU's caches hold; on a GPU enough that a copy is worth its wait.
SLICE_BYTES = 8 * 2**20
SLICE_BYTES_OVERLAPPED = 128 * 2**20


def slice_rows(n, most):
    """Return how many of ``n`` rows to take at once: a power of two, so that few passes are ever made."""
    return max(SMALL_BATCH, min(2 ** (n - 1).bit_length(), most))


def most_rows(device, program, plan, n_features):
    """Return the rows of the largest slice of a prediction, a power of two; ``plan`` is that of a few."""
    itemsize = program.itemsize
    row_bytes = (program.tile.x_columns(n_features) + plan.workspace_size // SMALL_BATCH + 1) * itemsize
    budget = device.budget
    budget.require_buffer(row_bytes * SMALL_BATCH, f"Predicting {SMALL_BATCH} rows", "Use a smaller network.")
    n_bytes, passes = (SLICE_BYTES_OVERLAPPED, 2) if overlaps(device) else (SLICE_BYTES, 1)
    rows = min(max(n_bytes, 256 * row_bytes), budget.largest // (2 * passes)) // row_bytes
    return 2 ** (int(rows).bit_length() - 1)


def overlaps(device):
    """Say whether a slice's rows go to the device while it works on those before; a CPU has them already."""
    return not device.is_cpu


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
            n, begun, is_sparse = X.shape[0], [], takes_entries(self._network, X)
            capacity = slice_rows(n, self._most_rows)
            most_entries = _most_entries(X, capacity) if is_sparse else None
            passes = [self._pass(capacity, fused, most_entries, is_second=False)]
            if overlaps(self.device) and n > capacity:
                passes.append(self._pass(capacity, fused, most_entries, is_second=True))
            results = [np.empty((n, *tensor.shape), self.dtype) for tensor in chosen(passes[0].plan)]
            try:
                for number, begin in enumerate(range(0, n, capacity)):
                    one = passes[number % len(passes)]
                    rows = one.take(X, slice(begin, begin + capacity))
                    one.start(rows)
                    begun.append((one, begin, rows))
                    if len(begun) == len(passes):
                        _finish(*begun.pop(0), chosen, results)
                for slice_ in begun:
                    _finish(*slice_, chosen, results)
            except BaseException:
                # They may be under way, and another thread would use them on queues of its own.
                self._passes = {key: one for key, one in self._passes.items() if one not in passes}
                raise
            return results

    def _pass(self, capacity, fused, most_entries, is_second):
        """Return a pass for slices of so many rows, made on first use; a second one has a queue of its own."""
        key = capacity, fused, most_entries, is_second
        if key not in self._passes:
            cls = _SecondPass if is_second else _Pass
            is_sparse = most_entries is not None
            if is_sparse:  # sizes come and go with the data
                self._passes = {k: one for k, one in self._passes.items() if k[2] in (None, most_entries)}
            plan = self._lower(capacity, fused, is_sparse)
            self._passes[key] = cls(self.device, self._program(is_sparse), plan, self, most_entries)
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

    def take(self, X, rows):
        """Return a slice of X as the device takes it."""
        if self._is_sparse:
            return Entries([X[rows]], self._dtype)
        return dense_rows(X, rows, self._dtype, self._x_columns)

    def start(self, X):
        """Queue the pass over up to ``capacity`` rows that ``take`` gave, which must not change before ``read``."""
        device, rows = self._device, X.n_rows if self._is_sparse else len(X)
        if rows != self._rows:
            fields = X.fields(0) if self._is_sparse else {}
            self._arena.write_runs(prediction_runs(self.plan, rows, **fields))
            self._rows = rows
        if self._is_sparse:
            for name, array in (("X", X.values), ("order", X.table)):
                if array.size:
                    device.write(self._buffers[name], array)
        else:
            write_rows(device, self._X, X)
        for launch in self._launchers:
            launch(device.queue, 0)

    def read(self, X, chosen):
        """Wait, and return the chosen tensors for these rows."""
        return [self._read(tensor, X) for tensor in chosen(self.plan)]

    def _read(self, tensor, X):
        """Return a tensor's values for the rows of this slice."""
        n_rows = X.n_rows if self._is_sparse else len(X)
        if tensor.offset < 0:
            return X[:, : math.prod(tensor.shape)].reshape(len(X), *tensor.shape)
        flat = np.empty(tensor.size(self._layout, self.capacity), self._dtype)
        self._device.read(flat, self._arena.workspace, offset=tensor.offset * self._dtype.itemsize)
        return tensor.unpacked(flat, self._layout, n_rows, self.capacity)


class _SecondPass(_Pass):
    """A pass that goes on beside another."""

    def __init__(self, device, *arguments):
        with device.second_queue():
            super().__init__(device, *arguments)

    def start(self, X):
        with self._device.second_queue():
            super().start(X)

    def read(self, X, chosen):
        with self._device.second_queue():
            return super().read(X, chosen)


def _finish(one, begin, rows, chosen, results):
    """Wait for a slice that a pass has begun, and put the chosen tensors into the results."""
    for result, part in zip(results, one.read(rows, chosen)):
        result[begin : begin + len(part)] = part
