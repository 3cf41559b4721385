"""The training loop: epochs until one of the reasons to stop."""

import contextlib
import functools
import time
import warnings
from dataclasses import dataclass, field

import numpy as np

from skintricate.backend.launch import device_errors
from skintricate.exceptions import DivergenceError, HaltingWarning
from skintricate.training.forward import Forward
from skintricate.training.history import History
from skintricate.training.interrupts import Interrupts
from skintricate.training.planning import make_trainer
from skintricate.training.requests import FitRequest, ask
from skintricate.training.trainer import HALTED, INTERRUPTED
from skintricate.training.validation import Validation


@dataclass
class FitOptions:
    """How to train.

    Attributes
    ----------
    loss : Loss
    optimizer : Optimizer
    alpha : float
        L2 penalty ``alpha / 2 * sum(W^2)``, divided by the sum of a batch's sample weights.
    batch_size, max_iter : int
    shuffle : bool
    tol : float
        Least improvement that counts.
    n_iter_no_change : int or None
        Epochs without improvement after which training stops; None never stops for that.
    early_stopping : bool
        Whether improvement is that of the validation score, whose best weights are restored.
    halting_condition : Halting or None
    validation : Validation or None
        Data scored after each epoch.
    metrics : dict of str to callable
        Each takes ``predict`` and returns a number, once an epoch.
    callbacks : list of Callback
    precision : {"highest", "high", "medium"}
        Of large products on tensor cores.
    devices : sequence of Device
        Those that share the training, where they are several.
    """

    loss: object
    optimizer: object
    alpha: float = 0.0
    batch_size: int = 200
    max_iter: int = 200
    shuffle: bool = True
    tol: float = 1e-4
    n_iter_no_change: int = 10
    early_stopping: bool = False
    halting_condition: object = None
    validation: Validation | None = None
    metrics: dict = field(default_factory=dict)
    callbacks: list = field(default_factory=list)
    precision: str = "highest"
    devices: tuple = ()

    @property
    def patience(self):
        """Epochs without improvement that end training; 0 for never."""
        return 0 if self.n_iter_no_change is None else int(min(self.n_iter_no_change, 2**31 - 1))

    @property
    def must_wait(self):
        """Whether somebody on the host wants to see the weights after every epoch."""
        return bool(self.metrics) or any(callback.synchronous for callback in self.callbacks)

    def batch_rows(self, data):
        """Return the rows of a batch: all of the data's where they are fewer."""
        return min(self.batch_size, len(data))

    def halting_on_device(self, data, dtype):
        """Return the halting condition's instructions for a device; () where there is none the device knows."""
        condition = self.halting_condition
        return () if condition is None else condition.on_device(self.has_classes(data), dtype) or ()

    def has_classes(self, data):
        """Say whether accuracy has a meaning."""
        return data.class_codes or self.loss.targets == "probability"


def fit_network(device, dtype, network, state, data, options):
    """Train a network; the state's arrays are replaced by the trained ones.

    Parameters
    ----------
    device : Device
    dtype : {"float32", "float64"}
    network : list of Layer
    state : NetworkState
    data : Data
    options : FitOptions

    Returns
    -------
    history : History

    Raises
    ------
    DivergenceError
        If the loss of an epoch, or a weight at the end, is not finite.
    """
    trainer = ask(FitRequest(device, dtype, network, state, data, options))
    if trainer is None:
        with device_errors(device):
            trainer = make_trainer(device, dtype, network, state, data, options)
    return train(trainer, network, state, data, options)


def train(trainer, network, state, data, options):
    """Train a network with a trainer; see ``fit_network``."""
    with device_errors(trainer.device):
        loop = _Loop(trainer, network, state, data, options)
        with contextlib.ExitStack() as begun:
            for callback in options.callbacks:
                callback.on_fit_begin(options.max_iter)
                begun.callback(callback.on_fit_end, loop.history)
            loop.history.stopped_by = "error"
            try:
                with Interrupts() as interrupts:
                    loop.run(interrupts)
            except KeyboardInterrupt:
                loop.history.stopped_by = "interrupted"
        _check_weights(trainer.read_state(best=options.early_stopping))
        return loop.history


