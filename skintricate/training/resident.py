"""The resident schedule: many steps, whole epochs of them, in one launch.

A launch and the wait for it cost more than a step of a small network does; here neither is paid per step.
Work-groups share the work (see ``resident.cl`` of cpu and gpu) and do the arithmetic of the staged schedule, so both
give the same bits.
"""

import time
from dataclasses import dataclass

import numpy as np

from skintricate.kernels import COPIED, LINE, PHASE, PHASE_KINDS, shuffle_side
from skintricate.kernels.stage import MOST_PHASES, MOST_STAGES
from skintricate.training.interrupts import PATIENCE, Interrupts


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
    """

    tile: float
    operation: float
    phase: float
    phase_of_group: float
    weight: float


# Measured on a CPU with AVX-512, and on an NVIDIA H200.
COSTS = {
    "cpu": Costs(tile=3e-8, operation=1.25e-11, phase=0.0, phase_of_group=2e-7, weight=1.5e-9),
    "gpu": Costs(tile=1e-6, operation=5e-12, phase=1e-6, phase_of_group=0.0, weight=0.0),
}
# By how much the first launch may take longer than expected: on a slow or busy processor.
CAUTION = 3
# Tickets of a phase for each work-group, where it has as many tiles: enough to share evenly.
TICKETS_PER_GROUP = 128


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
    seconds = plan.operations * costs.operation / n_groups + plan.parameter_count * costs.weight * (n_groups > 1)
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
    validation_steps : int, default=0
        Batches of validation rows, scored after each epoch.
    keep_best : bool, default=False
        Whether the weights of the best score are kept.
    """

    def __init__(self, arena, steps, n_samples, capacity, shuffle, weighted, validation_steps=0, keep_best=False):
        self._device, self._steps, plan = arena.device, steps, arena.plan
        tile = arena.program.tile
        costs = COSTS[tile.family]
        groups = choose_groups(plan, costs, arena.device.handle.max_compute_units)
        # A forward pass is about a third of a step. Measured launches correct what is only expected here.
        self.seconds_per_epoch = CAUTION * seconds_of_step(plan, costs, groups) * (steps + validation_steps / 3)
        begin = [_phase("order", tiles=tile.order_tiles(n_samples, shuffle_side(n_samples)))] if shuffle else []
        begin += [_phase("weigh", tiles=steps)] if weighted else []
        step = [_launch_phase(launch) for launch in plan.launches]
        end = [_launch_phase(launch, k) for k in range(validation_steps) for launch in plan.validation_launches]
        end += [_phase("score")] if validation_steps else []
        end += [_phase("best", tiles=-(-plan.parameter_count // COPIED))] if keep_best else []
        end += [_phase("finish")]
        phases = np.array([*begin, *step, *end], PHASE)
        tickets = groups * TICKETS_PER_GROUP if groups > 1 else 1
        phases["chunk"] = np.maximum(1, phases["tiles"] // tickets)
        # Kept: a kernel does not keep its arguments alive.
        self._counters = np.zeros(LINE * (3 + groups), np.int32)
        self._phases, self._tickets = self._device.buffer_of(phases), self._device.buffer_of(self._counters)
        self._launch = arena.launcher(
            "resident", groups, len(begin), len(begin) + len(step), len(phases), capacity, 0, 0,
            buffers=(self._phases, self._tickets),
        )  # fmt: skip
        self.interrupts = Interrupts()
        self.queued_steps = 0

    def queue_epochs(self, epochs, first_epoch):
        """Queue epochs of which ``first_epoch`` is the first; their results go to the history's first slots."""
        queue, total, begin = self._device.queue, epochs * self._steps, 0
        while begin < total:
            if begin and self.interrupts.pressed:
                raise KeyboardInterrupt
            count = min(total - begin, max(1, int(PATIENCE * self._steps / self.seconds_per_epoch)))
            started = time.perf_counter()
            self._device.write(self._tickets, self._counters)
            self._launch.set_last_arguments(first_epoch, count)
            self._launch(queue, begin)
            self.queued_steps += count
            begin += count
            if begin < total:
                queue.finish()
                self.seconds_per_epoch = (time.perf_counter() - started) / count * self._steps


def _phase(kind, first=0, end=0, tiles=1, validation=-1):
    """Return a row of the phases' table, but for its chunk."""
    return PHASE_KINDS.index(kind), first, end, tiles, 1, validation


def _launch_phase(launch, validation=-1):
    """Return the phase of a launch, for a step or for a batch of validation rows."""
    kind = "blocks" if launch.kernel == "rows" else "tiles"
    return _phase(kind, launch.first, launch.end, launch.tiles, validation)
