"""A network of a cohort: what it is lowered to, where it lies, and what became of it."""

import time

import numpy as np

from skintricate.training.contents import RUNS, Contents, prediction_runs
from skintricate.training.forward import slice_rows
from skintricate.training.phases import Phases
from skintricate.training.planning import lower_training
from skintricate.training.plans import lower
from skintricate.training.trainer import capacity_of

# Integers of a network's `control`; see epoch.cl.
CONTROL = 4
# Rows with which a network predicts at once, at most.
LARGEST_BATCH = 4096


class Member:
    """What all members have: steps to take.

    Attributes
    ----------
    plan : Plan
    number : int
        Its place in the cohort.
    turn : ndarray of dtype TURN
        Where it lies, without steps.
    epoch, taken, steps_left : int
        Epochs trained before the run that it is in, and steps of this run.
    has_stopped : bool
        Whether the device has ended its training.
    """

    has_stopped = False

    def __init__(self, plan):
        self.plan, self.steps_left = plan, 0
        self.number, self.epoch, self.taken, self.turn = 0, 0, 0, None
        self._places, self._phases, self._capacity = {}, None, 1

    @property
    def _table_bytes(self):
        """Bytes of its tables and of what the pool leaves between its parts, at most."""
        return self.plan.stages.nbytes + self._phases.table.nbytes + 2**14

    def part_to_read(self):
        """Return the place and an array for what ``took`` wants of the workspace after each launch, or None."""
        return None

    def _place(self, pool, parameters, runs=None):
        """Let the pool hold what every member has; those in training bring their runs as they begin them."""
        self._places["parameters"] = pool.add("parameters", self.plan.parameter_size, parameters)
        self._places["workspace"] = pool.add("workspace", self.plan.workspace_size)
        self._places["control"] = pool.add("control", CONTROL)
        self._places["run"] = pool.add("run", RUNS, runs)
        self._places["stages"] = pool.add_equal("stages", self.plan.stages)
        self._places["phases"] = pool.add_equal("phases", self._phases.table)
        self.turn = self._phases.turn(self._places, self._capacity)


