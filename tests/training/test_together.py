"""Networks that share launches come out as they do by themselves."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from contracts import EMBEDDED, LOSSES, OPTIMIZERS, SHAPED, assert_bitwise, problem, shaped_problem

from skintricate.backend import list_devices, open_device
from skintricate.exceptions import DivergenceError
from skintricate.layers import Dense, Dropout, ReLU, Sigmoid, SoftMax, TanH
from skintricate.losses import CategoricalCrossEntropy, MeanSquared
from skintricate.optimizers import Adam, Basic
from skintricate.training import (
    Callback,
    FitOptions,
    Forward,
    Halting,
    MinLossReached,
    NetworkState,
    cohort,
    fit_network,
    infer_shapes,
    together,
)
from skintricate.training.data import Data
from skintricate.training.fit import train
from skintricate.training.members import TrainedMember
from skintricate.training.requests import FitRequest, PredictRequest
from skintricate.training.together import Together
from skintricate.training.validation import Validation

rng = np.random.default_rng(3)
N, N_FEATURES = 83, 5
X = rng.normal(size=(N, N_FEATURES))
CODES = ((X[:, 0] > 0.3).astype(int) + (X[:, 1] > 0))[:, None]


@pytest.fixture(autouse=True)
def any_number_shares(monkeypatch):
    """Let even few networks share launches, on a device with many cores too."""
    monkeypatch.setattr(together, "are_worth_a_launch", lambda device, n: True)


def request(device, seed=0, network=None, rows=None, weight=None, dtype="float32", **options):
    """Return what asks for the training of a network on some rows of X, on classes where it has three outputs."""
    network = network or [Dense(7), TanH(), Dense(3), SoftMax()]
    rows = np.arange(N) if rows is None else rows
    loss = options.pop("loss", CategoricalCrossEntropy())
    options = FitOptions(loss, options.pop("optimizer", Adam(0.01)), **{"max_iter": 6, "batch_size": 20, **options})
    state = NetworkState.initial(network, infer_shapes(network, N_FEATURES), seed, dtype)
    data = Data(X[rows].astype(dtype), CODES[rows].astype(dtype), weight, class_codes=True)
    return FitRequest(open_device(device), dtype, network, state, data, options)


def conclude(trainer, r):
    """Return what the loop makes of a trainer, a history or an exception; one that is missing trains by itself."""
    try:
        if trainer is None:
            return fit_network(r.device, r.dtype, r.network, r.state, r.data, r.options)
        return train(trainer, r.network, r.state, r.data, r.options)
    except DivergenceError as error:
        return error


def check(make_requests):
    """Train together, then each by itself; return the trainers and the histories."""
    shared, alone = make_requests(), make_requests()
    trainers = Together().fit(shared)
    if open_device("auto").is_cpu:  # a GPU's groups hold the tables of so many stages
        assert all(isinstance(trainer, TrainedMember) for trainer in trainers)
    histories = [conclude(trainer, r) for trainer, r in zip(trainers, shared)]
    expected = [conclude(None, r) for r in alone]
    for mine, other, history, wanted in zip(shared, alone, histories, expected):
        assert type(history) is type(wanted)
        if isinstance(wanted, DivergenceError):
            assert str(history) == str(wanted)
            continue
        assert (history.stopped_by, len(history)) == (wanted.stopped_by, len(wanted))
        assert (mine.state.step, mine.state.epoch) == (other.state.step, other.state.epoch)
        agree(mine.state.weights, other.state.weights, mine.device)
        for ours, theirs in zip(mine.state.optimizer_states, other.state.optimizer_states, strict=True):
            agree(ours, theirs, mine.device)
        agree([history.loss], [wanted.loss], mine.device)
        agree([history.accuracy, history.validation_score], [wanted.accuracy, wanted.validation_score], mine.device)
        agree([history.step_loss, history.step_accuracy], [wanted.step_loss, wanted.step_accuracy], mine.device)
    return trainers, histories


def agree(ours, theirs, device):
    """Check equality, of every bit on a CPU; a GPU's groups cut the stages of many networks in another way."""
    if device.is_cpu:
        assert_bitwise(ours, theirs)
    else:
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_different_networks(device):
    networks = [
        [Dense(7), TanH(), Dense(3), SoftMax()],
        [Dense(50), ReLU(), Dense(20), ReLU(), Dense(3), SoftMax()],
        [Dropout(0.2), Dense(9), Sigmoid(), Dropout(0.5), Dense(3), SoftMax()],
        [Dense(3), SoftMax()],
    ]

    def make():
        return [
            request(device, k, networks[k % 4], batch_size=(20, 7, 200, 1)[k % 4], alpha=0.1 * (k % 2), max_iter=1 + k)
            for k in range(8)
        ]

    check(make)


