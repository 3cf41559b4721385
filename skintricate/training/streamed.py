"""Training with data that stays on the host and goes to the device in slices."""

import collections
import itertools

import numpy as np

from skintricate.backend.staging import finish
from skintricate.kernels import shuffled_order
from skintricate.training.contents import Results
from skintricate.training.staged import Staged
from skintricate.training.trainer import Improvement, Trainer


class StreamedTrainer(Trainer):
    """The data stays on the host; slices of whole batches go to the device in the epoch's order.

    Where the device has memory of its own, a slice is on its way while the one before is trained on. The order and the
    batches are those of ``ResidentTrainer``, so the weights come out the same.
    """

    def __init__(self, device, dtype, program, plan, state, data, options, slice_steps):
        # Slices for which there is place.
        self._places = 2 if device.staging is not None and slice_steps > 1 else 1
        steps = slice_steps // self._places
        rows = steps * plan.batch_size
        super().__init__(device, dtype, program, plan, state, data, options, self._places * rows, steps)
        self._schedule = Staged(self._arena, steps, rows, self._capacity, False, self._contents.weighted[0])
        self._improvement = Improvement(options)
        self._slices = self._arriving()

    def run(self, epochs):
        """Train one epoch; see ``ResidentTrainer.run``."""
        state, n, batch_size = self._state, len(self._data), self._plan.batch_size
        steps_per_epoch = -(-n // batch_size)
        parts = []
        for begin in self._begins:
            if begin and self.interrupts.pressed:
                raise KeyboardInterrupt
            index, first = next(self._slices)
            steps = -(-len(index) // batch_size)
            self._write_run(len(index), steps, False, first)
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

    @property
    def _begins(self):
        """Where the slices of an epoch begin."""
        return range(0, len(self._data), self._steps * self._plan.batch_size)

    def _arriving(self):
        """Yield the samples of each slice and the row where they begin, once they are on the device.

        The caller has to be done with a slice before it asks for the next.
        """
        state, n, rows = self._state, len(self._data), self._steps * self._plan.batch_size
        places, begun = itertools.cycle(range(0, self._places * rows, rows)), collections.deque()
        for epoch in range(state.epoch, state.epoch + self._options.max_iter):
            shuffle = self._options.shuffle and n > self._plan.batch_size
            order = shuffled_order(n, state.seed & 0xFFFFFFFF, epoch) if shuffle else np.arange(n)
            for begin in self._begins:
                index, first = order[begin : begin + rows], next(places)
                begun.append((index, first, self._begin_rows(self._data, index, first, ahead=True)))
                if len(begun) == self._places:
                    yield _arrived(*begun.popleft())
        yield from itertools.starmap(_arrived, begun)

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
        return result, self._improvement.judge(loss)


def _arrived(index, first, begun):
    """Wait for the rows of a slice; return its samples and the row where they begin."""
    finish(begun)
    return index, first
