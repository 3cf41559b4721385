"""Run epochs of a network on a device, with the data there whole or streamed in slices."""

import math
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skintricate.kernels import HEAD_FIELDS, HISTORY_HEAD, shuffle_side, shuffled_order
from skintricate.training import resident
from skintricate.training.arena import Arena
from skintricate.training.data import row_buffer, write_rows
from skintricate.training.interrupts import PATIENCE, Interrupts
from skintricate.training.lowering import Lowering
from skintricate.training.staged import Staged
from skintricate.training.vocabulary import program_for

# Steps whose scalars and losses are kept on the device at once.
LARGEST_RUN = 16384
# Bytes of X that are converted on the host at once.
UPLOAD_BYTES = 64 * 2**20
# Why a run ended before its epochs were done; epoch.cl writes all but the third.
NO_IMPROVEMENT, NOT_FINITE, INTERRUPTED, HALTED = 1, 2, 3, 4


class Results(NamedTuple):
    """What a run of epochs gave: arrays of shape ``(n_epochs,)``, those of steps ``(n_epochs, n_steps)``."""

    loss: np.ndarray
    accuracy: np.ndarray
    step_loss: np.ndarray
    step_accuracy: np.ndarray
    score: np.ndarray


def require_parameters(device, dtype, network, shapes, optimizer):
    """Raise ``DeviceMemoryError`` where a network is too large, before its first values are drawn."""
    count = sum(math.prod(p.shape) for layer, shape in zip(network, shapes) for p in layer.parameters(shape))
    n_bytes = count * (1 + len(optimizer.states)) * np.dtype(dtype).itemsize
    device.budget.require_buffer(n_bytes, "The network with its optimizer's state", "Lower the layers' units.")


