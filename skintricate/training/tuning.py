"""Find the sizes of a device's tiles by trying them on networks, small and large."""

import math
import statistics
import time
from dataclasses import dataclass, replace

import numpy as np

from skintricate.kernels import Program
from skintricate.kernels.tile import TUNABLE, default_tile, keep_sizes
from skintricate.layers import Dense, ReLU, SoftMax
from skintricate.losses import CategoricalCrossEntropy
from skintricate.optimizers import Adam
from skintricate.training.data import Data
from skintricate.training.fit import FitOptions
from skintricate.training.network import infer_shapes
from skintricate.training.on_device import ResidentTrainer
from skintricate.training.planning import lower_training
from skintricate.training.state import NetworkState
from skintricate.training.vocabulary import built_in

# Steps of an epoch of the trials, and seconds that one of them takes at least.
EPOCH_STEPS, TRIAL = 4, 0.1
# What another size must gain to be taken.
LEAST_GAIN = 0.03


@dataclass(frozen=True)
class Trial:
    """A network on which sizes are tried.

    Parameters
    ----------
    units : tuple of int
        From the features to the classes.
    batch_size : int
    """

    units: tuple
    batch_size: int

    def __str__(self):
        return f"{'-'.join(map(str, self.units))} @{self.batch_size}"

    def trainer(self, device, dtype, tile):
        """Return a trainer that trains on made-up classes, its program being built."""
        network = [layer for units in self.units[1:] for layer in (Dense(units), ReLU())]
        network[-1] = SoftMax()
        generator = np.random.default_rng(0)
        n_samples = EPOCH_STEPS * self.batch_size
        X = generator.normal(size=(n_samples, self.units[0])).astype(dtype)
        data = Data(X, generator.integers(self.units[-1], size=(n_samples, 1)).astype(dtype), class_codes=True)
        options = FitOptions(
            CategoricalCrossEntropy(), Adam(1e-9), batch_size=self.batch_size, max_iter=1000, n_iter_no_change=None
        )
        state = NetworkState.initial(network, infer_shapes(network, self.units[0]), 0, dtype)
        # All tiles are compared in programs of the same kind.
        program = Program(device, dtype, built_in(), tile, specializes_plans=False)
        plan = lower_training(network, data, program, options, None)
        return ResidentTrainer(device, dtype, program, plan, state, data, options, None)


TRIALS = (
    Trial((20, 100, 2), 200),
    Trial((64, 100, 10), 200),
    Trial((784, 512, 10), 256),
    Trial((784, 512, 512, 10), 1024),
)


def tune(device, dtype="float32", trials=None, rounds=3, report=print):
    """Find the fastest sizes of a device's tiles and keep them in the cache folder, for every later process.

    One size after the other is varied, the others being the best so far. Sizes that are hardly faster than the
    package's own are not taken. Results of later fits may differ in their rounding.

    Parameters
    ----------
    device : Device
    dtype : {"float32", "float64"}, default="float32"
    trials : sequence of Trial, default=None
        None is ``TRIALS``.
    rounds : int, default=3
        How often each is timed, in turns; the median counts.
    report : callable
        Takes lines of text.

    Returns
    -------
    sizes : dict
        What was kept, by the names of the tile's fields; empty where the package's own are the fastest.
    """
    default = best = default_tile(device, dtype)
    reference, trials = None, TRIALS if trials is None else trials
    for name, values in TUNABLE[default.family].items():
        tiles = {getattr(best, name): best}
        for value in values:
            try:
                tiles.setdefault(value, replace(best, **{name: value}))
            except ValueError:
                continue  # sizes that do not go together
        medians = _medians(device, dtype, list(tiles.values()), trials, rounds)
        reference = reference or medians[0]
        scores = [statistics.geometric_mean([a / b for a, b in zip(some, reference)]) for some in medians]
        for value, some, score in zip(tiles, medians, scores):
            steps = ", ".join(f"{trial} {seconds * 1e6:.1f}" for trial, seconds in zip(trials, some))
            report(f"{name}={value}: {score:.3f} of the time ({steps} us a step)")
        fastest = min(range(len(scores)), key=scores.__getitem__)
        if scores[fastest] < (1 - LEAST_GAIN) * scores[0]:
            best = list(tiles.values())[fastest]
    sizes = {
        name: getattr(best, name) for name in TUNABLE[default.family] if getattr(best, name) != getattr(default, name)
    }
    keep_sizes(device, dtype, sizes)
    return sizes


def _medians(device, dtype, tiles, trials, rounds):
    """Return the seconds of a step for each tile, those of all trials; tiles take turns."""
    medians = []
    for trial in trials:
        trainers = [trial.trainer(device, dtype, tile) for tile in tiles]
        for trainer in trainers:
            _seconds_of_step(trainer)  # finds out how many epochs a launch may have
        seconds = [[_seconds_of_step(trainer) for trainer in trainers] for _ in range(rounds)]
        medians.append([statistics.median(some) for some in zip(*seconds)])
    return list(zip(*medians))


def _seconds_of_step(trainer):
    """Return the seconds of a step over at least the time of a trial."""
    steps, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < TRIAL or not steps:
        results, _ = trainer.run(math.inf)
        steps += len(results.loss) * EPOCH_STEPS
    return elapsed / steps
