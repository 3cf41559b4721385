"""The resident schedule: many steps, whole epochs of them, in one launch.

A launch and the wait for it cost more than a step of a small network does; here neither is paid per step.
Work-groups share the work (see ``resident.cl`` of cpu and gpu) and do the arithmetic of the staged schedule, so both
give the same bits.
"""

import functools
import time
from dataclasses import dataclass

from skintricate.kernels.stage import MOST_PHASES, MOST_STAGES
from skintricate.training.interrupts import PATIENCE, Interrupts
from skintricate.training.phases import Phases, counters


@dataclass(frozen=True)
class Costs:
    """What the planner reckons with.

    Parameters
    ----------
    tile : float
        Seconds that a tile takes a work-group, beside its arithmetic.
    operation : float
        Seconds that an operation takes a work-group.
    phase : float
        Seconds that a phase costs, where groups wait for each other.
    phase_of_group : float
        The same, for each group that takes part.
    weight : float
        Seconds in which a number of the weights comes from another core.
    far_weight : float
        The same from memory, for numbers that no core's cache keeps.
    """

    tile: float
    operation: float
    phase: float
    phase_of_group: float
    weight: float
    far_weight: float


# Measured on a CPU with AVX-512, and on an NVIDIA H200.
COSTS = {
    "cpu": Costs(tile=3e-8, operation=1.25e-11, phase=0.0, phase_of_group=2e-7, weight=1.5e-9, far_weight=1.5e-9),
    "gpu": Costs(tile=1e-6, operation=5e-12, phase=1e-6, phase_of_group=0.0, weight=0.0, far_weight=0.0),
}
# Numbers of the weights, with the optimizer's, that the caches of a few cores keep.
NEAR_WEIGHTS = 1_000_000
# By how much the first launch may take longer than expected: on a slow or busy processor.
CAUTION = 3


def suits(device, plan, family):
    """Say whether the schedule can run a plan on a device.

    A CPU's groups read its tables where they lie. A GPU's have them in local memory, and need a fence to see what other
    groups wrote.
    """
    if family == "cpu":
        return True
    # Beside the launches: order, weigh, score, best and finish.
    phases = len(plan.launches) + plan.validation_steps * len(plan.validation_launches) + 5
    fits = len(plan.stages) <= MOST_STAGES and phases <= MOST_PHASES
    return fits and device.has_fence and not plan.is_large


def seconds_of_step(plan, costs, n_groups):
    """Return the seconds that a step is expected to take so many work-groups."""
    seconds = plan.operations * costs.operation / n_groups
    if plan.parameter_count <= NEAR_WEIGHTS:
        seconds += plan.parameter_count * costs.weight * (n_groups > 1)
    else:
        seconds += plan.parameter_count * costs.far_weight / n_groups
    for launch in plan.launches:
        stages = plan.stages["tiles"][launch.first : launch.end]
        tiles = int(stages.sum())
        if launch.kernel == "rows" and costs.phase:
            seconds += -(-launch.tiles // n_groups) * len(stages) * costs.tile
        else:
            seconds += (-(-tiles // n_groups) if costs.phase else tiles / n_groups) * costs.tile
        if n_groups > 1:
            seconds += costs.phase + n_groups * costs.phase_of_group
    return seconds


def choose_groups(plan, costs, units):
    """Return how many work-groups to launch on so many compute units: fewer where waiting would cost more."""
    counts = {units, *(2**k for k in range(units.bit_length()))}
    return min(sorted(counts), key=lambda n: seconds_of_step(plan, costs, n))


class Resident:
    """Queues epochs of a plan, any number of steps in a launch.

    Parameters
    ----------
    arena : Arena
    steps : int
        Steps of an epoch.
    n_samples : int
    capacity : int
        Epochs that the arena's history holds.
    shuffle, weighted : bool
    keep_best : bool, default=False
        Whether the weights of the best score are kept.
    """

    def __init__(self, arena, steps, n_samples, capacity, shuffle, weighted, keep_best=False):
        device, plan = arena.device, arena.plan
        self._device, self._steps = device, steps
        tile = arena.program.tile
        costs = COSTS[tile.family]
        groups = choose_groups(plan, costs, device.handle.max_compute_units)
        # A forward pass is about a third of a step. Measured launches correct what is only expected here.
        self.seconds_per_epoch = CAUTION * seconds_of_step(plan, costs, groups) * (steps + plan.validation_steps / 3)
        phases = Phases.of_training(plan, tile, groups, steps, n_samples, shuffle, weighted, keep_best)
        self._turn = phases.turn({}, capacity)
        # Kept: a kernel does not keep its arguments alive.
        self._counters = counters(1, groups)
        self._buffers = [device.buffer_of(array) for array in (phases.table, self._turn, self._counters)]
        self._bind = functools.partial(arena.launcher, "resident", groups, 1, groups, buffers=self._buffers)
        self._program, self._plan = arena.program, plan
        self._is_specialized, self._launch = False, None
        self.prepare()
        self.interrupts = Interrupts()
        self.queued_steps = 0

    def prepare(self):
        """Bind the kernel: that of a program of its own as soon as the plan has earned it."""
        if not self._is_specialized and self._program.specializes(self._plan):
            self._is_specialized, self._launch = True, self._bind(plan=self._plan)
        elif self._launch is None:
            self._launch = self._bind()

    def queue_epochs(self, epochs, first_epoch):
        """Queue epochs of which ``first_epoch`` is the first; their results go to the history's first slots."""
        queue, total, begin = self._device.queue, epochs * self._steps, 0
        while begin < total:
            if begin and self.interrupts.pressed:
                raise KeyboardInterrupt
            count = min(total - begin, max(1, int(PATIENCE * self._steps / self.seconds_per_epoch)))
            started = time.perf_counter()
            self._turn["first_epoch"], self._turn["first_step"], self._turn["steps"] = first_epoch, begin, count
            for buffer, array in zip(self._buffers[1:], (self._turn, self._counters)):
                self._device.write(buffer, array)
            self._launch(queue, 0)
            self.queued_steps += count
            begin += count
            if begin < total:
                queue.finish()
                self.seconds_per_epoch = (time.perf_counter() - started) / count * self._steps
