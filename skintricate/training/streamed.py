"""Training with data that stays on the host and goes to the device in slices."""

import numpy as np

from skintricate.kernels import shuffled_order
from skintricate.training.contents import Results
from skintricate.training.staged import Staged
from skintricate.training.trainer import NO_IMPROVEMENT, NOT_FINITE, Trainer


class StreamedTrainer(Trainer):
    """The data stays on the host; slices of whole batches go to the device in the epoch's order.

    The order and the batches are those of ``ResidentTrainer``, so the weights come out the same.
    """

    def __init__(self, device, dtype, program, plan, state, data, options, slice_steps):
        rows = slice_steps * plan.batch_size
        super().__init__(device, dtype, program, plan, state, data, options, rows, slice_steps)
        self._schedule = Staged(self._arena, slice_steps, rows, self._capacity, False, self._contents.weighted[0])
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
            self._write_run(len(index), steps, False)
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
