"""What running epochs of a network on a device has in common, wherever the data is."""

from typing import NamedTuple

import numpy as np

from skintricate.kernels import HEAD_FIELDS, HISTORY_HEAD, shuffle_side
from skintricate.kernels.stage import STOPS
from skintricate.training.arena import Arena
from skintricate.training.data import row_buffer, write_rows
from skintricate.training.interrupts import Interrupts

# Steps whose scalars and losses are kept on the device at once.
LARGEST_RUN = 16384
# Why a run ended before its epochs were done.
NO_IMPROVEMENT, NOT_FINITE, HALTED = (STOPS[name] for name in ("no_improvement", "not_finite", "halted"))
INTERRUPTED = 3


class Results(NamedTuple):
    """What a run of epochs gave: arrays of shape ``(n_epochs,)``, those of steps ``(n_epochs, n_steps)``."""

    loss: np.ndarray
    accuracy: np.ndarray
    step_loss: np.ndarray
    step_accuracy: np.ndarray
    score: np.ndarray


class Trainer:
    """What both trainers share: the arena, the parameters, and reading results.

    Attributes
    ----------
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

    def __init__(self, device, dtype, program, plan, state, data, options, rows, steps, validation=None, halting=()):
        self.validation, self.halts = validation, bool(halting)
        self.waits_each_epoch = options.must_wait or bool(
            (options.validation is not None and validation is None)
            or (options.halting_condition is not None and not halting)
        )
        # Of epochs that are queued together; their scalars and results are kept on the device.
        capacity = 1 if self.waits_each_epoch else max(1, min(options.max_iter, LARGEST_RUN // steps))
        self.device, self.dtype = device, np.dtype(dtype)
        self._program, self._plan, self._state = program, plan, state
        self._data, self._options = data, options
        self._steps, self._capacity = steps, capacity
        self._halting_count = len(halting)
        self._halting = len(plan.constants)
        self.epochs_at_once = 1
        self.interrupts = Interrupts()
        self._layout = program.tile.layout
        self._x_columns = program.tile.x_columns(data.n_features)
        self._n_states = len(options.optimizer.states)
        self._weighted = [part is not None and part.sample_weight is not None for part in self._parts]
        if validation is not None:
            rows += len(validation.data)
        buffers = {
            "X": row_buffer(device, rows, self._x_columns, dtype),
            "Y": row_buffer(device, rows, data.Y.shape[1], dtype),
            "order": device.buffer(4 * rows),
        }
        if any(self._weighted):
            buffers["sample_weight"] = row_buffer(device, rows, 1, dtype)
        self._buffers = buffers
        n_scalars = len(options.optimizer.scalar_names)
        self._arena = Arena(
            device,
            program,
            plan,
            dtype,
            buffers,
            losses=steps * (plan.partials + 1) + plan.validation_steps * (plan.blocks + 1),
            scalars=max(1, steps * capacity * n_scalars),
            history=HISTORY_HEAD + capacity * (2 * steps + 3),
            more_constants=[number for pair in halting for number in pair],
        )
        self._write_parameters()
        _, divisor, _ = validation.linear_terms if validation else (0.0, 1.0, ())
        head = {"tolerance": options.tol, "best_loss": np.inf, "best_sum": -np.inf if divisor > 0 else np.inf}
        head["score_factor"] = 1 / divisor
        device.write(self._arena.history, np.array([head[name] for name in HEAD_FIELDS], self.dtype))
        self._best = None

    @property
    def _parts(self):
        """The data trained on and, where the device scores it, the validation data."""
        return self._data, self.validation.data if self.validation else None

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
        count, size = self._plan.parameter_count, self._plan.parameter_count * (1 + self._n_states)
        flat = np.empty(size, self.dtype)
        if size:
            self.device.read(flat, self._arena.parameters)
            if best and self._has_best:
                kept = (self._best, 0) if self._best is not None else (self._arena.parameters, self._plan.best)
                self.device.read(flat[:count], kept[0], kept[1] * self.dtype.itemsize)
        self._state.unpack(self._plan, self._layout, self._n_states, flat)
        return self._state

    def _write_parameters(self):
        """Bring the state's parameters to the device."""
        flat = self._state.pack(self._plan, self._layout, self._n_states, self.dtype)
        if flat.size:
            self.device.write(self._arena.parameters, flat)

    def _write_scalars(self, n_steps, epoch, steps_per_epoch):
        """Bring the optimizer's scalars of the next steps to the device; ``epoch`` is where they begin."""
        epochs = epoch + np.arange(n_steps) / steps_per_epoch
        table = self._options.optimizer.scalar_table(self._state.step, epochs)
        if table.size:
            with np.errstate(over="ignore"):  # an infinite rate shows as divergence
                table = np.ascontiguousarray(table, self.dtype)
            self.device.write(self._arena.scalars, table)

    def _write_run(self, samples, steps, ordered, seed):
        """Set what stays the same during a run."""
        options, n_validation = self._options, len(self.validation.data) if self.validation else 0
        stops_by_score = options.early_stopping and self.validation is not None
        decides = not options.early_stopping or stops_by_score
        self._arena.write_run(
            samples=samples,
            batch_size=self._plan.batch_size,
            steps=steps,
            target_columns=self._data.Y.shape[1],
            class_codes=self._data.class_codes,
            ordered=ordered,
            weighted=self._weighted[0],
            partials=self._plan.partials,
            parameter_count=self._plan.parameter_count,
            scalar_count=len(options.optimizer.scalar_names),
            shuffle_side=shuffle_side(samples),
            patience=options.patience if decides and self._decides_on_device else 0,
            early_stopping=stops_by_score,
            best=self._plan.best,
            halting=self._halting,
            halting_count=self._halting_count,
            seed=seed & 0xFFFFFFFF,
            first_step=self._state.step & 0x7FFFFFFF,
            validation={
                "first_row": samples,
                "samples": n_validation,
                "steps": self._plan.validation_steps,
                "ordered": 0,
                "weighted": self._weighted[1],
                "partials": self._plan.blocks,
                "first_loss": steps * (self._plan.partials + 1) if self.validation else 0,
            },
        )

    def _write_rows(self, data, index, first=0):
        """Bring rows of some data to the device, the first of them to row ``first`` of the buffers."""
        X, Y, weight = data.rows(index, self.dtype, self._x_columns)
        if weight is None and any(self._weighted):
            weight = np.ones(len(Y), self.dtype)
        for name, array in zip(("X", "Y", "sample_weight"), (X, Y, weight)):
            if array is not None:
                offset = first * (array.nbytes // len(array))
                write_rows(self.device, self._buffers[name], array, offset)

    def _read_history(self, epochs, steps):
        """Return the ``Results`` of the first epochs of the history."""
        capacity, shape = self._capacity, (epochs, steps)
        flat = np.empty(HISTORY_HEAD + capacity * (2 * self._steps + 3), self.dtype)
        flat = self.device.read(flat, self._arena.history)[HISTORY_HEAD:]
        loss, accuracy, score = flat[: 3 * capacity].reshape(3, capacity)[:, :epochs].copy()
        step_loss, step_accuracy = np.split(flat[3 * capacity :], [capacity * steps])
        if self.validation is None:
            score = np.full(epochs, np.nan)
        else:
            offset, divisor, _ = self.validation.linear_terms
            # In float64, so that a share of right classes is what scikit-learn makes of it.
            score = offset + score.astype(np.float64) / divisor
        # Copies, since the history keeps them and views would keep the whole buffer.
        return Results(
            loss,
            accuracy,
            step_loss[: epochs * steps].reshape(shape).copy(),
            step_accuracy[: epochs * steps].reshape(shape).copy(),
            score,
        )
