"""What a resident launch does, as tables: the phases of a step and of an epoch, and the turns of the networks."""

from dataclasses import dataclass

import numpy as np

from skintricate.kernels import COPIED, LINE, PHASE, PHASE_KINDS, TURN, shuffle_side

# Tickets of a phase for each work-group, where it has as many tiles: enough to share evenly.
TICKETS_PER_GROUP = 128


def counters(n_turns, groups):
    """Return the zeros that a launch of so many turns begins with, which ``resident.cl`` of cpu and gpu count in.

    They are as many as either needs: on a CPU a line of integers for each group and an integer for each turn, on a GPU
    three lines for each turn.
    """
    return np.zeros(LINE * (2 + groups + 3 * n_turns), np.int32)


@dataclass
class Phases:
    """The phases of an epoch in order.

    Attributes
    ----------
    table : ndarray of dtype PHASE
    step_begin, epoch_end : int
        Where those of a step begin and end; before them an epoch is opened, after them it is closed.
    """

    table: np.ndarray
    step_begin: int
    epoch_end: int

    @classmethod
    def of_training(cls, plan, tile, groups, steps, n_samples, shuffle, weighted, keeps_best):
        """Return the phases of training a plan by so many work-groups."""
        begin = [_phase("order", tiles=tile.order_tiles(n_samples, shuffle_side(n_samples)))] if shuffle else []
        begin += [_phase("weigh", tiles=steps)] if weighted else []
        step = [_launch_phase(launch) for launch in plan.launches]
        end = [_launch_phase(launch, k) for k in range(plan.validation_steps) for launch in plan.validation_launches]
        end += [_phase("score")] if plan.validation_steps else []
        end += [_phase("best", tiles=-(-plan.parameter_count // COPIED))] if keeps_best else []
        end += [_phase("finish")]
        return cls._cut([*begin, *step, *end], len(begin), len(begin) + len(step), groups)

    @classmethod
    def of_prediction(cls, plan):
        """Return the phases of the forward pass by one work-group, a step of which takes a batch of rows."""
        step = [_launch_phase(launch) for launch in plan.launches]
        return cls._cut(step, 0, len(step), groups=1)

    @classmethod
    def _cut(cls, rows, step_begin, epoch_end, groups):
        """Return phases whose tiles are cut into tickets."""
        table = np.array(rows, PHASE)
        tickets = groups * TICKETS_PER_GROUP if groups > 1 else 1
        table["chunk"] = np.maximum(1, table["tiles"] // tickets)
        return cls(table, step_begin, epoch_end)

    def turn(self, places, capacity):
        """Return a row of dtype TURN for a network that lies at these places, which has no steps yet."""
        turn = np.zeros((), TURN)
        for name, place in places.items():
            turn[name] = place
        turn["step_begin"], turn["epoch_end"], turn["phase_count"] = self.step_begin, self.epoch_end, len(self.table)
        turn["capacity"], turn["after"] = capacity, -1
        return turn


def _phase(kind, first=0, end=0, tiles=1, validation=-1):
    """Return a row of the phases' table, but for its chunk."""
    return PHASE_KINDS.index(kind), first, end, tiles, 1, validation


def _launch_phase(launch, validation=-1):
    """Return the phase of a launch, for a step or for a batch of validation rows."""
    kind = "blocks" if launch.kernel == "rows" else "tiles"
    return _phase(kind, launch.first, launch.end, launch.tiles, validation)
