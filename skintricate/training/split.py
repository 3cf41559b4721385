"""One network trained by several equal devices, each of which takes a part of every batch.

Every device has the whole data, makes the order of each epoch by itself and takes its rows of it. It sums the gradients
of its rows; the devices bring these sums to each other, and each adds them in the same order and makes the same update.
So the weights are bitwise the same everywhere, and those of one device up to the rounding of the sums.
"""

import itertools

import numpy as np

from skintricate.backend.exchange import Exchange, Piece
from skintricate.backend.staging import finish
from skintricate.kernels import shuffle_side
from skintricate.kernels.stage import OF_WARPS, OPTIONAL_ROW_STAGES, ROW_KERNELS, STAGE_KINDS
from skintricate.training.contents import Results
from skintricate.training.interrupts import Interrupts
from skintricate.training.plan import Share
from skintricate.training.trainer import Improvement, Trainer

# What a network may consist of: stages of rows that know nothing of each other, and products of them.
SPLIT_STAGES = {
    *ROW_KERNELS,
    *OPTIONAL_ROW_STAGES["shapes"],
    *("dense_backward_weights", "dense_add_parts", "clip_factor", "dense_update", "pack_operands"),
}
# Launches in which the last large product of a step is made, so that its first sums are on their way meanwhile, and
# tiles that each of them needs for each compute unit.
MOST_PIECES, TILES_OF_A_UNIT = 4, 2
EVERY_ROW = 2**31
# Seconds that an operation takes, that a byte of the sums is on its way, and that a step costs; on NVIDIA H200s.
SECONDS_OF_OPERATION = {"highest": 1.2e-14, "high": 4.5e-15, "medium": 4.5e-15}
SECONDS_OF_BYTE, SECONDS_OF_STEP = 4.1e-11, 8e-4


def can_be_split(plan):
    """Say whether several devices can share a network: rows of a batch meet nowhere but in gradients of weights."""
    return {STAGE_KINDS[kind] for kind in plan.stages["kind"]} <= SPLIT_STAGES


def pays(plan, precision, itemsize, n_devices):
    """Say whether a step is faster where several devices share it."""
    alone = plan.operations * SECONDS_OF_OPERATION[precision]
    on_the_way = plan.parameter_count * itemsize * (n_devices - 1) * SECONDS_OF_BYTE
    # Sums are on their way while others are made.
    return plan.is_large and alone > max(alone / n_devices, on_the_way) + SECONDS_OF_STEP


