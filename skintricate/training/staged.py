"""The staged schedule: a launch for every stage, or several, of every step.

It runs on any device and is the reference for the other schedules. Launches are queued without
waiting; what changes from step to step, its number, travels as the launch's global offset.
"""

import time

from skintricate.kernels import shuffle_side
from skintricate.training.interrupts import PATIENCE, Interrupts


class Staged:
    """Queues epochs of a plan.

    Parameters
    ----------
    arena : Arena
    steps : int
        Steps of an epoch.
    n_samples : int
    capacity : int
        Epochs that the arena's history holds.
    shuffle, weighted : bool
    """

    def __init__(self, arena, steps, n_samples, capacity, shuffle, weighted):
        self._device, self._steps = arena.device, steps
        self._step = arena.step_launchers()
        self._begin = []
        if shuffle:
            tiles = arena.program.tile.order_tiles(n_samples, shuffle_side(n_samples))
            self._begin.append(arena.launcher("order_samples", tiles))
        if weighted:
            self._begin.append(arena.launcher("weigh_steps", steps))
        self._finish = arena.launcher("finish_epoch", 1, capacity)
        self._chunk = 1
        self.interrupts = Interrupts()
        self.queued_steps = 0

    def prepare(self):
        """Do nothing: a plan's own program has no launches of stages."""

    def set_steps(self, steps):
        """Set the steps of an epoch, for a slice shorter than the others."""
        self._steps = steps

    def queue_epochs(self, epochs, first_epoch):
        """Queue epochs of which ``first_epoch`` is the first; their results go to the history's first slots."""
        for slot in range(epochs):
            self.queue_epoch(slot, first_epoch + slot)

    def queue_epoch(self, slot, epoch):
        """Queue one epoch; its results go to this slot of the history.

        Parameters
        ----------
        slot : int
            Epochs queued since the run's scalars were written.
        epoch : int
            Number of the epoch since training began, which seeds its order.
        """
        queue, first = self._device.queue, slot * self._steps
        for launch in self._begin:
            launch(queue, epoch)
        step = self._step
        begin = 0
        while begin < self._steps:
            if begin and self.interrupts.pressed:
                raise KeyboardInterrupt
            end = min(begin + self._chunk, self._steps)
            started = time.perf_counter()
            for number in range(first + begin, first + end):
                for launch in step:
                    launch(queue, number)
                self.queued_steps += 1
            queue.flush()
            if end < self._steps:
                queue.finish()
                elapsed = time.perf_counter() - started
                self._chunk = max(1, int((end - begin) * PATIENCE / max(elapsed, 1e-6)))
            begin = end
        self._finish(queue, slot)
