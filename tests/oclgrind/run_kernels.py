"""Train and predict with tiny awkward networks, so that every kernel of the package runs.

A script, so that it can run under Oclgrind, or on any other runtime for the results to compare with:

    python run_kernels.py results.npz --device pocl --dtype float64
    OCLGRIND_DATA_RACES=1 OCLGRIND_LOG=log.txt python run_kernels.py results.npz --device oclgrind --tiles gpu,cpu8

It writes the losses, weights and outputs of every case, the kernels that were launched, and the
kernels that the program has.
"""

import argparse
import contextlib
import functools
import math
import os
from dataclasses import replace

import numpy as np
import scipy.sparse

from skintricate import Model, layers, losses, optimizers
from skintricate.backend.context import Device, open_device
from skintricate.backend.launch import Launcher
from skintricate.kernels import GroupTile, Program, Tile, group_tile, specialized
from skintricate.layers import (
    ELU,
    GELU,
    Activation,
    AvgPool2D,
    BatchNorm,
    Columns,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Exponential,
    Flatten,
    GaussianNoise,
    GlobalAvgPool2D,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Scale,
    Sigmoid,
    SiLU,
    SoftMax,
    TanH,
)
from skintricate.optimizers import Adam, AdamW, CosineRate, Momentum, Nesterov, RMSprop
from skintricate.training import MinLossReached, lowering, on_device, resident, streamed, vocabulary
from skintricate.training.together import run_together


class SmallGroupTile(GroupTile):
    """The tile of a GPU for which small products are wide already."""

    narrow_weights, narrow_columns = 300, 4


# Of a GPU with two units, in groups small enough to be simulated; of CPUs with vectors of 4, 8 and 16 lanes, and panels
# of two vectors and of three.
TILES = {
    "gpu": SmallGroupTile(units=2, sizes=(16, 32), depth=16, local_size=128),
    "cpu4": Tile(4, 4, 3, "contracted"),
    "cpu8": Tile(8, 4, 2, "mad", parts=2),
    "cpu16": Tile(16, 8, 3, "contracted", parts=3),
}
# Rows of a part of a batch for which gradients are summed apart on a GPU: some batches of this page have several.
group_tile.LEAST_ROWS_OF_A_PART = 32
# A budget, in scalars, that holds the network of the case "streamed" and a few batches, not the data.
STREAMED_LIMIT = 3500


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--tiles", default="", help="comma-separated names; the device's own where empty")
    parser.add_argument("--unfused", action="store_true", help="a launch for every stage, even where weights are few")
    parser.add_argument("--staged", action="store_true", help="launches for every step, even where networks are small")
    parser.add_argument("--specialized", action="store_true", help="a GPU's networks have programs of their own")
    parser.add_argument("--groups", type=int, help="work-groups of a launch that trains whole epochs")
    parser.add_argument("--cases", default="", help="comma-separated names; all where empty")
    parser.add_argument("--plain", action="store_true", help="leave out layers that not every network has")
    parser.add_argument("--few", action="store_true", help="leave out a network for every activation, loss, optimizer")
    parser.add_argument("--fill", type=lambda text: int(text, 0), help="byte that new buffers are filled with")
    parser.add_argument("--whole-writes", action="store_true", help="write whole buffers only; see whole_writes")
    arguments = parser.parse_args()
    record = Record()
    if arguments.fill is not None:
        fill_buffers(arguments.fill)
    if arguments.whole_writes:
        whole_writes()
    if arguments.unfused:
        lowering.CACHED_WEIGHTS = -1
    resident.suits = lambda *_: not arguments.staged
    specialized.BUILD_SECONDS = specialized.LOAD_SECONDS = 0.0 if arguments.specialized else math.inf
    if arguments.groups:
        resident.choose_groups = lambda *_: arguments.groups
    together = () if arguments.staged else TOGETHER
    chosen = [name for name in arguments.cases.split(",") if name]
    chosen_cases = {n: c for n, c in cases(arguments.plain, arguments.few).items() if n in chosen or not chosen}
    tiles = [t for t in arguments.tiles.split(",") if t] or [None]
    for tile in tiles:
        if tile is not None:
            vocabulary.tile_of = lambda device, dtype, *_, tile=TILES[tile]: tile_for(tile, dtype)
            open_device(arguments.device)._made.clear()  # programs of the tile before
        run_cases(record, f"{tile or 'own'}/", arguments.device, arguments.dtype, chosen_cases, together)
    np.savez(
        arguments.results,
        launched_=sorted(record.launched),
        available_=sorted(record.available),
        trainers_=sorted(record.trainers),
        **record.arrays,
    )