class _Loop:
    """Runs the trainer and decides what each epoch means."""

    def __init__(self, trainer, network, state, data, options):
        self._trainer, self._state, self._data, self._options = trainer, state, data, options
        self.history = History()
        self._has_classes = options.has_classes(data)
        self._network = network
        self._started = trainer.started
        self._best_score, self._without_improvement = -np.inf, 0

    def run(self, interrupts):
        """Train until a reason to stop; it is written into the history."""
        options, trainer = self._options, self._trainer
        trainer.interrupts = interrupts
        stop = None
        while stop is None and len(self.history) < options.max_iter:
            if trainer.waits_each_epoch:
                trainer.epochs_at_once = 1
                for callback in options.callbacks:
                    callback.on_epoch_begin()
            results, stopped = trainer.run(options.max_iter - len(self.history))
            stop = self._take(results) if len(results.loss) else None
            if stopped == INTERRUPTED or interrupts.pressed:
                stop = "interrupted"
            elif stopped == HALTED:
                stop = "halting condition"
            elif stopped and (stop is None or options.early_stopping):
                stop = "no improvement"
        self.history.stopped_by = stop or "max_iter"
        if stop == "halting condition":
            warnings.warn(
                f"Training halted after {len(self.history)} epochs: {options.halting_condition!r}.",
                HaltingWarning,
                stacklevel=2,
            )

    def _take(self, results):
        """Record the epochs of a run; return why to stop after them, or None."""
        loss, accuracy, step_loss, step_accuracy, score = results
        options, trainer, predict = self._options, self._trainer, self._predict
        if not np.isfinite(loss).all():
            first = int(np.argmin(np.isfinite(loss)))
            raise _diverged(f"The training loss became {loss[first]} in epoch {len(self.history) + first + 1}.")
        if not self._has_classes:
            accuracy, step_accuracy = np.full_like(loss, np.nan), np.full_like(step_loss, np.nan)
        if trainer.validation is not None:
            if not np.isfinite(score).all():
                number = len(self.history) + int(np.argmin(np.isfinite(score))) + 1
                raise _diverged(f"The network's outputs became infinite or NaN in epoch {number}.")
        elif options.validation is not None:
            score = float(options.validation.score(predict))
        metrics = {name: float(metric(predict)) for name, metric in options.metrics.items()}
        elapsed = time.perf_counter() - self._started
        self.history.add(loss, accuracy, step_loss, step_accuracy, elapsed, score, metrics)
        if trainer.waits_each_epoch:
            return self._reason_to_stop(self.history.latest[-1])
        if options.callbacks:
            for epoch in self.history.latest:
                self._tell(epoch)
        return None

    def _reason_to_stop(self, epoch):
        """Return why to stop after an epoch that the host waited for, or None; the callbacks are told."""
        options, trainer, stop = self._options, self._trainer, None
        if options.early_stopping and trainer.validation is None and self._score_stagnates(epoch.validation_score):
            stop = "no improvement"
        if self._tell(epoch) and stop is None:
            stop = "callback"
        halting = options.halting_condition
        if halting is not None and not trainer.halts and halting.reached(epoch):
            stop = "halting condition"
        return stop

    def _tell(self, epoch):
        """Tell the callbacks about an epoch; say whether one of them wants to stop."""
        wishes = []
        for callback in self._options.callbacks:
            for number, (loss, accuracy) in enumerate(zip(epoch.step_loss, epoch.step_accuracy)):
                callback.on_step_end(number, loss, accuracy)
            try:
                wishes.append(callback.on_epoch_end(epoch, self._weights) is True)
            except ValueError:
                # Metrics refuse NaN; say what made it.
                self._predict(self._data.X)
                raise
        return any(wishes)

    def _weights(self):
        """Return the state as of now, which later epochs do not change."""
        return _check_weights(self._trainer.read_state()).copy()

    @functools.cached_property
    def _forward(self):
        """The forward pass with the weights that are trained."""
        trainer, precision = self._trainer, self._options.precision
        return Forward(
            trainer.device,
            trainer.dtype.name,
            self._network,
            self._data.n_features,
            parameters=trainer.parameters,
            precision=precision,
        )

    def _predict(self, X):
        """Return the outputs of the network as it is now."""
        outputs = self._forward.predict(X)
        if not np.isfinite(outputs).all():
            raise _diverged(f"The network's outputs became infinite or NaN in epoch {len(self.history) + 1}.")
        return outputs

    def _score_stagnates(self, score):
        """Keep the best weights; say whether the score has not improved for too long."""
        options = self._options
        improved = score >= self._best_score + options.tol
        self._without_improvement = 0 if improved else self._without_improvement + 1
        if score > self._best_score:
            self._best_score = score
            self._trainer.keep_best()
        limit = options.n_iter_no_change
        return limit is not None and self._without_improvement > limit


def _check_weights(state):
    """Return the state, or raise where the last step left weights that are not finite."""
    if not all(np.isfinite(weights).all() for weights in state.weights):
        raise _diverged("The weights became infinite or NaN.")
    return state


def _diverged(what):
    """Return the error that says what happened and what to do."""
    return DivergenceError(
        f"{what} Lower learning_rate, set the optimizer's clip_norm, or scale X (for example with StandardScaler)."
    )