@pytest.mark.parametrize("shuffle", [False, True])
def test_folds_and_weights(shuffle, device):
    folds = [np.setdiff1d(np.arange(N), np.arange(k, N, 3)) for k in range(3)]
    bootstrap = rng.integers(N, size=N)
    weight = rng.uniform(size=N).astype(np.float32)
    weight[:10] = 0

    def make():
        requests = [request(device, rows=rows, shuffle=shuffle) for rows in (*folds, bootstrap)]
        return [*requests, *(request(device, k, weight=w, shuffle=shuffle) for k, w in enumerate((weight, 2 * weight)))]

    check(make)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_every_loss(loss, device):
    x, y = problem(loss, 30)

    def make():
        requests = [request(device, k, [Dense(6), TanH(), Dense(3), Sigmoid()], loss=loss) for k in range(2)]
        for r in requests:
            r.data = Data(np.tile(x, (1, 2))[:, :N_FEATURES].astype(np.float32), y.astype(np.float32))
        return requests

    check(make)


def test_every_optimizer(device):
    def make():
        plain = [request(device, optimizer=optimizer) for optimizer in OPTIMIZERS]
        return [*plain, *(request(device, optimizer=type(o)(clip_norm=0.1)) for o in OPTIMIZERS)]

    check(make)


def shaped_request(device, name, seed=0, **options):
    """Return what asks for the training of a network of layers with shapes of their own."""
    network, x, y = shaped_problem(name, 23)
    options = FitOptions(MeanSquared(), Adam(0.01), **{"max_iter": 3, "batch_size": 10, **options})
    state = NetworkState.initial(network, infer_shapes(network, x.shape[1]), seed, "float32")
    data = Data(x.astype(np.float32), y.astype(np.float32))
    return FitRequest(open_device(device), "float32", network, state, data, options)


@pytest.mark.parametrize("name", [*SHAPED, *EMBEDDED])
def test_every_shape(name, device):
    """Two of a kind, of other batches; then what both predict, together and by themselves."""
    trainers, _ = check(lambda: [shaped_request(device, name, k, batch_size=10 - 3 * k, alpha=k) for k in range(2)])
    assert len(trainers) == 2
    requests = []
    for k in range(2):
        r = shaped_request(device, name, k)
        requests.append(PredictRequest(r.device, r.dtype, r.network, r.state, r.data.X))
    for r, outputs in zip(requests, Together().predict(requests)):
        agree([outputs], [Forward(r.device, r.dtype, r.network, r.X.shape[1], r.state).predict(r.X)], r.device)


def test_all_shapes_at_once(device):
    check(lambda: [shaped_request(device, name, k, max_iter=1 + k % 3) for k, name in enumerate([*SHAPED, *EMBEDDED])])


@pytest.mark.filterwarnings("ignore:Training halted:skintricate.exceptions.HaltingWarning")
def test_statistics_of_the_best_epoch(device):
    """Early stopping restores those of a batch norm with the weights."""

    def make():
        requests = []
        for k in range(3):
            options = {"early_stopping": True, "n_iter_no_change": 3, "max_iter": 60}
            r = shaped_request(device, "batch normalisation", k, **options)
            _, x, y = shaped_problem("batch normalisation", 9, seed=1)
            held = Data(x.astype(np.float32), y.astype(np.float32))
            r.options.validation = Validation(held, None, is_accuracy=False)
            requests.append(r)
        return requests

    if not open_device(device).has_fence:
        pytest.skip("On this device the host decides.")
    check(make)


def test_float64(float64):
    check(lambda: [request(float64, k, dtype="float64") for k in range(3)])