def make_trainer(device, dtype, network, state, data, options):
    """Return the trainer that fits the device's memory budget.

    Raises
    ------
    DeviceMemoryError
        If not even one batch fits, with the numbers.
    """
    program = program_for(device, dtype, network, options.loss, options.optimizer)
    batch_size = min(options.batch_size, len(data))
    lowered = (network, data.n_features, batch_size, program, options.loss, options.optimizer, options.alpha)
    validation = _scored_on_device(options, program)
    plan = Lowering(*lowered, validation=validation).run()
    size, budget = np.dtype(dtype).itemsize, device.budget
    batch_bytes = batch_size * data.bytes_per_row(dtype)
    remedy = "Lower batch_size or the layers' units, or choose a device with more memory."
    for n_bytes, what in (
        (plan.parameter_size * size, "The network with its optimizer's state"),
        (plan.workspace_size * size, f"The activations and gradients of a batch of {batch_size} samples"),
        (batch_bytes, f"A batch of {batch_size} samples of {data.n_features} features"),
    ):
        budget.require_buffer(n_bytes, what, remedy)
    # Parameters twice for the best ones; losses, scalars and history grow with the steps.
    fixed = (2 * plan.parameter_size + plan.workspace_size) * size
    if validation is not None:
        fixed += len(validation.data) * (data.bytes_per_row(dtype) + 2 * size)
    step_bytes = batch_bytes + (plan.partials + 3 + len(options.optimizer.scalar_names)) * size
    if validation is None:
        budget.require(fixed + step_bytes, f"The network with one batch of {batch_size} samples", remedy)
    steps = -(-len(data) // batch_size)
    largest_part = max(batch_size * max(data.n_features, data.Y.shape[1]), plan.partials + 1) * size
    possible = min((budget.total - fixed) // step_bytes, max(1, budget.largest // largest_part))
    arguments = (device, dtype, program, plan, state, data, options)
    if possible >= steps:
        return ResidentTrainer(*arguments, validation)
    if validation is not None:
        return make_trainer(device, dtype, network, state, data, replace(options, scores_on_device=False))
    return StreamedTrainer(*arguments, slice_steps=possible)


def _scored_on_device(options, program):
    """Return the validation data whose score the device can count by itself, or None."""
    validation = options.validation
    if validation is None or not options.scores_on_device or not resident.suits(program.tile):
        return None
    return validation if validation.linear_terms() is not None else None


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
        self._validation_steps = -(-len(validation.data) // plan.batch_size) if validation else 0
        self._halting_count = len(halting)
        self._halting = len(plan.constants)
        plan.constants += [float(number) for pair in halting for number in pair]
        self.epochs_at_once = 1
        self.interrupts = Interrupts()
        self._layout = program.tile.layout
        self._n_states = len(options.optimizer.states)
        self._weighted = [part is not None and part.sample_weight is not None for part in self._parts]
        if validation is not None:
            rows += len(validation.data)
        buffers = {
            "X": row_buffer(device, rows, data.n_features, dtype),
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
            losses=steps * (plan.partials + 1) + self._validation_steps * (self._score_tiles + 1),
            scalars=max(1, steps * capacity * n_scalars),
            history=HISTORY_HEAD + capacity * (2 * steps + 3),
        )
        self._write_parameters()
        offset, divisor = validation.linear_terms()[:2] if validation else (0.0, 1.0)
        head = {"tolerance": options.tol, "best_loss": np.inf, "best_score": -np.inf}
        head |= {"score_offset": offset, "score_factor": 1 / divisor}
        device.write(self._arena.history, np.array([head[name] for name in HEAD_FIELDS], self.dtype))
        self._best = None

    @property
    def _parts(self):
        """The data trained on and, where the device scores it, the validation data."""
        return self._data, self.validation.data if self.validation else None

    @property
    def _score_tiles(self):
        """Tiles of a batch of validation rows."""
        return -(-self._plan.batch_size // self._program.tile.rows)

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

    def read_state(self, best=False):
        """Bring weights and optimizer states to the host, and return the state."""
        count, size = self._plan.parameter_count, self._plan.parameter_count * (1 + self._n_states)
        flat = np.empty(size, self.dtype)
        if size:
            self.device.read(flat, self._arena.parameters)
            if best and self._best is not None:
                self.device.read(flat[:count], self._best)
            elif best and self.validation is not None:
                self.device.read(flat[:count], self._arena.parameters, self._plan.best * self.dtype.itemsize)
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
                "steps": self._validation_steps,
                "ordered": 0,
                "weighted": self._weighted[1],
                "partials": self._score_tiles,
                "first_loss": steps * (self._plan.partials + 1),
            },
        )

    def _write_rows(self, data, index, first=0):
        """Bring rows of some data to the device, the first of them to row ``first`` of the buffers."""
        X, Y, weight = data.rows(index, self.dtype)
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
            offset, divisor, _ = self.validation.linear_terms()
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


class ResidentTrainer(Trainer):
    """All data on the device; whole epochs are queued ahead, and the device decides when to stop."""

    _decides_on_device = True

    def __init__(self, device, dtype, program, plan, state, data, options, validation):
        steps, halting = -(-len(data) // plan.batch_size), ()
        if options.halting_condition is not None:
            halting = options.halting_condition.instructions(options.has_classes(data)) or ()
        super().__init__(device, dtype, program, plan, state, data, options, len(data), steps, validation, halting)
        self._write_all_rows()
        # One step takes all samples; their order would change the rounding alone.
        shuffle = options.shuffle and steps > 1
        self._write_run(len(data), steps, shuffle, state.seed)
        arguments = (self._arena, steps, len(data), self._capacity, shuffle, self._weighted[0])
        if resident.suits(program.tile):
            keeps_best = options.early_stopping and validation is not None
            self._schedule = resident.Resident(*arguments, self._validation_steps, keeps_best)
            self.epochs_at_once = max(1, int(PATIENCE / (self._schedule.seconds_per_step * steps)))
        else:
            self._schedule = Staged(*arguments)
        self._epochs_done = 0

    def run(self, epochs):
        """Train up to so many epochs; return their results and whether training is over.

        Parameters
        ----------
        epochs : int

        Returns
        -------
        results : Results
            Of fewer epochs than asked for where training stopped.
        stopped : int
            0, ``NO_IMPROVEMENT``, ``NOT_FINITE``, ``INTERRUPTED`` or ``HALTED``.
        """
        epochs = min(epochs, self._capacity, self.epochs_at_once)
        started = time.perf_counter()
        state, before = self._state, self._schedule.queued_steps
        self._write_scalars(epochs * self._steps, state.epoch, self._steps)
        self._arena.write_run_number(state.step)
        interrupted, self._schedule.interrupts = False, self.interrupts
        try:
            self._schedule.queue_epochs(epochs, state.epoch)
            control = self._read_control()
        except KeyboardInterrupt:
            interrupted = True
            control = self._read_control()
        done = int(control[1]) - self._epochs_done
        self._epochs_done += done
        state.epoch += done
        state.step += self._schedule.queued_steps - before if interrupted else done * self._steps
        elapsed = time.perf_counter() - started
        self.epochs_at_once = max(1, min(16 * self.epochs_at_once, int(PATIENCE * epochs / max(elapsed, 1e-9))))
        return self._read_history(done, self._steps), INTERRUPTED if interrupted else int(control[0])

    def _read_control(self):
        """Wait for the queue and return what the device has decided."""
        return self.device.read(np.zeros(4, np.int32), self._arena.control)

    def _write_all_rows(self):
        """Bring the whole data to the device, so many rows at a time that a sparse X is never dense on the host."""
        rows = max(1, UPLOAD_BYTES // (max(self._data.n_features, 1) * self.dtype.itemsize))
        first = 0
        for data in self._parts:
            for begin in range(0, 0 if data is None else len(data), rows):
                self._write_rows(data, slice(begin, begin + rows), first + begin)
            first += len(self._data)


class StreamedTrainer(Trainer):
    """The data stays on the host; slices of whole batches go to the device in the epoch's order.

    The order and the batches are those of ``ResidentTrainer``, so the weights come out the same.
    """

    _decides_on_device = False

    def __init__(self, device, dtype, program, plan, state, data, options, slice_steps):
        rows = slice_steps * plan.batch_size
        super().__init__(device, dtype, program, plan, state, data, options, rows, slice_steps)
        self._schedule = Staged(self._arena, slice_steps, rows, self._capacity, False, self._weighted[0])
        self._best_loss, self._without_improvement = np.inf, 0

    def run(self, epochs):
        """Train one epoch; see ``ResidentTrainer.run``."""
        state, options, n = self._state, self._options, len(self._data)
        batch_size = self._plan.batch_size
        steps_per_epoch = -(-n // batch_size)
        shuffle = options.shuffle and steps_per_epoch > 1
        order = shuffled_order(n, state.seed & 0xFFFFFFFF, state.epoch) if shuffle else np.arange(n)
        rows = self._steps * batch_size
        parts = []
        for begin in range(0, n, rows):
            if begin and self.interrupts.pressed:
                raise KeyboardInterrupt
            index = order[begin : begin + rows]
            steps = -(-len(index) // batch_size)
            self._write_rows(self._data, index)
            self._write_run(len(index), steps, False, state.seed)
            self._write_scalars(steps, state.epoch + begin / batch_size / steps_per_epoch, steps_per_epoch)
            self._schedule.set_steps(steps)
            self._schedule.interrupts = self.interrupts
            self._schedule.queue_epoch(0, 0)
            part = self._read_history(1, steps)
            weights = self._data.sample_weight
            weight = len(index) if weights is None else weights[index].sum()
            parts.append((weight, part.loss[0], part.accuracy[0], part.step_loss[0], part.step_accuracy[0]))
            state.step += steps
        state.epoch += 1
        return self._combine(parts)

    def _combine(self, parts):
        """Return the results of an epoch from those of its slices, and whether to stop."""
        weights, losses, accuracies, step_losses, step_accuracies = zip(*parts)
        loss = np.average(losses, weights=weights)
        result = Results(
            np.array([loss]),
            np.array([np.average(accuracies, weights=weights)]),
            np.concatenate(step_losses)[None],
            np.concatenate(step_accuracies)[None],
            np.array([np.nan]),
        )
        if not np.isfinite(loss):
            return result, NOT_FINITE
        improved = loss <= self._best_loss - self._options.tol
        self._without_improvement = 0 if improved else self._without_improvement + 1
        self._best_loss = min(loss, self._best_loss)
        patience = 0 if self._options.early_stopping else self._options.patience
        return result, NO_IMPROVEMENT if 0 < patience < self._without_improvement else 0
