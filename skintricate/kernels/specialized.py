"""The resident kernel of one plan, whose stages are constants of the program; and which plans are worth one.

Sizes, places and codes of stages are then known where the kernels are compiled: loops unroll, switches and divisions
vanish. The arithmetic stays, and so do the bits. Building takes seconds, so it is for plans that train for long.
"""

import numpy as np

from skintricate.kernels.stage import STAGE_KINDS

# Fields of a Run that follow from a plan.
KNOWN_FIELDS = ("batch_size", "block_rows", "parameter_count")
# Seconds that building such a program takes on an H200 (3 to 9), and loading it from disk (0.004, or 1 where the driver
# keeps nothing).
BUILD_SECONDS, LOAD_SECONDS = 5.0, 0.1


def definitions_of(plan):
    """Return the macros that ``gpu/specialized.cl`` needs of a plan."""
    rows = [f"{{{', '.join(map(str, row))}}}" for row in plan.stages.tolist()]
    known = [f"run.{name} = {getattr(plan, name)}" for name in KNOWN_FIELDS]
    phases = [_phase(plan, launch, "runs") for launch in plan.launches]
    phases += [_phase(plan, launch, "runs + 1") for launch in plan.validation_launches]
    macros = {"STAGES_OF_PLAN": ", ".join(rows), "KNOWN_OF_RUN": "; ".join(known), "PHASES_OF_PLAN": " ".join(phases)}
    return "\n".join(f"#define {name} {text}" for name, text in macros.items())


def _phase(plan, launch, runs):
    """Return the case of the phase of a launch."""
    numbers, stages = range(launch.first, launch.end), plan.stages[launch.first : launch.end]
    if launch.kernel == "rows":
        return f"PHASE({launch.first}, {runs}, {' '.join(f'BLOCK_OF({k})' for k in numbers)})"
    ends = np.cumsum(stages["tiles"])
    tiles = " ".join(f"TILES_OF({k}, {end - n}, {end})" for k, n, end in zip(numbers, stages["tiles"], ends))
    if all(STAGE_KINDS[stage["kind"]] == "dense_backward_weights" and not stage["size"] for stage in stages):
        return f"PHASE_OF_FEW({launch.first}, {ends[-1]}, {runs}, {tiles})"
    return f"PHASE({launch.first}, {runs}, {tiles})"


class Earnings:
    """How long plans have run: for as long as its program takes to be had, and a plan has earned one.

    So what is built in vain takes no longer, roughly, than the training before it.

    Parameters
    ----------
    is_kept : callable
        Says whether the program of a plan is on disk.
    """

    def __init__(self, is_kept):
        self._is_kept = is_kept
        self._seconds, self._kept, self._refused = {}, {}, set()

    def trained(self, plan, seconds):
        """Count seconds in which a plan has run."""
        self._seconds[plan.key] = self._seconds.get(plan.key, 0.0) + seconds

    def refuse(self, plan):
        """Let a plan never earn one: its program does not build."""
        self._refused.add(plan.key)

    def suffice(self, plan):
        """Say whether a plan has earned a program."""
        key = plan.key
        if key in self._refused:
            return False
        seconds = self._seconds.get(key, 0.0)
        if LOAD_SECONDS <= seconds < BUILD_SECONDS and key not in self._kept:
            self._kept[key] = self._is_kept(plan)
        return seconds >= BUILD_SECONDS or self._kept.get(key, False)