@pytest.mark.filterwarnings("ignore:Training halted:skintricate.exceptions.HaltingWarning")
def test_each_stops_by_itself(device):
    if not open_device(device).has_fence:
        pytest.skip("On this device the host decides.")
    held = np.arange(60, N)
    is_accuracy = True

    def validation(weight=None):
        data = Data(X[held].astype(np.float32), CODES[held].astype(np.float32), weight, class_codes=True)
        return Validation(data, None, is_accuracy)

    def make():
        rows, slow = np.arange(60), {"max_iter": 400, "n_iter_no_change": 3}
        return [
            request(device, optimizer=Adam(0.05), halting_condition=MinLossReached(0.5), max_iter=400),
            request(device, tol=0.01, **slow),
            request(device, rows=rows, validation=validation(), early_stopping=True, **slow),
            request(device, rows=rows, validation=validation(np.linspace(0, 1, len(held), dtype=np.float32)), **slow),
            request(device, network=[Dense(3)], loss=MeanSquared(), optimizer=Basic(1e30), max_iter=50),
            request(device, max_iter=2),
        ]

    _, histories = check(make)
    reasons = [getattr(history, "stopped_by", None) for history in histories]
    assert reasons == ["halting condition", "no improvement", "no improvement", "no improvement", None, "max_iter"]
    assert isinstance(histories[4], DivergenceError)
    assert len({len(h) for h in histories if not isinstance(h, DivergenceError)}) == 5


def test_long_training_in_several_runs_and_launches(device, monkeypatch):
    monkeypatch.setattr("skintricate.training.trainer.LARGEST_RUN", 12)
    monkeypatch.setattr(cohort, "PATIENCE", 1e-4)
    check(lambda: [request(device, k, max_iter=5 + k, batch_size=10 + k) for k in range(5)])


@pytest.mark.parametrize("steps", [1, 7, 10, 33, 1000])
def test_turns_take_every_step_once(steps, device, monkeypatch):
    taken, launch = [], cohort.Cohort._launch

    def spy(self, members, *_):
        table = self._turns(members, steps)
        for member in members:
            own = table[table["run"] == member._places["run"]]
            first, end = own["first_step"], own["first_step"] + own["steps"]
            assert first[0] == 0
            assert end[-1] == min(steps, member.steps_left)
            assert (first[1:] == end[:-1]).all()
            assert own["after"][0] == -1
            assert (table["run"][own["after"][1:]] == member._places["run"]).all()
            taken.append(len(own))
        launch(self, members, *_)

    monkeypatch.setattr(cohort.Cohort, "_launch", spy)
    monkeypatch.setattr(cohort, "CAUTION", 1e-9)
    Together().fit([request(device, k, max_iter=1 + 2 * k) for k in range(3)])
    assert len(taken) == 3


def test_goes_on_from_a_state(device):
    def make():
        requests = [request(device, k) for k in range(3)]
        for r in requests:
            conclude(None, r)
        return requests

    check(make)


def test_memory_budget_makes_several_cohorts(device, monkeypatch):
    made, init = [], cohort.Cohort.__init__

    def spy(self, *arguments):
        init(self, *arguments)
        made.append(len(self.members))

    monkeypatch.setattr(cohort.Cohort, "__init__", spy)
    requests = [request(device, k) for k in range(9)]
    bytes_of_one = Together()._member_to_train(requests[0], together.Crowd(9, requests[0].batch_size))[1].n_bytes
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", str(int(4.5 * bytes_of_one) + X.nbytes))
    check(lambda: [request(device, k) for k in range(9)])
    assert sum(made) == 9
    assert max(made) <= 4
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", str(bytes_of_one // 2))
    assert Together().fit(requests) == [None] * 9


class Watcher(Callback):
    """Does nothing, and makes training wait."""


class OnTheHost(Halting):
    """A condition that no device knows."""

    def reached(self, epoch):
        return False


