"""Where the time of one training step goes, stage by stage and phase by phase.

    python benchmarks/stages.py                                # 784-512-10, batch 256
    python benchmarks/stages.py --sizes 64,100,10 --batch 200 --device pocl
    python benchmarks/stages.py --staged                       # a launch for every stage or several

Inside one long launch (the resident schedule) each stage is repeated by itself, by one work-group; then the phases are
added one after the other, by all. What a phase adds beyond its share of the stages is waiting and data that travels
between cores. --staged times launches instead: each ten times in a row, then the whole step. The best of many repeats
counts. GFLOP/s are of the dense products alone, padding left out.
"""

import argparse
import time

import numpy as np
from report import processor, table

from skintricate.backend import open_device
from skintricate.kernels import PHASE, PHASE_KINDS
from skintricate.kernels.stage import PRODUCTS, STAGE_KINDS
from skintricate.layers import Dense, ReLU, SoftMax
from skintricate.losses import CategoricalCrossEntropy
from skintricate.optimizers import Adam
from skintricate.training import FitOptions, NetworkState, infer_shapes, resident
from skintricate.training.data import Data
from skintricate.training.planning import make_trainer

EPOCH_STEPS = 8
# Seconds of one timed launch.
LAUNCH = 0.02


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="784,512,10")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--precision", default="highest", help="of large products on a GPU")
    parser.add_argument("--staged", action="store_true", help="time the launches of the staged schedule")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    device = open_device(arguments.device)
    print(f"{'-'.join(map(str, sizes))}, batch {arguments.batch}, {arguments.dtype}, Adam on {device.info}")
    print(f"{processor()}\n")
    if arguments.staged or not device.is_cpu:
        resident.suits = lambda *_: False
        print(staged(device, sizes, arguments))
    else:
        print(stages(device, sizes, arguments))
        print()
        print(phases(device, sizes, arguments))


def open_trainer(device, dtype, sizes, batch, precision):
    """Return the trainer of a ReLU network on made-up classes."""
    network = []
    for units in sizes[1:]:
        network += [Dense(units), ReLU()]
    network[-1] = SoftMax()
    generator = np.random.default_rng(0)
    X = generator.normal(size=(EPOCH_STEPS * batch, sizes[0])).astype(dtype)
    y = generator.integers(sizes[-1], size=(EPOCH_STEPS * batch, 1)).astype(dtype)
    state = NetworkState.initial(network, infer_shapes(network, sizes[0]), 0, dtype)
    choices = {"batch_size": batch, "max_iter": 2000, "n_iter_no_change": None, "precision": precision}
    options = FitOptions(CategoricalCrossEntropy(), Adam(1e-9), **choices)
    trainer = make_trainer(device, dtype, network, state, Data(X, y, class_codes=True), options)
    trainer.run(trainer.epochs_at_once)  # sets the order of the samples and the optimizer's scalars
    return trainer


