"""Callbacks: what they are told, how they stop training, and what interrupts and divergence leave behind."""

import signal
import sys

import numpy as np
import pytest
from contracts import assert_bitwise, flat, problem

from skintricate import Model
from skintricate.exceptions import DivergenceError, SkintricateError, TrainingInterruptedWarning
from skintricate.layers import Dense, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam, Basic
from skintricate.training import Callback, LossPlot, ProgressBar, ProgressLine
from skintricate.training.callbacks import draw_curve

X, Y = problem(MeanSquared(), 30, 4)


class Recorder(Callback):
    """Remembers what it is told, and does something at the end of an epoch."""

    def __init__(self, synchronous=True, at=None, action=None):
        self.synchronous, self.at, self.action = synchronous, at, action
        self.events, self.weights = [], []

    def on_fit_begin(self, max_iter):
        self.events.append(("begin", max_iter))

    def on_step_end(self, number, loss, accuracy):
        self.events.append(("step", number, loss))

    def on_epoch_end(self, epoch, weights):
        self.events.append(("epoch", epoch.number))
        if self.synchronous:
            self.weights.append([w.copy() for w in weights().weights])
        return self.action() if epoch.number == self.at else None

    def on_fit_end(self, history):
        self.events.append(("end", len(history), history.stopped_by))


def new(device, **options):
    """Return an untrained model."""
    return Model([Dense(5), TanH(), Dense(3)], device=device, random_state=0, **options)


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("synchronous", [True, False])
def test_order_of_events(synchronous, device):
    recorder = Recorder(synchronous)
    history = new(device).fit(X, Y, batch_size=10, max_iter=3, callbacks=[recorder])
    kinds = [event[0] for event in recorder.events]
    assert kinds == ["begin", *["step", "step", "step", "epoch"] * 3, "end"]
    assert recorder.events[0] == ("begin", 3)
    assert recorder.events[-1] == ("end", 3, "max_iter")
    steps = [event for event in recorder.events if event[0] == "step"]
    assert [number for _, number, _ in steps] == [0, 1, 2] * 3
    np.testing.assert_array_equal([loss for *_, loss in steps], history.step_loss)


def test_weights_are_those_of_the_epoch(device):
    recorder = Recorder()
    new(device).fit(X, Y, batch_size=10, max_iter=4, callbacks=[recorder])
    for epochs, weights in enumerate(recorder.weights, start=1):
        model = new(device)
        model.fit(X, Y, batch_size=10, max_iter=epochs)
        assert_bitwise(weights, model.state.weights)


def test_the_state_of_an_epoch_can_be_kept(device):
    class Keeper(Callback):
        def on_fit_begin(self, max_iter):
            self.states = []

        def on_epoch_end(self, epoch, weights):
            self.states.append(weights())

    keeper = Keeper()
    new(device).fit(X, Y, batch_size=10, max_iter=3, callbacks=[keeper])
    assert len({state.weights[0].tobytes() for state in keeper.states}) == 3


def test_a_callback_stops_training(device):
    recorder, other = Recorder(at=3, action=lambda: True), Recorder(synchronous=False)
    model = new(device)
    history = model.fit(X, Y, batch_size=10, max_iter=10, callbacks=[recorder, other])
    assert (len(history), history.stopped_by) == (3, "callback")
    assert recorder.events[-1] == other.events[-1] == ("end", 3, "callback")
    assert ("epoch", 3) in other.events
    assert_bitwise(model.state.weights, recorder.weights[-1])


@pytest.mark.parametrize("answer", [None, False, 1, "yes"])
def test_only_true_stops(answer, device):
    history = new(device).fit(X, Y, max_iter=4, callbacks=[Recorder(at=2, action=lambda: answer)])
    assert len(history) == 4


