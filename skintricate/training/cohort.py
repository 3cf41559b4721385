"""Networks that train or predict together: each by one work-group, or a few, in the same launches."""

import time

import numpy as np

from skintricate.backend.launch import Launcher
from skintricate.kernels import TURN
from skintricate.kernels.stage import PLACES
from skintricate.training.interrupts import PATIENCE
from skintricate.training.phases import counters
from skintricate.training.pool import Pool
from skintricate.training.resident import CAUTION, COSTS, choose_groups, seconds_of_step

# Turns that a launch gives each compute unit of a CPU, so that all of them end at about the same time.
TURNS_PER_UNIT = 16


class Cohort:
    """Members whose steps are taken together.

    Parameters
    ----------
    device : Device
    program : Program
    dtype : dtype
    rows : SharedRows
        They hold the rows of all members.
    members : list of TrainedMember or PredictingMember
    """

    def __init__(self, device, program, dtype, rows, members):
        self._device, self._program, self.members = device, program, members
        self._family = program.tile.family
        self._units = device.handle.max_compute_units
        self._correction = CAUTION
        self.pool = Pool(device, dtype)
        for number, member in enumerate(members):
            member.number = number
            member.lay_out(self.pool, rows)
        self._table, self._costs = np.array([member.turn for member in members], TURN), {}
        self._rows = rows
        # One program may have the plan that all share as constants.
        plans = {member.plan.key: member.plan for member in members}
        self._plan = plans.popitem()[1] if len(plans) == 1 else None
        self._kernels = {}

    def begin(self):
        """Bring everything to the device."""
        self.pool.allocate(self._rows.buffer)

    def end(self):
        """Give back what others may use."""
        kernels = [(kernel, "resident", self._plan if is_own else None) for is_own, kernel in self._kernels.items()]
        self._program.give_back(kernels)
        self._kernels.clear()

    def take_steps(self, interrupts):
        """Let all members take the steps they have left, longest first, in launches of about ``PATIENCE`` seconds."""
        active = [member for member in self.members if member.steps_left]
        while active:
            if interrupts.pressed:
                raise KeyboardInterrupt
            groups = self._groups(active)
            for some, steps in self._slices(active, groups):
                self._launch(some, steps, groups)
            active = [member for member in active if member.steps_left]

    def _groups(self, active):
        """Return how many work-groups each member has."""
        if self._family == "cpu":
            return 1
        longest = max(active, key=lambda member: member.steps_left)
        return choose_groups(longest.plan, COSTS[self._family], max(1, self._units // len(active)))

    def _slices(self, active, groups):
        """Yield members with how many steps they take in one launch."""
        costs = {member: self._cost(member, groups) for member in active}
        ordered = sorted(active, key=lambda member: -costs[member] * member.steps_left)
        while ordered:
            some, total = [], 0.0
            while ordered and (not some or self._seconds(total + costs[ordered[0]], groups) <= PATIENCE):
                total += costs[ordered[0]]
                some.append(ordered.pop(0))
            expected = max(self._seconds(total, groups), self._correction * max(costs[member] for member in some))
            left = max(member.steps_left for member in some)
            yield some, min(max(1, int(PATIENCE / expected)), left, some[0].most_steps)

    def _seconds(self, cost, groups):
        """Return the seconds that a step of members with this sum of costs is expected to take."""
        return self._correction * cost * groups / self._units

    def _launch(self, members, steps, groups):
        """Let members take so many steps, or those they have left, and look which of them have stopped."""
        device, turns = self._device, self._turns(members, steps)
        cost = sum(self._cost(member, groups) * min(steps, member.steps_left) for member in members)
        kernel = self._kernel()
        started = time.perf_counter()
        table, tickets = device.buffer_of(turns), device.buffer_of(counters(len(turns), groups))
        for index, argument in enumerate((table, tickets, np.int32(len(turns)), np.int32(groups)), len(PLACES)):
            kernel.set_arg(index, argument)
        n_groups = len(turns) * groups if self._family == "gpu" else min(self._units, len(turns))
        Launcher(device, kernel, n_groups)(device.queue, 0)
        control = self.pool.read("control")
        elapsed = time.perf_counter() - started
        if parts := [part for member in members if (part := member.part_to_read()) is not None]:
            self.pool.read_parts("workspace", parts)
        for member in members:
            member.took(min(steps, member.steps_left), control)
        if self._plan is not None:
            self._program.trained(self._plan, elapsed)
        if not any(member.has_stopped for member in members):  # else steps were left out
            self._correction = elapsed / (cost * groups / self._units)

    def _kernel(self):
        """Return the kernel of a launch: that of a program of its own where the plan that all share has earned it."""
        if True in self._kernels:
            return self._kernels[True]
        is_own = self._plan is not None and self._program.specializes(self._plan)
        if is_own not in self._kernels:
            self._kernels[is_own] = kernel = self._program.borrow("resident", self._plan if is_own else None)
            for index, name in enumerate(PLACES):
                kernel.set_arg(index, self.pool.buffers[name])
        return self._kernels[is_own]

    def _turns(self, members, steps):
        """Return the table of turns; those of a CPU are short, so that all work-groups end at about the same time."""
        parts = 1
        if self._family == "cpu":
            parts = max(1, min(steps, -(-TURNS_PER_UNIT * self._units // len(members))))
        length, tables, last = -(-steps // parts), [], np.full(len(self.members), -1)
        numbers, epochs, taken, left = np.array([(m.number, m.epoch, m.taken, m.steps_left) for m in members]).T
        n_turns = 0
        for begin in range(0, steps, length):
            counts = np.minimum(length, np.minimum(steps, left) - begin)
            some = np.flatnonzero(counts > 0)
            turns = self._table[numbers[some]]
            turns["first_epoch"], turns["first_step"], turns["steps"] = epochs[some], taken[some] + begin, counts[some]
            turns["after"] = last[numbers[some]]
            last[numbers[some]] = n_turns + np.arange(len(some))
            n_turns += len(some)
            tables.append(turns)
        return np.concatenate(tables)

    def _cost(self, member, groups):
        """Return the seconds that a step of a member is expected to take so many work-groups."""
        key = member, groups
        if key not in self._costs:
            self._costs[key] = seconds_of_step(member.plan, COSTS[self._family], groups)
        return self._costs[key]
