"""The resident schedule: whole epochs of a small network in one launch.

A launch and the wait for it cost more than a step of a tiny network does; here neither is paid per step.
One work-item does the arithmetic, in the order of the staged schedule, so both give the same bits.
"""

import numpy as np

# What the planner reckons with, measured on a CPU with AVX-512: seconds a tile takes beside its arithmetic,
# operations a second of one work-item, and seconds of a staged step's launches.
SECONDS_PER_TILE = 1.5e-7
OPERATIONS_PER_SECOND = 2e11
SECONDS_PER_STAGED_STEP = 3e-5
# A launch is not interrupted: it must not hold a longer epoch.
LONGEST_EPOCH = 0.3


def suits(plan, tile, n_parallel, steps):
    """Say whether a plan is expected to run faster resident than staged.

    Parameters
    ----------
    plan : Plan
    tile : Tile
    n_parallel : int
        Work-items that the staged schedule would run at once.
    steps : int
        Steps of an epoch.
    """
    if tile.local_size != 1 or not plan.launches or plan.launches[0].kernel != "rows":
        return False
    tiles = int(plan.stages["tiles"].sum())
    operations = 6 * plan.batch_size * plan.parameter_count
    alone = tiles * SECONDS_PER_TILE + operations / OPERATIONS_PER_SECOND
    return alone < alone / n_parallel + SECONDS_PER_STAGED_STEP and steps * alone < LONGEST_EPOCH


class Resident:
    """Queues epochs of a plan, any number in a launch.

    Parameters
    ----------
    arena : Arena
    steps : int
        Steps of an epoch.
    capacity : int
        Epochs that the arena's history holds.
    shuffle : bool
    """

    def __init__(self, arena, steps, capacity, shuffle):
        self._device, self._steps = arena.device, steps
        rows, weights, *clipped = arena.plan.launches
        end = clipped[-1].end if clipped else weights.end
        self._launch = arena.launcher("resident", 1, rows.end, weights.end, end, capacity, shuffle, 1)
        self._epochs_argument = arena.n_buffers + 5
        self.queued_steps = 0

    def queue_epochs(self, epochs, first_epoch):
        """Queue epochs of which ``first_epoch`` is the first; their results go to the history's first slots."""
        self._launch.set_argument(self._epochs_argument, np.int32(epochs))
        self._launch(self._device.queue, first_epoch)
        self.queued_steps += epochs * self._steps