@pytest.mark.parametrize("begun", [False, True])
def test_an_interrupt_keeps_the_weights(begun, device):
    recorder, model, expected = Recorder(at=3, action=interrupt), new(device), new(device)
    if begun:
        model.fit(X, Y, batch_size=10, max_iter=2)
    with pytest.warns(TrainingInterruptedWarning, match="interrupted after 3 epochs"):
        history = model.fit(X, Y, batch_size=10, max_iter=10, callbacks=[recorder])
    assert (len(history), history.stopped_by) == (3, "interrupted")
    assert recorder.events[-1] == ("end", 3, "interrupted")
    for _ in range(2):
        expected.fit(X, Y, batch_size=10, max_iter=5 if begun else 3)
        assert_bitwise(model.state.weights, expected.state.weights)
        assert (model.state.step, model.state.epoch) == (expected.state.step, expected.state.epoch)
        model.fit(X, Y, batch_size=10, max_iter=5 if begun else 3)  # goes on as if nothing had happened


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer signal")
def test_a_real_interrupt_while_epochs_are_queued(device):
    model = new(device)

    def ring(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.warns(TrainingInterruptedWarning):
            history = model.fit(X, Y, batch_size=1, max_iter=10**6, optimizer=Basic(1e-3))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert history.stopped_by == "interrupted"
    assert 0 < len(history) < 10**6
    assert np.isfinite(model.predict(X)).all()


def test_an_error_in_a_callback_leaves_the_model_as_it_was(device):
    def fail():
        raise ZeroDivisionError

    model, recorder = new(device), Recorder(at=2, action=fail)
    model.fit(X, Y, max_iter=2)
    before, history = [w.copy() for w in model.state.weights], model.history_
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y, max_iter=5, callbacks=[recorder])
    assert recorder.events[-1][0] == "end"
    assert_bitwise(model.state.weights, before)
    assert model.history_ is history


@pytest.mark.parametrize("synchronous", [True, False])
def test_divergence_leaves_the_model_as_it_was(synchronous, device):
    model = Model([Dense(3)], device=device, random_state=0)
    recorder = Recorder(synchronous)
    with pytest.raises(DivergenceError, match=r"loss became (nan|inf) in epoch \d+.*learning_rate") as caught:
        model.fit(X, Y, optimizer=Basic(1e6), batch_size=10, max_iter=100, callbacks=[recorder])
    assert isinstance(caught.value, ValueError | SkintricateError)
    assert model.state is None
    assert model.n_features_in_ is None
    assert recorder.events[-1][0] == "end"

    model.fit(X, Y, optimizer=Adam(0.01), max_iter=3)
    expected = model.predict(X)
    before = model.state.copy()
    with pytest.raises(DivergenceError):
        model.fit(X, Y, optimizer=Basic(1e6), batch_size=10, max_iter=100)
    assert_bitwise(model.state.weights, before.weights)
    assert_bitwise(flat(model.state.optimizer_states), flat(before.optimizer_states))
    assert (model.state.step, model.state.epoch, model.optimizer) == (before.step, before.epoch, Adam(0.01))
    assert_bitwise([model.predict(X)], [expected])


def test_clipping_prevents_that_divergence(device):
    model = Model([Dense(3)], device=device, random_state=0)
    model.fit(X, Y, optimizer=Basic(1.0, clip_norm=0.1), batch_size=10, max_iter=20)
    assert np.isfinite(model.predict(X)).all()


def test_progress_line(device, capsys):
    new(device).fit(X, Y, max_iter=4, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [f"epoch {n}/4" for n in (1, 2, 3, 4)]
    assert all("loss " in line and "accuracy" not in line for line in lines)
    new(device).fit(X, Y, max_iter=4, verbose=ProgressLine(every=2))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_progress_line_says_why_it_stopped(device, capsys):
    new(device).fit(X, Y, max_iter=50, tol=10.0, n_iter_no_change=1, verbose=True)
    assert capsys.readouterr().out.splitlines()[-1] == "stopped after 3 epochs: no improvement"


@pytest.mark.parametrize("library", ["tqdm", "rich"])
def test_progress_bar(library, device, capsys, monkeypatch):
    pytest.importorskip(library)
    if library == "rich":
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    new(device).fit(X, Y, max_iter=4, verbose=2)
    captured = capsys.readouterr()
    assert "loss" in captured.err + captured.out


def test_a_progress_bar_needs_a_library(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match="pip install tqdm"):
        new(device).fit(X, Y, max_iter=1, callbacks=[ProgressBar()])


def test_loss_plot(device, capsys):
    new(device).fit(X, Y, max_iter=7, callbacks=[LossPlot(width=20, height=5, every=3)])
    pictures = capsys.readouterr().out.split("loss ")[1:]
    assert [int(picture.split("after ")[1].split()[0]) for picture in pictures] == [3, 6, 7]
    assert all(len(picture.splitlines()) >= 6 for picture in pictures)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], list(range(100)), [3.0, 2.0, 1.0]])
@pytest.mark.parametrize("height", [1, 2, 6])
def test_curve_has_a_star_a_column(values, height):
    lines = draw_curve(values, 30, height)
    assert len(lines) == height + 1
    stars = [[line.split("|")[1][column] for line in lines[1:]].count("*") for column in range(min(len(values), 30))]
    assert stars == [1] * min(len(values), 30)