def test_what_cannot_share_a_launch_trains_by_itself(device, caplog):
    sparse = request(device)
    sparse.data = Data(scipy.sparse.csr_matrix(sparse.data.X), sparse.data.Y, None, class_codes=True)
    apart = [
        request(device, callbacks=[Watcher()]),
        request(device, metrics={"one": lambda predict: 1.0}),
        request(device, halting_condition=OnTheHost()),
        sparse,
    ]
    with caplog.at_level(logging.INFO, "skintricate"):
        outcomes = Together().fit([*apart, request(device), request(device)])
    assert outcomes[:4] == [None] * 4
    assert all(isinstance(outcome, TrainedMember) for outcome in outcomes[4:])
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "callbacks or metrics look at it after every epoch.",
        "callbacks or metrics look at it after every epoch.",
        "its halting condition is asked by the host.",
        "X is sparse.",
    ]


@pytest.mark.parametrize(("n_networks", "together_"), [(3, False), (4, True)])
def test_fewer_networks_than_cores_train_one_by_one(n_networks, together_, device, monkeypatch):
    monkeypatch.undo()
    cpu = SimpleNamespace(is_cpu=True, handle=SimpleNamespace(max_compute_units=4))
    assert together.are_worth_a_launch(cpu, n_networks) == together_
    assert together.are_worth_a_launch(SimpleNamespace(is_cpu=False), n_networks)
    monkeypatch.setattr(together, "are_worth_a_launch", lambda *_: together_)
    outcomes = Together().fit([request(device, k) for k in range(n_networks)])
    assert [isinstance(outcome, TrainedMember) for outcome in outcomes] == n_networks * [together_]


def test_a_bad_network_spoils_no_other(device):
    bad = request(device)
    bad.data.X = bad.data.X[:, :2]
    bad.network = [Dense(3), None]
    outcomes = Together().fit([bad, request(device), request(device)])
    assert isinstance(outcomes[0], Exception)
    assert all(isinstance(outcome, TrainedMember) for outcome in outcomes[1:])


@pytest.mark.parametrize("n_rows", [1, 40, N])
def test_predictions(n_rows, device, monkeypatch):
    monkeypatch.setattr("skintricate.training.members.LARGEST_BATCH", 32)
    networks = [[Dense(7), TanH(), Dense(3), SoftMax()], [Dropout(0.3), Dense(4), ReLU()], [SoftMax()]]
    requests = []
    for k in range(6):
        network, rows = networks[k % 3], np.roll(np.arange(N), k)[:n_rows]
        state = NetworkState.initial(network, infer_shapes(network, N_FEATURES), k, "float32")
        requests.append(PredictRequest(open_device(device), "float32", network, state, X[rows].astype(np.float32)))
    for r, outputs in zip(requests, Together().predict(requests)):
        agree([outputs], [Forward(r.device, r.dtype, r.network, N_FEATURES, r.state).predict(r.X)], r.device)


def test_rows_lie_on_the_device_once(device):
    both = Together()
    requests = [request(device, rows=np.roll(np.arange(N), k)[:60]) for k in range(4)]
    both.fit(requests)
    both.predict([PredictRequest(r.device, r.dtype, r.network, r.state, X.astype(np.float32)) for r in requests])
    (rows,) = both._rows.values()
    assert len(rows._rows) == N


def test_regression_on_many_outputs(device):
    Y = rng.normal(size=(N, 3)).astype(np.float32)

    def make():
        requests = [request(device, k, [Dense(6), TanH(), Dense(3)], loss=MeanSquared()) for k in range(3)]
        for r in requests:
            r.data = Data(r.data.X, Y)
        return requests

    check(make)


def test_several_devices_work_at_once(device):
    others = [open_device(f"{d.kind}:{d.index}") for d in list_devices() if d.runtime != "oclgrind"]
    if len(others) < 2:
        pytest.skip("This machine has one device.")
    wanted = [conclude(None, r) for r in [request(device, k) for k in range(6)]]
    requests = [request(device, k) for k in range(6)]
    for number, r in enumerate(requests):
        r.device = others[number % len(others)]
    trainers = Together().fit(requests)
    assert all(isinstance(trainer, TrainedMember) for trainer in trainers), trainers
    histories = [conclude(trainer, r) for trainer, r in zip(trainers, requests)]
    for mine, other in zip(histories, wanted):
        np.testing.assert_allclose(mine.loss, other.loss, rtol=1e-4)