class Laboratory:
    """Runs phases of one's choice, over and over, inside one launch of a fixed number of work-groups."""

    def __init__(self, device, sizes, arguments, groups=None):
        choose = resident.choose_groups
        resident.choose_groups = choose if groups is None else lambda *_: groups
        self._device, self._repeats = device, arguments.repeats
        self.trainer = open_trainer(device, arguments.dtype, sizes, arguments.batch, arguments.precision)
        resident.choose_groups = choose
        self.plan, schedule = self.trainer._plan, self.trainer._schedule
        self._schedule, self._launch = schedule, schedule._launch
        table_, turn, self._tickets = schedule._buffers
        self.phases = np.empty(table_.size // PHASE.itemsize, PHASE)
        device.read(self.phases.view(np.uint8), table_)
        self._turn, self._turns = schedule._turn, turn
        self.step_phases = self.phases[1:-1]  # the order of the samples before, the end of the epoch after

    def seconds(self, phases):
        """Return the seconds of a step that is made of these phases, the best of several launches."""
        table_ = self._device.buffer_of(np.ascontiguousarray(phases))
        kernel = self._launch._kernel
        kernel.set_arg(kernel.num_args - 5, table_)
        self._turn["step_begin"], self._turn["first_step"] = 0, 0
        self._turn["epoch_end"] = self._turn["phase_count"] = len(phases)
        steps, best = 1, np.inf
        for _ in range(self._repeats + 8):
            self._turn["steps"] = steps
            self._device.write(self._turns, self._turn)
            self._device.write(self._tickets, self._schedule._counters)
            self._device.queue.finish()
            started = time.perf_counter()
            self._launch(self._device.queue, 0)
            self._device.queue.finish()
            elapsed = time.perf_counter() - started
            if elapsed < LAUNCH / 2:
                steps = min(steps * 4, EPOCH_STEPS * 1000)
            else:
                best = min(best, elapsed / steps)
        return min(best, elapsed / steps)


def stages(device, sizes, arguments):
    """Return a table of the stages, each alone on one work-group."""
    lab = Laboratory(device, sizes, arguments, groups=1)
    rows, total = [], 0.0
    for number, stage in enumerate(lab.plan.stages):
        phase = np.array([(PHASE_KINDS.index("tiles"), number, number + 1, stage["tiles"], stage["tiles"], -1)], PHASE)
        seconds = lab.seconds(phase)
        total += seconds
        rows.append([describe(stage), str(stage["tiles"]), f"{seconds * 1e6:.2f}", rate(stage, arguments, seconds)])
    rows.append(["their sum", "", f"{total * 1e6:.2f}", ""])
    return table(["stage, on one core", "tiles", "us", "GFLOP/s"], rows)


def phases(device, sizes, arguments):
    """Return a table of the phases of a step, added one after the other, on all cores."""
    lab = Laboratory(device, sizes, arguments)
    rows, before = [], 0.0
    for end in range(1, len(lab.step_phases) + 1):
        seconds = lab.seconds(lab.step_phases[:end])
        phase = lab.step_phases[end - 1]
        parts = lab.plan.stages[phase["first"] : phase["end"]]
        names = " ".join(dict.fromkeys(describe(stage) for stage in parts))
        rows.append([PHASE_KINDS[phase["kind"]], names, f"{(seconds - before) * 1e6:.2f}"])
        before = seconds
    operations = sum(operations_of(stage, arguments.batch) for stage in lab.plan.stages)
    rows.append(["the whole step", f"{operations / before / 1e9:.0f} GFLOP/s", f"{before * 1e6:.2f}"])
    groups = lab._launch._global[0]
    return table([f"phase, {groups} work-groups", "stages", "us more"], rows)


def staged(device, sizes, arguments):
    """Return a table of the launches of the staged schedule."""
    trainer = open_trainer(device, arguments.dtype, sizes, arguments.batch, arguments.precision)
    plan, launchers = trainer._plan, trainer._arena.step_launchers()
    rows = []
    for launch, launcher in zip(plan.launches, launchers):
        seconds = timed(device, [launcher], arguments.repeats)
        parts = plan.stages[launch.first : launch.end]
        names = " ".join(dict.fromkeys(map(describe, parts)))
        flops = sum(operations_of(stage, arguments.batch) for stage in parts)
        speed = f"{flops / seconds / 1e9:.0f}" if flops else ""
        rows.append([launch.kernel, names, str(launch.tiles), f"{seconds * 1e6:.1f}", speed])
    step = timed(device, launchers, arguments.repeats)
    total = sum(operations_of(stage, arguments.batch) for stage in plan.stages)
    rows.append(["the whole step", "", "", f"{step * 1e6:.1f}", f"{total / step / 1e9:.0f}"])
    return table(["launch", "stages", "tiles", "us", "GFLOP/s"], rows)


def timed(device, launchers, repeats):
    """Return the seconds of queueing these launchers once, the best average of a burst of ten."""
    best = np.inf
    for _ in range(repeats):
        device.queue.finish()
        started = time.perf_counter()
        for number in range(10):
            for launch in launchers:
                launch(device.queue, number % EPOCH_STEPS)
        device.queue.finish()
        best = min(best, (time.perf_counter() - started) / 10)
    return best


def describe(stage):
    """Return the name of a stage with its sizes."""
    name = STAGE_KINDS[stage["kind"]]
    return f"{name}[{stage['inputs']}x{stage['outputs']}]" if name in PRODUCTS else name


def rate(stage, arguments, seconds):
    """Return the GFLOP/s of a stage as text, empty where it multiplies no matrices."""
    operations = operations_of(stage, arguments.batch)
    return f"{operations / seconds / 1e9:.0f}" if operations else ""


def operations_of(stage, batch):
    """Return the operations of a stage's product."""
    name = STAGE_KINDS[stage["kind"]]
    if name not in PRODUCTS:
        return 0
    rows = int(stage["rows_end"] - stage["rows_begin"]) if name == "dense_backward_weights" else batch
    return 2 * rows * int(stage["inputs"]) * int(stage["outputs"])


if __name__ == "__main__":
    main()