def tile_for(tile, dtype):
    """Return the tile, for float64 with half as many lanes, and panels that its rows divide or half the depth."""
    if dtype == "float32":
        return tile
    width = tile.width // 2
    if tile.family == "gpu":
        return replace(tile, width=width, depth=tile.depth // 2)
    columns = tile.columns if tile.columns * width % tile.rows == 0 else 2
    return replace(tile, width=width, columns=columns)


class Record:
    """The arrays of every case, and which kernels, each of a family, and trainers made them."""

    def __init__(self):
        self.arrays, self.launched, self.available, self.trainers = {}, set(), set(), set()
        self.family = None  # of the program made last
        launch, init = Launcher.__call__, Program.__init__

        def recorded_launch(launcher, queue, number):
            self.launched.add(f"{self.family}/{launcher._kernel.function_name}")
            launch(launcher, queue, number)

        def recorded_init(made, device, *arguments):
            init(made, device, *arguments)
            self.family = made.tile.family
            for build in set(made.tile.builds) - {"large"}:  # instructions of NVIDIA's
                names = made.built(build).get_info(device.cl.program_info.KERNEL_NAMES)
                self.available.update(f"{self.family}/{name}" for name in names.split(";"))

        Launcher.__call__, Program.__init__ = recorded_launch, recorded_init
        for cls in (on_device.ResidentTrainer, streamed.StreamedTrainer):
            self._record_trainer(cls)

    def _record_trainer(self, cls):
        init = cls.__init__

        def recorded_init(self_, *args, **keywords):
            self.trainers.add(cls.__name__)
            init(self_, *args, **keywords)

        cls.__init__ = recorded_init


def fill_buffers(byte):
    """Fill every new buffer with a byte, so that results show whether they depend on what was there."""
    buffer = Device.buffer

    def filled(device, n_bytes):
        result = buffer(device, n_bytes)
        device.cl.enqueue_copy(device.queue, result, np.full(result.size, byte, np.uint8))
        return result

    Device.buffer = filled


def whole_writes():
    """Turn each write into one of the whole buffer.

    Oclgrind's check of uninitialised values forgets what it knows of a buffer at each write by the host, and
    keeps as many bytes as that write has. With whole writes it works for private memory; buffers
    are checked by ``fill_buffers``.
    """
    fill_buffers(0)
    write = Device.write

    def written(device, buffer, array, offset=0, **options):
        whole = np.empty(buffer.size, np.uint8)
        device.cl.enqueue_copy(device.queue, whole, buffer, is_blocking=True)
        whole[offset : offset + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        write(device, buffer, whole)

    Device.write = written
    # It takes what a queue fills for uninitialised.
    Device.zeros = lambda device, n_bytes: device.buffer_of(np.zeros(max(n_bytes, 16), np.uint8))


# Cases whose networks are trained, and predict, together with another one, too.
TOGETHER = ("dropout", "validated_classes")


def run_cases(record, prefix, device, dtype, cases_, together):
    """Train every case for a few steps and record what came out; some also ``together``."""
    for name, (network, X, y, options) in cases_.items():
        options = {"max_iter": 2, **options}
        with memory_limit(options.pop("memory_limit", None), np.dtype(dtype)):
            model = Model(network, device=device, dtype=dtype, random_state=3)
            history = model.fit(X, y, **options)
        record.arrays[f"{prefix}{name}/loss"] = np.concatenate([epoch.step_loss for epoch in history.epochs])
        record.arrays[f"{prefix}{name}/accuracy"] = np.concatenate([epoch.step_accuracy for epoch in history.epochs])
        for number, weights in enumerate(model.state.weights):
            record.arrays[f"{prefix}{name}/weights_{number}"] = weights
        record.arrays[f"{prefix}{name}/predicted"] = model.predict(X)
        record.arrays[f"{prefix}{name}/predicted_one"] = model.predict(X[:1])
        for number, outputs in enumerate(model.outputs(X[:3])):
            record.arrays[f"{prefix}{name}/outputs_{number}"] = np.asarray(outputs)
        if name in together:
            models = [Model(network, device=device, dtype=dtype, random_state=seed) for seed in (3, 4)]
            run_together([functools.partial(model.fit, X, y, **options) for model in models])
            predicted = run_together([functools.partial(model.predict, X) for model in models])
            record.arrays[f"{prefix}{name}/together"] = np.concatenate(predicted)


@contextlib.contextmanager
def memory_limit(scalars, dtype):
    """Set the memory limit, where there is one."""
    if scalars is not None:
        os.environ["SKINTRICATE_MEMORY_LIMIT"] = str(scalars * dtype.itemsize)
    try:
        yield
    finally:
        os.environ.pop("SKINTRICATE_MEMORY_LIMIT", None)


def cases(plain, few):
    """Return ``{name: (layers, X, y, options of fit)}``.

    Without those that have programs of their own if ``plain``, and those of one class each if ``few``.
    """
    random = np.random.default_rng(0)

    def real(n, columns):
        return random.normal(size=(n, columns)).round(3)

    codes = random.integers(0, 5, 17)
    codes[:5] = range(5)
    weights = random.uniform(0.1, 2, 17).round(3)
    weights[2] = 0
    classifier = [Dense(17), ReLU(), Dense(5), SoftMax()]
    X3, X7, X17, wide = real(17, 3), real(13, 7), real(17, 17), real(64, 61)
    result = {
        "one": ([Dense(1)], real(1, 1), real(1, 1), {"optimizer": "sgd"}),
        "three": ([Dense(3, use_bias=False), TanH(), Dense(1)], real(3, 1), real(3, 1), {"batch_size": 2}),
        "penalty": ([Dense(5), TanH(), Dense(2)], X3, real(17, 2), {"batch_size": 7, "alpha": 0.1}),
        "ordered": ([Dense(5), TanH(), Dense(2)], X3, real(17, 2), {"batch_size": 7, "shuffle": False}),
        "clipped": (
            [Dense(53), GELU(), Dense(29, use_bias=False), LeakyReLU(), Dense(3)],
            X7,
            real(13, 3),
            {"optimizer": Momentum(clip_norm=0.1), "loss": "huber", "batch_size": 5, "alpha": 0.1},
        ),
        "codes": (
            classifier,
            X17,
            codes,
            {"loss": "categorical_cross_entropy", "optimizer": RMSprop(), "batch_size": 5, "sample_weight": weights},
        ),
        "one_hot": (
            classifier,
            X17,
            np.eye(5)[codes],
            {"loss": "categorical_cross_entropy", "optimizer": Adam(CosineRate(0.01, 3)), "batch_size": 3},
        ),
        "unlinked": (
            [Dense(5), Sigmoid()],
            X17,
            codes,
            {"loss": "categorical_cross_entropy", "optimizer": "adagrad", "batch_size": 17},
        ),
        "dropout": (
            [Dropout(0.2), Dense(11), SiLU(), Dropout(0.4), Dense(7), Dropout(0.3), ELU(), Dense(1), Sigmoid()],
            X17,
            (codes > 2).astype(float),
            {"loss": "binary_cross_entropy", "optimizer": AdamW(clip_norm=0.5), "batch_size": 5},
        ),
        "softmax": (
            [SoftMax(), Dense(7), SoftMax(), Dense(3), TanH(), SoftMax(), Dense(2)],
            X7,
            real(13, 2),
            {"loss": "mean_absolute", "optimizer": Nesterov(), "batch_size": 4},
        ),
        "standalone": (
            [TanH(), GELU(), Dense(3), SiLU(), ELU(), GELU(), Dense(1), Exponential()],
            X7,
            random.poisson(2, (13, 1)).astype(float),
            {"loss": "poisson", "batch_size": 6, "sample_weight": weights[:13]},
        ),
        "streamed": (
            [Dense(1)],
            wide,
            real(64, 1),
            {
                "optimizer": "sgd",
                "batch_size": 4,
                "sample_weight": np.linspace(0, 1, 64),
                "memory_limit": STREAMED_LIMIT,
            },
        ),
        "early_stopping": (
            [Dense(2)],
            X3,
            real(17, 2),
            {"early_stopping": True, "validation_data": (X3, real(17, 2)), "n_iter_no_change": 1, "metrics": ["r2"]},
        ),
        "parts": ([Dense(9), TanH(), Dense(1)], real(101, 5), real(101, 1), {"batch_size": 100, "alpha": 0.1}),
        "parts_clipped": (
            [Dense(9), GELU(), Dense(3)],
            real(101, 5),
            real(101, 3),
            {"batch_size": 100, "optimizer": Momentum(clip_norm=0.1)},
        ),
        "validated_classes": (
            [Dense(5), Dropout(0.3), ReLU(), Dense(5), SoftMax()],
            X17,
            codes,
            {
                "loss": "categorical_cross_entropy",
                "early_stopping": True,
                "validation_data": (X17, codes),
                "batch_size": 5,
                "sample_weight": weights,
            },
        ),
        "halted": ([Dense(2)], X3, real(17, 2), {"halting_condition": MinLossReached(100.0), "max_iter": 5}),
        "no_change": ([Dense(2)], X3, real(17, 2), {"n_iter_no_change": 1, "tol": 10.0, "max_iter": 9}),
        "sparse": ([Dense(3)], scipy.sparse.csr_matrix(X7 * (X7 > 0)), real(13, 3), {"batch_size": 7}),
    }
    of_classes, shaped = cases_of_classes(random, real), shaped_cases(random, real)  # drawn in any case
    return result | ({} if few else of_classes) | ({} if plain else shaped)


def cases_of_classes(random, real):
    """Return a case for each activation, loss and optimizer."""
    result, X, positive = {}, real(5, 2), random.poisson(2, (5, 2)) + 1.0
    for activation in dict.fromkeys(c for c in layers.BY_NAME.values() if issubclass(c, Activation)):
        result[activation.__name__] = ([Dense(3), activation(), activation(), Dense(2)], X, real(5, 2), {"max_iter": 1})
    for loss in dict.fromkeys(losses.BY_NAME.values()):
        result[loss.__name__] = ([Dense(2), Exponential()], X, positive, {"loss": loss(), "max_iter": 1})
    for optimizer in dict.fromkeys(optimizers.BY_NAME.values()):
        result[optimizer.__name__] = ([Dense(2)], X, positive, {"optimizer": optimizer()})
    return result


def shaped_cases(random, real):
    """Return the cases of layers that not every network has."""
    images = [
        *[Reshape((4, 3, 1)), Conv2D(3, 2), ReLU(), MaxPool2D(2, 1), Conv2D(5, 2, padding="same"), TanH()],
        *[AvgPool2D(2, 1, "same"), Conv2D(5, 1, groups=5), GlobalAvgPool2D(), Dense(2)],
    ]
    normalised = [
        *[
            Reshape((4, 3, 1)),
            Conv2D(3, 2, stride=2),
            BatchNorm(),
            ReLU(),
            MaxPool2D((1, 2), padding="same"),
            LayerNorm(),
        ],
        *[Concatenate([[Conv2D(2, 1)], []]), Dense(2)],
    ]
    table = [
        Concatenate([[Columns(0, 2), Embedding([3, 4], 5), Flatten()], [Columns(2), GaussianNoise()]]),
        *[Scale(), Dense(4), TanH(), Residual([Dense(4)]), Dense(2)],
    ]
    X = np.concatenate([random.integers(0, 3, (5, 2)), real(5, 2)], axis=1)
    entries = scipy.sparse.random_array((13, 40), density=0.08, format="csr", rng=random)
    return {
        "images": (images, real(5, 12), real(5, 2), {"batch_size": 3, "alpha": 0.1, "max_iter": 1}),
        "normalised": (normalised, real(5, 12), real(5, 2), {"batch_size": 3, "max_iter": 1, "optimizer": "sgd"}),
        "table": (table, X, real(5, 2), {"batch_size": 3, "max_iter": 1}),
        "entries": ([Dense(3), GELU(), Dense(2)], entries, real(13, 2), {"batch_size": 7, "optimizer": "sgd"}),
    }


if __name__ == "__main__":
    main()
