"""Where the time of one training step goes, launch by launch.

    python benchmarks/stages.py                                # 784-512-10, batch 256
    python benchmarks/stages.py --sizes 64,100,10 --batch 200 --device pocl
    python benchmarks/stages.py --unfused                      # a launch for every stage

Every launch is queued ten times in a row, then the whole step, and the best of many such bursts counts; what the
step takes beyond the sum of its launches is waiting and cold caches. GFLOP/s are of the dense products alone.
"""

import argparse
import time

import numpy as np
from report import processor, table

from skintricate.backend import open_device
from skintricate.kernels.stage import ROW_KERNELS
from skintricate.layers import Dense, ReLU, SoftMax
from skintricate.losses import CategoricalCrossEntropy
from skintricate.optimizers import Adam
from skintricate.training import FitOptions, NetworkState, infer_shapes, lowering
from skintricate.training.data import Data
from skintricate.training.trainer import make_trainer

PRODUCTS = ("dense_forward", "dense_backward_input", "dense_backward_weights")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="784,512,10")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--bursts", type=int, default=50)
    parser.add_argument("--unfused", action="store_true", help="a launch for every stage, even where weights are few")
    arguments = parser.parse_args()
    if arguments.unfused:
        lowering.CACHED_WEIGHTS = -1
    sizes = [int(size) for size in arguments.sizes.split(",")]
    device = open_device(arguments.device)
    trainer = open_trainer(device, arguments.dtype, sizes, arguments.batch)
    plan, launchers = trainer._plan, trainer._arena.step_launchers()

    rows = []
    for launch, launcher in zip(plan.launches, launchers):
        seconds = timed(device, [launcher], arguments.bursts)
        stages = plan.stages[launch.first : launch.end]
        flops = sum(flops_of(stage, launch.kernel, arguments.batch) for stage in stages)
        names = " ".join(describe(stage, launch.kernel) for stage in stages)
        rate = f"{flops / seconds / 1e9:.0f}" if flops else ""
        rows.append([launch.kernel, names, str(launch.tiles), f"{seconds * 1e6:.1f}", rate])
    step = timed(device, launchers, arguments.bursts)
    total = sum(
        flops_of(stage, launch.kernel, arguments.batch)
        for launch in plan.launches
        for stage in plan.stages[launch.first : launch.end]
    )
    rows.append(["the whole step", "", "", f"{step * 1e6:.1f}", f"{total / step / 1e9:.0f}"])
    print(f"{'-'.join(map(str, sizes))}, batch {arguments.batch}, {arguments.dtype}, Adam on {device.info}")
    print(f"{processor()}\n")
    print(table(["launch", "stages", "tiles", "us", "GFLOP/s"], rows))


def open_trainer(device, dtype, sizes, batch):
    """Return the trainer of a ReLU network on made-up classes."""
    network = []
    for units in sizes[1:]:
        network += [Dense(units), ReLU()]
    network[-1] = SoftMax()
    generator = np.random.default_rng(0)
    X = generator.normal(size=(4 * batch, sizes[0])).astype(dtype)
    y = generator.integers(sizes[-1], size=(4 * batch, 1)).astype(dtype)
    state = NetworkState.initial(network, infer_shapes(network, sizes[0]), 0, dtype)
    options = FitOptions(CategoricalCrossEntropy(), Adam(), batch_size=batch, max_iter=1000, n_iter_no_change=None)
    trainer = make_trainer(device, dtype, network, state, Data(X, y, class_codes=True), options)
    trainer.run(1)  # sets the order of the samples and the optimizer's scalars
    return trainer


def timed(device, launchers, bursts):
    """Return the seconds of queueing these launchers once, the best average of a burst of ten."""
    best = np.inf
    for _ in range(bursts):
        device.queue.finish()
        started = time.perf_counter()
        for number in range(10):
            for launch in launchers:
                launch(device.queue, number % 4)
        device.queue.finish()
        best = min(best, (time.perf_counter() - started) / 10)
    return best


def describe(stage, kernel):
    """Return the name of a stage with its sizes."""
    name = kernel_of(stage, kernel)
    return f"{name}[{stage['inputs']}x{stage['outputs']}]" if name in PRODUCTS else name


def flops_of(stage, kernel, batch):
    """Return the operations of a stage's product."""
    if kernel_of(stage, kernel) not in PRODUCTS:
        return 0
    return 2 * batch * int(stage["inputs"]) * int(stage["outputs"])


def kernel_of(stage, kernel):
    """Return the kernel that does a stage, alone or inside ``rows``."""
    return ROW_KERNELS[stage["kind"]] if kernel == "rows" else kernel


if __name__ == "__main__":
    main()