class SplitTrainer:
    """Trains on several devices; the host decides after every epoch.

    Parameters
    ----------
    devices : list of Device
    dtype : {"float32", "float64"}
    programs, plans : lists of Program and of Plan
        Those of each device, alike but for its share.
    state : NetworkState
    data : Data
    options : FitOptions

    The attributes are those of ``Trainer``.
    """

    validation, halts, waits_each_epoch = None, False, True

    def __init__(self, devices, dtype, programs, plans, state, data, options):
        shares = [Share(number, len(devices)) for number in range(len(devices))]
        batch_size = options.batch_rows(data)
        self._steps = -(-len(data) // batch_size)
        self._parts = [
            _Part(*each, dtype, state, data, options, self._steps, batch_size)
            for each in zip(devices, programs, plans, shares)
        ]
        finish([future for part in self._parts for future in part.begin_all_rows()])
        first = self._parts[0]
        self.device, self.dtype, self.started = first.device, first.dtype, first.started
        self._schedule = _Schedule([part.arena for part in self._parts])
        self._state, self._data, self._batch_size = state, data, batch_size
        self._improvement = Improvement(options)
        self.epochs_at_once, self.interrupts = 1, Interrupts()

    @property
    def parameters(self):
        """The buffer of the first device whose first part holds the weights."""
        return self._parts[0].parameters

    def keep_best(self):
        """Remember the weights as they are now."""
        self._parts[0].keep_best()

    def read_state(self, best=False):
        """Bring weights and optimizer states to the host, and return the state."""
        return self._parts[0].read_state(best)

    def run(self, epochs):
        """Train one epoch; see ``ResidentTrainer.run``."""
        state = self._state
        for part in self._parts:
            part.begin_epoch()
        try:
            for step in range(self._steps):
                if step and self.interrupts.pressed:
                    raise KeyboardInterrupt
                self._schedule.take_step(step)
                state.step += 1
        finally:
            self._schedule.wait()
        state.epoch += 1
        results = self._results([part.read_losses() for part in self._parts])
        return results, self._improvement.judge(results.loss[0])

    def _results(self, losses):
        """Return the results of an epoch from the partial losses of each device, of shape (steps, 1 + partials)."""
        n_penalty = losses[0].shape[1] - 1 - self._parts[0].n_losses
        # Every device has the whole penalty, that of the weights.
        tables = [losses[0][:, 1:], *(part[:, 1 : part.shape[1] - n_penalty] for part in losses[1:])]
        loss, correct = (sum(table[:, k::2].sum(1, dtype=np.float64) for table in tables) for k in (0, 1))
        n_rows = np.minimum(self._batch_size, len(self._data) - self._batch_size * np.arange(self._steps))
        weight = n_rows if self._data.sample_weight is None else losses[0][:, 0].astype(np.float64)
        total, some = weight.sum(), np.maximum(weight, np.finfo(self.dtype).tiny)
        numbers = loss.sum() / total, correct.sum() / total
        step_loss, step_accuracy = (np.where(weight > 0, sums / some, 0) for sums in (loss, correct))
        arrays = [[numbers[0]], [numbers[1]], [step_loss], [step_accuracy], [np.nan]]
        return Results(*(np.array(array, self.dtype) for array in arrays))


class _Part(Trainer):
    """What one of the devices has and does."""

    def __init__(self, device, program, plan, share, dtype, state, data, options, steps, batch_size):
        super().__init__(device, dtype, program, plan, state, data, options, len(data), steps)
        self._more_fields = {"step_rows": batch_size, "share_begin": share.number * plan.batch_size}
        shuffles, arena = self._contents.shuffles, self._arena
        self._write_run(len(data), steps, shuffles)
        self._begin = []
        if shuffles:
            tiles = program.tile.order_tiles(len(data), shuffle_side(len(data)))
            self._begin.append(arena.launcher("order_samples", tiles))
        if self._contents.weighted[0]:
            self._begin.append(arena.launcher("weigh_steps", steps))

    @property
    def arena(self):
        """What its stages read and write."""
        return self._arena

    @property
    def n_losses(self):
        """Columns of the partial losses that are sums over rows; those of penalties follow."""
        return 2 * self._plan.blocks

    def begin_all_rows(self):
        """Begin to bring the whole data to the device."""
        return self._begin_rows(self._data, None)

    def begin_epoch(self):
        """Queue what comes before an epoch's first step."""
        state = self._state
        self._write_scalars(self._steps, state.epoch, self._steps)
        self._arena.write_run_number(state.step)
        for launch in self._begin:
            launch(self.device.queue, state.epoch)

    def read_losses(self):
        """Return the partial losses of an epoch, of shape (steps, 1 + partials)."""
        losses = np.empty((self._steps, 1 + self._plan.partials), self.dtype)
        return self.device.read(losses, self._arena.losses)


class _Schedule:
    """Takes steps on several devices at once: launches for every stage, and the exchange of the sums between them."""

    def __init__(self, arenas):
        self._devices, self._arenas = [arena.device for arena in arenas], arenas
        self._turn, self._sent = 0, 0
        launches = arenas[0].plan.launches
        sizes = arenas[0].plan.stages["size"]
        large = [
            number
            for number, launch in enumerate(launches)
            if launch.kernel == "tensor_weights" and sizes[launch.first] != OF_WARPS
        ]
        # (a launcher for each device, the pieces they make, where the sums lie that they add up)
        self._launches = []
        for number, launch in enumerate(launches):
            tiles = TILES_OF_A_UNIT * self._devices[0].handle.max_compute_units
            pieces = max(1, min(MOST_PIECES, launch.tiles // tiles)) if large[-1:] == [number] else 1
            self._launches += self._cut(number, launch, pieces)
        self._exchange = Exchange(self._devices, [arena.workspace for arena in arenas], max(self._sent, 1))

    def take_step(self, number):
        """Queue the step of this number on all devices; wait where the host has to hand something over."""
        begun = {}
        for launchers, pieces, source in self._launches:
            arrived = [[] for _ in self._devices]
            for one in begun.pop(source, ()):
                for events, more in zip(arrived, self._exchange.finish(one)):
                    events += more
            made = []
            for device, launch, events in zip(self._devices, launchers, arrived):
                made.append(launch(device.queue, number, events or None))
                device.queue.flush()
            for place, piece in pieces:
                begun.setdefault(place, []).append(self._exchange.begin(self._turn, piece, made))
        self._turn += 1

    def wait(self):
        """Wait for whatever is under way."""
        self._exchange.wait()
        for device in self._devices:
            device.finish()

    def _cut(self, number, launch, n_slices):
        """Return one or more entries of the launches, for slices of the tiles."""
        plan, size = self._arenas[0].plan, self._arenas[0].dtype.itemsize
        stages = plan.stages[launch.first : launch.end]
        kind = STAGE_KINDS[stages["kind"][0]]
        source = int(stages["source"][0]) if kind == "dense_add_parts" else None
        entries = []
        for tiles, rows in _slices(launch, stages[0], n_slices):
            pieces = []
            for stage in stages if kind == "dense_backward_weights" else ():
                target, stride = int(stage["target"]), int(stage["part_stride"])
                row_size = stride // _rows_of(stage)
                end = min(rows.stop, _rows_of(stage)) * row_size
                begin = rows.start * row_size
                piece = Piece((target + begin) * size, (end - begin) * size, stride * size, self._sent)
                pieces.append((target, piece))
                self._sent += piece.size
            launchers = [arena.launcher_of(arena.plan.launches[number], tiles) for arena in self._arenas]
            entries.append((launchers, pieces, source))
        return entries


def _rows_of(stage):
    """Return the rows of a stage's weights, the bias included."""
    return int(stage["inputs"] + stage["bias"])


def _slices(launch, stage, n_slices):
    """Yield slices of the tiles of a launch, of rows of tiles, and which rows of the weights each of them makes."""
    if n_slices == 1:
        yield slice(0, launch.tiles), slice(0, EVERY_ROW)
        return
    tile_rows = int(stage["size"])
    row_tiles = -(-_rows_of(stage) // tile_rows)
    columns, bounds = launch.tiles // row_tiles, [row_tiles * k // n_slices for k in range(n_slices + 1)]
    for begin, end in itertools.pairwise(bounds):
        if begin < end:
            yield slice(begin * columns, end * columns), slice(begin * tile_rows, end * tile_rows)
