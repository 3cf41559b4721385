"""The resident kernel of one plan, whose stages are constants of the program; and which plans are worth one.

Sizes, places and codes of stages are then known where the kernels are compiled: loops unroll, switches and divisions
vanish. The arithmetic stays, and so do the bits. Building takes seconds, so it is for plans that train for long.
"""

import math

# Fields of a Run that follow from a plan.
KNOWN_FIELDS = ("batch_size", "block_rows", "parameter_count")
# Seconds that building such a program takes on an H200 (3 to 9), and loading it from disk (0.004, or 1 where the driver
# keeps nothing).
BUILD_SECONDS, LOAD_SECONDS = 5.0, 0.1


def tables_of(plan):
    """Return the text that holds what is known of a plan, for functions that ``group.cl`` is read before."""
    rows = ",\n".join(f"    {{{', '.join(map(str, row))}}}" for row in plan.stages.tolist())
    known = "\n".join(f"    run.{name} = {getattr(plan, name)};" for name in KNOWN_FIELDS)
    return f"""
constant Stage STAGES[] = {{
{rows}
}};

static inline Run known_run(local const Run *runs) {{
    Run run = *runs;
{known}
    return run;
}}
"""


def phases_of(plan):
    """Return the text of the function that makes a tile of a phase, the one that begins with stage ``first``."""
    cases = [_case(plan, launch, "runs") for launch in plan.launches]
    cases += [_case(plan, launch, "runs + 1") for launch in plan.validation_launches]
    return f"""
static inline void run_stages(BUFFER_ARGUMENTS, local const Run *runs, int first, int tile, int number, int epoch_step,
                              local scalar *scratch) {{
    switch (first) {{
{"".join(cases)}    }}
}}
"""


def _case(plan, launch, runs):
    """Return the text that makes a tile of the phase of a launch."""
    lines, begin = [], 0
    for k in range(launch.first, launch.end):
        if launch.kernel == "rows":
            lines.append(f"rows_of_stage(step, STAGES + {k}, tile, scratch); SYNC;")
            continue
        end = begin + int(plan.stages["tiles"][k])
        lines.append(f"if (tile >= {begin} && tile < {end}) run_tile(step, STAGES + {k}, tile - {begin}, scratch);")
        begin = end
    body = "\n".join(f"        {line}" for line in lines)
    return f"""    case {launch.first}: {{
        const Run run = known_run({runs});
        const Step step[1] = {{make_step(BUFFERS, &run, number, epoch_step)}};
{body}
        break;
    }}
"""


class Earnings:
    """How long plans have run: for as long as its program takes to be had, and a plan has earned one.

    So no training is much more than twice as long as with the better choice, whatever follows.

    Parameters
    ----------
    is_kept : callable
        Says whether the program of a plan is on disk.
    """

    def __init__(self, is_kept):
        self._is_kept = is_kept
        self._seconds, self._kept = {}, {}

    def trained(self, plan, seconds):
        """Count seconds in which a plan has run."""
        self._seconds[plan.key] = self._seconds.get(plan.key, 0.0) + seconds

    def refuse(self, plan):
        """Let a plan never earn one: its program does not build."""
        self._seconds[plan.key], self._kept[plan.key] = -math.inf, False

    def suffice(self, plan):
        """Say whether a plan has earned a program."""
        key = plan.key
        seconds = self._seconds.get(key, 0.0)
        if LOAD_SECONDS <= seconds < BUILD_SECONDS and key not in self._kept:
            self._kept[key] = self._is_kept(plan)
        return seconds >= BUILD_SECONDS or self._kept.get(key, False)
