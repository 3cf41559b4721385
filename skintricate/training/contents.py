"""What the buffers of one training hold, as arrays of the host: what is written before, and what is read after it."""

from typing import NamedTuple

import numpy as np

from skintricate.kernels import HEAD_FIELDS, HISTORY_HEAD, RUN, shuffle_side

# Rows of a table of runs: of the rows trained on, or predicted, and of those of validation.
RUNS = 2


class Results(NamedTuple):
    """What a run of epochs gave: arrays of shape ``(n_epochs,)``, those of steps ``(n_epochs, n_steps)``."""

    loss: np.ndarray
    accuracy: np.ndarray
    step_loss: np.ndarray
    step_accuracy: np.ndarray
    score: np.ndarray


def prediction_runs(plan, n_rows, ordered=False, **more):
    """Return what stays the same while a network predicts so many rows, with ``more`` fields; see ``Contents.runs``."""
    run = {
        "samples": n_rows,
        "batch_size": plan.batch_size,
        "step_rows": plan.batch_size,
        "steps": -(-n_rows // plan.batch_size),
        "ordered": ordered,
        "block_rows": plan.block_rows,
        "stage_count": len(plan.stages),
        "partials": 2,
        **more,
    }
    return _runs(run, run)


def _runs(*runs):
    """Return a table of runs whose fields are those of some dicts, and else zero."""
    rows = [dict.fromkeys(RUN.names, 0) | run for run in runs]
    if any(len(row) > len(RUN.names) for row in rows):
        raise KeyError(f"A run has the fields {', '.join(RUN.names)}.")
    return np.array([tuple(row.values()) for row in rows], RUN)


class Contents:
    """The numbers of a training, wherever they lie.

    Parameters
    ----------
    program : Program
    plan : Plan
    dtype : dtype
    state : NetworkState
    data : Data
    options : FitOptions
    steps : int
        Steps of an epoch, at most.
    capacity : int
        Epochs whose results are kept on the device.
    validation : Validation, default=None
        The validation data that the device scores after each epoch.
    halting : sequence of pair of numbers, default=()
        Instructions of the halting condition.
    """

    def __init__(self, program, plan, dtype, state, data, options, steps, capacity, validation=None, halting=()):
        self.plan, self.state, self.dtype = plan, state, np.dtype(dtype)
        self._layout, self._data, self._options = program.tile.layout, data, options
        self.steps, self.capacity, self._validation = steps, capacity, validation
        self._halting = [number for pair in halting for number in pair]
        self.n_states = len(options.optimizer.states)
        self.weighted = [part is not None and part.sample_weight is not None for part in self.parts]
        self.sizes = {
            "parameters": plan.parameter_size,
            "workspace": plan.workspace_size,
            "losses": steps * (plan.partials + 1) + plan.validation_steps * (plan.blocks + 1),
            "scalars": max(1, steps * capacity * len(options.optimizer.scalar_names)),
            "history": HISTORY_HEAD + capacity * (2 * steps + 3),
        }

    @property
    def parts(self):
        """The data trained on and, where the device scores it, the validation data."""
        return self._data, self._validation.data if self._validation else None

    @property
    def shuffles(self):
        """Whether samples are taken in an order: where one step takes all, it would change the rounding alone."""
        return self._options.shuffle and self.steps > 1

    @property
    def keeps_best(self):
        """Whether the device keeps the weights of the best score."""
        return self._options.early_stopping and self._validation is not None

    def parameters(self):
        """Return weights, optimizer states and transposes."""
        return self.state.pack(self.plan, self._layout, self.n_states, self.dtype)

    def constants(self):
        """Return the hyper-parameters of all stages, and the halting condition behind them."""
        return self.plan.constants_with(self._halting, self.dtype)

    def scalars(self, n_steps, epoch, steps_per_epoch):
        """Return the optimizer's scalars of the next steps; ``epoch`` is where they begin."""
        epochs = epoch + np.arange(n_steps) / steps_per_epoch
        return self._options.optimizer.scalar_table(self.state.step, epochs, self.dtype)

    def history_head(self):
        """Return what the device compares losses and scores with."""
        _, divisor, _ = self._validation.linear_terms if self._validation else (0.0, 1.0, ())
        head = {"tolerance": self._options.tol, "best_loss": np.inf, "best_sum": -np.inf if divisor > 0 else np.inf}
        head["score_factor"] = 1 / divisor
        return np.array([head[name] for name in HEAD_FIELDS], self.dtype)

    def runs(self, samples, steps, ordered, decides, shared_rows=False, **more):
        """Return what stays the same during a run, of the rows trained on and of those of validation.

        Parameters
        ----------
        samples, steps : int
            Of an epoch.
        ordered : bool
            Whether rows are taken in the order that the buffer ``order`` has.
        decides : bool
            Whether the device ends training where it does not improve.
        shared_rows : bool, default=False
            Whether X is shared with others, and ``order`` has the rows of the samples, too.
        **more : int
            Further fields.
        """
        plan, options, validation = self.plan, self._options, self._validation
        n_validation = len(validation.data) if validation else 0
        decides = decides and (not options.early_stopping or self.keeps_best)
        total = samples + n_validation
        run = {
            "samples": samples,
            "batch_size": plan.batch_size,
            "step_rows": plan.batch_size,
            "steps": steps,
            "target_columns": self._data.Y.shape[1],
            "class_codes": self._data.class_codes,
            "ordered": ordered,
            "x_order": total if shared_rows else 0,
            "x_rows": 2 * total if shared_rows else 0,
            "weighted": self.weighted[0],
            "block_rows": plan.block_rows,
            "stage_count": len(plan.stages),
            "partials": plan.partials,
            "parameter_count": plan.parameter_count,
            "scalar_count": len(options.optimizer.scalar_names),
            "shuffle_side": shuffle_side(samples),
            "patience": options.patience if decides else 0,
            "early_stopping": self.keeps_best,
            "best": plan.best,
            "halting": len(plan.constants),
            "halting_count": len(self._halting) // 2,
            "seed": self.state.seed & 0xFFFFFFFF,
            "first_step": self.state.step & 0x7FFFFFFF,
            **more,
        }
        run_of_validation = {
            "first_row": samples,
            "samples": n_validation,
            "steps": plan.validation_steps,
            "ordered": shared_rows,
            "weighted": self.weighted[1],
            "partials": plan.blocks,
            "first_loss": steps * (plan.partials + 1) if validation else 0,
        }
        return _runs(run, run | run_of_validation)

    def results(self, history, epochs, steps):
        """Return the ``Results`` of the first epochs of a history as it was read."""
        capacity, shape = self.capacity, (epochs, steps)
        flat = history[HISTORY_HEAD:]
        loss, accuracy, score = flat[: 3 * capacity].reshape(3, capacity)[:, :epochs].copy()
        step_loss, step_accuracy = np.split(flat[3 * capacity :], [capacity * steps])
        if self._validation is None:
            score = np.full(epochs, np.nan)
        else:
            offset, divisor, _ = self._validation.linear_terms
            # In float64, so that a share of right classes is what scikit-learn makes of it.
            score = offset + score.astype(np.float64) / divisor
        # Copies, since the history keeps them and views would keep the whole buffer.
        return Results(
            loss,
            accuracy,
            step_loss[: epochs * steps].reshape(shape).copy(),
            step_accuracy[: epochs * steps].reshape(shape).copy(),
            score,
        )

    def take_state(self, flat):
        """Take weights and optimizer states as they were read into the state, and return it."""
        self.state.unpack(self.plan, self._layout, self.n_states, flat)
        return self.state
