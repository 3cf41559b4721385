"""What running epochs of a network on a device has in common, wherever the data is."""

import time

import numpy as np

from skintricate.kernels.stage import STOPS
from skintricate.training.arena import Arena
from skintricate.training.contents import Contents
from skintricate.training.data import begin_rows, row_buffer
from skintricate.training.interrupts import Interrupts

# Steps whose scalars and losses are kept on the device at once.
LARGEST_RUN = 16384
# Why a run ended before its epochs were done.
NO_IMPROVEMENT, NOT_FINITE, HALTED = (STOPS[name] for name in ("no_improvement", "not_finite", "halted"))
INTERRUPTED = 3


class Improvement:
    """Decides on the host, as a device does otherwise, whether training goes on after an epoch.

    Parameters
    ----------
    options : FitOptions
    """

    def __init__(self, options):
        self._tolerance, self._best_loss, self._epochs_without = options.tol, np.inf, 0
        self._patience = 0 if options.early_stopping else options.patience

    def judge(self, loss):
        """Return why training stops after an epoch of this loss, or 0."""
        if not np.isfinite(loss):
            return NOT_FINITE
        self._epochs_without = 0 if loss <= self._best_loss - self._tolerance else self._epochs_without + 1
        self._best_loss = min(loss, self._best_loss)
        return NO_IMPROVEMENT if 0 < self._patience < self._epochs_without else 0


class Trainer:
    """What both trainers share: the arena, the parameters, and reading results.

    Parameters
    ----------
    device : Device
    dtype : {"float32", "float64"}
    program : Program
    plan : Plan
    state : NetworkState
    data : Data
    options : FitOptions
    rows, steps : int
        Rows of the data on the device at once, and steps of an epoch at once.
    validation, halting
        See ``Contents``.
    entries : Entries, default=None
        Those of a sparse X with its validation rows, which then lies on the device as they are.

    Attributes
    ----------
    started : float
        When, in seconds of ``time.perf_counter``.
    epochs_at_once : int
        How many epochs may be queued before results are read; training adapts it.
    validation : Validation or None
        The validation data that the device scores after each epoch.
    halts : bool
        Whether the device knows the halting condition.
    waits_each_epoch : bool
        Whether the host has to look at the weights or decide after every epoch.
    interrupts : Interrupts
        Whether the user wants to stop; long epochs look at it on their way.
    """

    _decides_on_device = False

    def __init__(
        self, device, dtype, program, plan, state, data, options, rows, steps, validation=None, halting=(), entries=None
    ):
        self.started, self.validation, self.halts = time.perf_counter(), validation, bool(halting)
        self.waits_each_epoch = options.must_wait or bool(
            (options.validation is not None and validation is None)
            or (options.halting_condition is not None and not halting)
        )
        # Of epochs that are queued together; their scalars and results are kept on the device.
        capacity = 1 if self.waits_each_epoch else capacity_of(options, steps)
        self.device, self.dtype = device, np.dtype(dtype)
        self._program, self._plan, self._state = program, plan, state
        self._data, self._options = data, options
        self._steps, self._capacity = steps, capacity
        self.epochs_at_once = 1
        self.interrupts = Interrupts()
        self._x_columns = None if entries is not None else program.tile.x_columns(data.n_features)
        self._contents = contents = Contents(
            program, plan, dtype, state, data, options, steps, capacity, validation, halting
        )
        if validation is not None:
            rows += len(validation.data)
        buffers = {"Y": row_buffer(device, rows, data.Y.shape[1], dtype)}
        self._more_fields = {}
        if entries is None:
            buffers["X"] = row_buffer(device, rows, self._x_columns, dtype)
            buffers["order"] = device.buffer(4 * rows)
        else:
            buffers["X"] = device.buffer_of(entries.values)
            buffers["order"] = device.buffer_of(np.concatenate([np.arange(rows, dtype=np.int32), entries.table]))
            self._more_fields = entries.fields(rows)
        if any(contents.weighted):
            buffers["sample_weight"] = row_buffer(device, rows, 1, dtype)
        self._buffers = buffers
        sizes = {name: contents.sizes[name] for name in ("losses", "scalars", "history")}
        self._arena = Arena(device, program, plan, dtype, buffers, constants=contents.constants(), **sizes)
        parameters = contents.parameters()
        if parameters.size:
            device.write(self._arena.parameters, parameters)
        device.write(self._arena.history, contents.history_head())
        self._best = None

    @property
    def parameters(self):
        """The buffer whose first part holds the weights."""
        return self._arena.parameters

    def keep_best(self):
        """Remember the weights as they are now."""
        device = self.device
        size = max(self._plan.parameter_count * self.dtype.itemsize, 1)
        if self._best is None:
            self._best = device.buffer(size)
        if self._plan.parameter_count:
            device.copy(self._best, self._arena.parameters, size)

    @property
    def _has_best(self):
        """Whether the weights of a best score have been kept."""
        return self._best is not None

    def read_state(self, best=False):
        """Bring weights and optimizer states to the host, and return the state."""
        count = self._plan.parameter_count
        flat = np.empty(count * (1 + self._contents.n_states), self.dtype)
        if flat.size:
            self.device.read(flat, self._arena.parameters)
            if best and self._has_best:
                kept = (self._best, 0) if self._best is not None else (self._arena.parameters, self._plan.best)
                self.device.read(flat[:count], kept[0], kept[1] * self.dtype.itemsize)
        return self._contents.take_state(flat)

    def _write_scalars(self, n_steps, epoch, steps_per_epoch):
        """Bring the optimizer's scalars of the next steps to the device; ``epoch`` is where they begin."""
        table = self._contents.scalars(n_steps, epoch, steps_per_epoch)
        if table.size:
            self.device.write(self._arena.scalars, table)

    def _write_run(self, samples, steps, ordered, first=0):
        """Set what stays the same during a run, whose rows begin at row ``first`` of the buffers."""
        fields = {"first_row": first, **self._more_fields}
        runs = self._contents.runs(samples, steps, ordered, self._decides_on_device, **fields)
        self._arena.write_runs(runs)

    def _begin_rows(self, data, index, first=0, ahead=False):
        """Begin to bring rows of some data to row ``first`` of the buffers and those after it; see ``begin_rows``."""
        weight = None if data.sample_weight is None else data.sample_weight[:, None]
        if weight is None and any(self._contents.weighted):
            weight = np.ones((len(data), 1), self.dtype)
        begun = []
        for name, array, columns in (
            ("X", data.X, self._x_columns),
            ("Y", data.Y, data.Y.shape[1]),
            ("sample_weight", weight, 1),
        ):
            if array is not None and columns is not None:
                buffer = self._buffers[name]
                begun += begin_rows(self.device, buffer, array, index, self.dtype, columns, first, ahead)
        return begun

    def _read_history(self, epochs, steps):
        """Return the ``Results`` of the first epochs of the history."""
        history = np.empty(self._contents.sizes["history"], self.dtype)
        return self._contents.results(self.device.read(history, self._arena.history), epochs, steps)


def capacity_of(options, steps):
    """Return of how many epochs of so many steps the scalars and results are kept on the device."""
    return max(1, min(options.max_iter, LARGEST_RUN // steps))
