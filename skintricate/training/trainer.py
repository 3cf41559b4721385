"""Run epochs of a network on a device, with the data there whole or streamed in slices."""

import math
import time

import numpy as np

from skintricate.kernels import shuffle_side, shuffled_order
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
# Why a run ended before its epochs were done.
NOT_FINITE, INTERRUPTED = 2, 3


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
    plan = Lowering(network, data.n_features, batch_size, program, options.loss, options.optimizer, options.alpha).run()
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
    step_bytes = batch_bytes + (plan.partials + 3 + len(options.optimizer.scalar_names)) * size
    budget.require(fixed + step_bytes, f"The network with one batch of {batch_size} samples", remedy)
    steps = -(-len(data) // batch_size)
    largest_part = max(batch_size * max(data.n_features, data.Y.shape[1]), plan.partials + 1) * size
    possible = min((budget.total - fixed) // step_bytes, max(1, budget.largest // largest_part))
    arguments = (device, dtype, program, plan, state, data, options)
    if possible >= steps:
        return ResidentTrainer(*arguments)
    return StreamedTrainer(*arguments, slice_steps=possible)


class Trainer:
    """What both trainers share: the arena, the parameters, and reading results.

    Attributes
    ----------
    epochs_at_once : int
        How many epochs may be queued before results are read; training adapts it.
    interrupts : Interrupts
        Whether the user wants to stop; long epochs look at it on their way.
    """

    def __init__(self, device, dtype, program, plan, state, data, options, rows, steps, capacity):
        self.device, self.dtype = device, np.dtype(dtype)
        self._program, self._plan, self._state = program, plan, state
        self._data, self._options = data, options
        self._steps, self._capacity = steps, capacity
        self.epochs_at_once = 1
        self.interrupts = Interrupts()
        self._layout = program.tile.layout
        self._n_states = len(options.optimizer.states)
        buffers = {
            "X": row_buffer(device, rows, data.n_features, dtype),
            "Y": row_buffer(device, rows, data.Y.shape[1], dtype),
            "order": device.buffer(4 * rows),
        }
        if data.sample_weight is not None:
            buffers["sample_weight"] = row_buffer(device, rows, 1, dtype)
        self._buffers = buffers
        n_scalars = len(options.optimizer.scalar_names)
        self._arena = Arena(
            device,
            program,
            plan,
            dtype,
            buffers,
            losses=steps * (plan.partials + 1),
            scalars=max(1, steps * capacity * n_scalars),
            history=2 + 2 * capacity * (steps + 1),
        )
        self._write_parameters()
        device.write(self._arena.history, np.array([options.tol, np.inf], self.dtype))
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

    def read_state(self, best=False):
        """Bring weights and optimizer states to the host, and return the state."""
        count, size = self._plan.parameter_count, self._plan.parameter_count * (1 + self._n_states)
        flat = np.empty(size, self.dtype)
        if size:
            self.device.read(flat, self._arena.parameters)
            if best and self._best is not None:
                self.device.read(flat[:count], self._best)
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

    def _write_run(self, samples, steps, ordered, patience, seed):
        """Set what stays the same during a run."""
        self._arena.write_run(
            samples=samples,
            batch_size=self._plan.batch_size,
            steps=steps,
            target_columns=self._data.Y.shape[1],
            class_codes=self._data.class_codes,
            ordered=ordered,
            weighted=self._data.sample_weight is not None,
            partials=self._plan.partials,
            parameter_count=self._plan.parameter_count,
            scalar_count=len(self._options.optimizer.scalar_names),
            shuffle_side=shuffle_side(samples),
            patience=patience,
            seed=seed & 0xFFFFFFFF,
            first_step=self._state.step & 0x7FFFFFFF,
        )

    def _write_rows(self, index, first=0):
        """Bring rows of the data to the device, the first of them to row ``first`` of the buffers."""
        for name, array in zip(("X", "Y", "sample_weight"), self._data.rows(index, self.dtype)):
            if array is not None:
                offset = first * (array.nbytes // len(array))
                write_rows(self.device, self._buffers[name], array, offset)

    def _read_history(self, epochs, steps):
        """Return ``(loss, accuracy, step losses, step accuracies)`` of the first epochs of the history."""
        capacity, shape = self._capacity, (epochs, steps)
        flat = self.device.read(np.empty(2 + 2 * capacity * (steps + 1), self.dtype), self._arena.history)
        loss, accuracy, step_loss, step_accuracy = np.split(flat[2:], np.cumsum([capacity, capacity, capacity * steps]))
        # Copies, since the history keeps them and views would keep the whole buffer.
        return (
            loss[:epochs].copy(),
            accuracy[:epochs].copy(),
            step_loss[: epochs * steps].reshape(shape).copy(),
            step_accuracy[: epochs * steps].reshape(shape).copy(),
        )


class ResidentTrainer(Trainer):
    """All data on the device; whole epochs are queued ahead, and the device decides when to stop."""

    def __init__(self, device, dtype, program, plan, state, data, options):
        steps = -(-len(data) // plan.batch_size)
        capacity = 1 if options.waits_each_epoch else max(1, min(options.max_iter, LARGEST_RUN // steps))
        super().__init__(device, dtype, program, plan, state, data, options, len(data), steps, capacity)
        self._write_all_rows()
        # One step takes all samples; their order would change the rounding alone.
        shuffle = options.shuffle and steps > 1
        self._write_run(len(data), steps, shuffle, options.patience, state.seed)
        schedule = resident.Resident if resident.suits(plan, program.tile) else Staged
        self._schedule = schedule(self._arena, steps, len(data), capacity, shuffle, data.sample_weight is not None)
        if schedule is resident.Resident:
            self.epochs_at_once = max(1, int(PATIENCE / (self._schedule.seconds_per_step * steps)))
        self._epochs_done = 0

    def run(self, epochs):
        """Train up to so many epochs; return their results and whether training is over.

        Parameters
        ----------
        epochs : int

        Returns
        -------
        results : tuple of arrays
            As ``_read_history`` gives them; fewer epochs than asked for where training stopped.
        stopped : int
            0, 1 (no improvement), ``NOT_FINITE`` or ``INTERRUPTED``.
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
        n, size = len(self._data), self.dtype.itemsize
        rows = max(1, UPLOAD_BYTES // (max(self._data.n_features, 1) * size))
        for begin in range(0, n, rows):
            self._write_rows(slice(begin, begin + rows), begin)


class StreamedTrainer(Trainer):
    """The data stays on the host; slices of whole batches go to the device in the epoch's order.

    The order and the batches are those of ``ResidentTrainer``, so the weights come out the same.
    """

    def __init__(self, device, dtype, program, plan, state, data, options, slice_steps):
        rows = slice_steps * plan.batch_size
        super().__init__(device, dtype, program, plan, state, data, options, rows, slice_steps, 1)
        self._schedule = Staged(self._arena, slice_steps, rows, 1, False, data.sample_weight is not None)
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
            self._write_rows(index)
            self._write_run(len(index), steps, False, 0, state.seed)
            self._write_scalars(steps, state.epoch + begin / batch_size / steps_per_epoch, steps_per_epoch)
            self._schedule.set_steps(steps)
            self._schedule.interrupts = self.interrupts
            self._schedule.queue_epoch(0, 0)
            loss, accuracy, step_loss, step_accuracy = self._read_history(1, steps)
            weights = self._data.sample_weight
            weight = len(index) if weights is None else weights[index].sum()
            parts.append((weight, loss[0], accuracy[0], step_loss[0], step_accuracy[0]))
            state.step += steps
        state.epoch += 1
        return self._combine(parts)

    def _combine(self, parts):
        """Return the results of an epoch from those of its slices, and whether to stop."""
        weights, losses, accuracies, step_losses, step_accuracies = zip(*parts)
        loss = np.average(losses, weights=weights)
        result = (
            np.array([loss]),
            np.array([np.average(accuracies, weights=weights)]),
            np.concatenate(step_losses)[None],
            np.concatenate(step_accuracies)[None],
        )
        if not np.isfinite(loss):
            return result, NOT_FINITE
        improved = loss <= self._best_loss - self._options.tol
        self._without_improvement = 0 if improved else self._without_improvement + 1
        self._best_loss = min(loss, self._best_loss)
        return result, int(0 < self._options.patience < self._without_improvement)
