"""Training with all data on the device."""

import time

import numpy as np

from skintricate.backend.staging import finish
from skintricate.training import resident
from skintricate.training.interrupts import PATIENCE
from skintricate.training.staged import Staged
from skintricate.training.trainer import INTERRUPTED, Trainer


class ResidentTrainer(Trainer):
    """All data on the device; whole epochs are queued ahead, and the device decides when to stop."""

    _decides_on_device = True

    def __init__(self, device, dtype, program, plan, state, data, options, validation, entries=None):
        steps, halting = -(-len(data) // plan.batch_size), options.halting_on_device(data, dtype)
        super().__init__(
            device, dtype, program, plan, state, data, options, len(data), steps, validation, halting, entries
        )
        self._write_all_rows()
        contents = self._contents
        self._write_run(len(data), steps, contents.shuffles)
        arguments = (self._arena, steps, len(data), self._capacity, contents.shuffles, contents.weighted[0])
        if resident.suits(device, plan, program.tile.family):
            self._schedule = resident.Resident(*arguments, contents.keeps_best)
            self.epochs_at_once = max(1, int(PATIENCE / self._schedule.seconds_per_epoch))
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
        self._schedule.prepare()
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
        self._arena.program.trained(self._arena.plan, elapsed)
        self.epochs_at_once = max(1, min(16 * self.epochs_at_once, int(PATIENCE * epochs / max(elapsed, 1e-9))))
        return self._read_history(done, self._steps), INTERRUPTED if interrupted else int(control[0])

    @property
    def _has_best(self):
        return super()._has_best or (self.validation is not None and self._epochs_done > 0)

    def _read_control(self):
        """Wait for the queue and return what the device has decided."""
        return self.device.read(np.zeros(4, np.int32), self._arena.control)

    def _write_all_rows(self):
        """Bring the whole data to the device; entries of an X that stays sparse lie there already."""
        data, validation = self._contents.parts
        begun = self._begin_rows(data, None)
        if validation is not None:
            begun += self._begin_rows(validation, None, len(data))
        finish(begun)