class TrainedMember(Member):
    """A network in training. To the loop it is a trainer whose epochs are done.

    Parameters
    ----------
    request : FitRequest
    program : Program
    """

    waits_each_epoch, parameters = False, None
    # Of a launch: all that there is time for.
    most_steps = 2**31 - 1

    def __init__(self, request, program):
        data, options = request.data, request.options
        self.started = time.perf_counter()
        self.device, self.dtype = request.device, np.dtype(request.dtype)
        self.validation, self._data, self._options = options.validation, data, options
        halting = options.halting_on_device(data, self.dtype)
        self.halts = bool(halting)
        super().__init__(lower_training(request.network, data, program, options, options.validation))
        self._steps = -(-len(data) // self.plan.batch_size)
        self._capacity = capacity_of(options, self._steps)
        self._state = request.state
        self.contents = contents = Contents(
            program, self.plan, self.dtype, self._state, data, options, self._steps, self._capacity,
            options.validation, halting,
        )  # fmt: skip
        self._phases = Phases.of_training(
            self.plan,
            program.tile,
            1,
            self._steps,
            len(data),
            contents.shuffles,
            contents.weighted[0],
            contents.keeps_best,
        )
        self._epochs_done, self._results = 0, []

    @property
    def matrices(self):
        """Every X that it reads."""
        return [part.X for part in self._parts]

    @property
    def _parts(self):
        """The data trained on, and the validation data where there are some."""
        return [part for part in self.contents.parts if part is not None]

    @property
    def n_bytes(self):
        """Bytes on the device, at most, the rows of X left out."""
        n_rows = sum(map(len, self._parts))
        numbers = sum(self.contents.sizes.values()) + n_rows * (self._data.Y.shape[1] + 1)
        return numbers * self.dtype.itemsize + 3 * 4 * n_rows + self._table_bytes

    def lay_out(self, pool, rows):
        """Let the pool hold everything but X."""
        contents, parts, sizes = self.contents, self._parts, self.contents.sizes
        Y = np.concatenate([np.asarray(part.Y, self.dtype) for part in parts])
        self._places["Y"] = pool.add_equal("Y", Y)
        if any(contents.weighted):
            weights = [np.ones(len(p)) if p.sample_weight is None else p.sample_weight for p in parts]
            self._places["sample_weight"] = pool.add_equal("sample_weight", np.concatenate(weights).astype(self.dtype))
        places = np.concatenate([rows.places(part.X) for part in parts])
        # The order of the samples, of their rows of X, and those rows before they are put in order.
        order = np.concatenate([np.arange(len(places), dtype=np.int32), places, places])
        self._places["order"] = pool.add("order", order.size, order)
        self._places["scalars"] = pool.add("scalars", sizes["scalars"])
        self._places["constants"] = pool.add_equal("constants", contents.constants())
        self._places["losses"] = pool.add("losses", sizes["losses"])
        self._places["history"] = pool.add("history", sizes["history"], contents.history_head())
        self._place(pool, contents.parameters())

    @property
    def goes_on(self):
        """Whether it has epochs to train."""
        return not (self._results and self._results[-1][1]) and self._epochs_done < self._options.max_iter

    def begin_run(self):
        """Begin the next epochs; return what to write of scalars and of the run, each ``(place, array)``."""
        epochs = min(self._capacity, self._options.max_iter - self._epochs_done)
        self.taken, self.epoch = 0, self._state.epoch
        self.steps_left = epochs * self._steps
        scalars = self.contents.scalars(self.steps_left, self.epoch, self._steps)
        runs = self.contents.runs(len(self._data), self._steps, True, decides=True, shared_rows=True)
        return (self._places["scalars"], scalars), (self._places["run"], runs)

    def took(self, steps, control):
        """Take note of steps taken; they are over where the device has stopped."""
        self.taken += steps
        self.steps_left -= steps
        self._control = control[self._places["control"] :][:CONTROL]
        self.has_stopped = bool(self._control[0])
        if self.has_stopped:
            self.steps_left = 0

    def end_run(self, history):
        """Take the results of the epochs out of the pool's history."""
        done = int(self._control[1]) - self._epochs_done
        self._epochs_done += done
        self._state.epoch += done
        self._state.step += done * self._steps
        own = history[self._places["history"] :][: self.contents.sizes["history"]]
        self._results.append((self.contents.results(own, done, self._steps), int(self._control[0])))

    def end(self, parameters):
        """Take the weights out of the pool's parameters."""
        own, count = parameters[self._places["parameters"] :], self.plan.parameter_count
        self._parameters = own[: count * (1 + self.contents.n_states)].copy()
        self._best = own[self.plan.best :][:count].copy() if self.validation and self._epochs_done else None

    # What the training loop calls.

    def run(self, epochs):
        """Return the next results and why they are the last, or 0; see ``ResidentTrainer.run``."""
        return self._results.pop(0)

    def read_state(self, best=False):
        """Return the state with its trained arrays."""
        if best and self._best is not None:
            self._parameters[: self.plan.parameter_count] = self._best
        return self.contents.take_state(self._parameters)


class PredictingMember(Member):
    """A network that predicts, a batch of rows in a launch.

    Parameters
    ----------
    request : PredictRequest
    program : Program
    """

    most_steps = 1

    def __init__(self, request, program):
        batch_size = slice_rows(len(request.X), LARGEST_BATCH)
        super().__init__(lower(request.network, request.X.shape[1], batch_size, program))
        self._state, self._X, self._layout = request.state, request.X, program.tile.layout
        self.dtype = np.dtype(request.dtype)
        self._phases = Phases.of_prediction(self.plan)
        self.outputs = np.empty((len(self._X), self.plan.output.columns), self.dtype)
        self.steps_left = -(-len(self._X) // batch_size)

    @property
    def matrices(self):
        """Every X that it reads."""
        return [self._X]

    @property
    def n_bytes(self):
        """Bytes on the device, the rows of X left out."""
        numbers = self.plan.parameter_size + self.plan.workspace_size
        return numbers * self.dtype.itemsize + 4 * len(self._X) + self._table_bytes

    def lay_out(self, pool, rows):
        """Let the pool hold everything but X."""
        self._places["order"] = pool.add_equal("order", rows.places(self._X))
        self._places["constants"] = pool.add_equal("constants", self.plan.constants_with((), self.dtype))
        runs = prediction_runs(self.plan, len(self._X), ordered=True)
        self._place(pool, self._state.pack(self.plan, self._layout, 0, self.dtype), runs)

    def part_to_read(self):
        """Return the place and an array for the outputs of a batch of rows."""
        output = self.plan.output
        self._batch = np.empty(output.size(self._layout, self.plan.batch_size), self.dtype)
        return self._places["workspace"] + output.offset, self._batch

    def took(self, steps, control):
        """Take the outputs of a batch of rows, which have been read."""
        batch_size, output = self.plan.batch_size, self.plan.output
        part = self.outputs[self.taken * batch_size :][:batch_size]
        self.taken += steps
        self.steps_left -= steps
        part[...] = output.unpacked(self._batch, self._layout, len(part), batch_size)
