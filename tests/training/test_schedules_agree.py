"""One launch for many epochs, by one or more work-groups, some for a step, or one for every stage: the same bits."""

from dataclasses import replace

import numpy as np
import pytest
from contracts import (
    EMBEDDED,
    SEED,
    SHAPED,
    assert_bitwise,
    assert_close,
    flat,
    initial_weights,
    problem,
    shaped_problem,
)
from reference import Descent, Network, train

from skintricate import Model
from skintricate.backend import open_device
from skintricate.kernels import Tile, shuffled_order
from skintricate.kernels.tile import tile_of
from skintricate.layers import (
    GELU,
    Dense,
    Dropout,
    Exponential,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    SoftMax,
    Softplus,
    TanH,
)
from skintricate.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Huber, MeanSquared, Poisson
from skintricate.optimizers import Adam, Basic
from skintricate.training import Lowering, lowering, resident
from skintricate.training import plans as kept_plans
from skintricate.training.on_device import ResidentTrainer
from skintricate.training.resident import Resident
from skintricate.training.staged import Staged

NETWORKS = [
    ([Dense(50), TanH(), Dense(3), SoftMax()], CategoricalCrossEntropy()),
    ([Dense(7), GELU(), ReLU(), Dense(101), SiLU(), Dense(3), Sigmoid()], BinaryCrossEntropy()),
    ([TanH(), SoftMax(), Dense(20), Dropout(0.3), LeakyReLU(), Dense(3), Softplus(), SoftMax()], MeanSquared()),
    ([Dropout(0.2), Dense(49, use_bias=False), SoftMax(), Dropout(0.5), Dense(3), Exponential()], Poisson()),
    ([Dense(97), TanH(), Dense(97), TanH(), Dense(97), GELU(), Dense(3)], Huber(0.5)),
]


SCHEDULES = ["resident, 1 group", "resident, 2 groups", "resident, 5 groups", "rows", "stages"]


@pytest.fixture
def launched(monkeypatch):
    """Return the list of the kernels that each plan launches, as plans are made."""
    plans, run = [], Lowering.run

    def spy(self):
        plan = run(self)
        plans.append([launch.kernel for launch in plan.launches])
        return plan

    monkeypatch.setattr(Lowering, "run", spy)
    monkeypatch.setattr(kept_plans, "_plans", {})
    return plans


def choose(schedule, monkeypatch):
    """Let training take a schedule: all in one launch, a launch for blocks of rows, or one for every stage."""
    name, _, groups = schedule.partition(", ")
    monkeypatch.setattr(kept_plans, "_plans", {})
    monkeypatch.setattr(resident, "suits", lambda *_: name == "resident")
    if groups:
        monkeypatch.setattr(resident, "choose_groups", lambda *_: int(groups.split()[0]))
    if schedule == "stages":
        monkeypatch.setattr(lowering, "CACHED_WEIGHTS", 0)


def skip_where_there_is_one_schedule(device, dtype):
    """A GPU's schedules are compared in tests/kernels/test_gpu_family.py."""
    if tile_of(open_device(device), dtype).family != "cpu":
        pytest.skip("These schedules are those of CPUs.")


def trained(network, loss, device, dtype, clip_norm, weighted, data=None):
    """Return all that training tells."""
    X, Y = data or problem(loss, 53, 6)
    model = Model(network, device=device, dtype=dtype, random_state=3)
    weight = np.random.default_rng(0).random(53) if weighted else None
    options = {"batch_size": 12, "max_iter": 3, "alpha": 0.1, "sample_weight": weight}
    history = model.fit(X, Y, loss=loss, optimizer=Adam(0.01, clip_norm=clip_norm), **options)
    return [*model.state.weights, *flat(model.state.optimizer_states), history.step_loss, model.predict(X)]


@pytest.mark.parametrize(("network", "loss"), NETWORKS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_all_schedules(network, loss, dtype, clip_norm, weighted, float64, monkeypatch, launched):
    skip_where_there_is_one_schedule(float64, dtype)
    results, plans = [], []
    for schedule in SCHEDULES:
        launched.clear()
        with monkeypatch.context() as patch:
            choose(schedule, patch)
            results.append(trained(network, loss, float64, dtype, clip_norm, weighted))
        plans.append(launched[0].copy())
    for result in results[1:]:
        assert_bitwise(results[0], result)
    *fused, unfused = plans
    assert all(plan == fused[0] and plan.count("rows") == 1 for plan in fused)
    assert "rows" not in unfused


# One kind for each: each shape makes a program of its own, for which PoCL takes half a minute.
KINDS = [("float32", None), ("float64", 0.5), ("float32", 0.5), ("float64", None)]


@pytest.mark.parametrize(
    ("name", "dtype", "clip_norm"), [(name, *KINDS[k % 4]) for k, name in enumerate([*SHAPED, *EMBEDDED])]
)
def test_every_shape(name, dtype, clip_norm, float64, monkeypatch):
    skip_where_there_is_one_schedule(float64, dtype)
    network, *data = shaped_problem(name, 53)
    results = []
    for schedule in SCHEDULES:
        with monkeypatch.context() as patch:
            choose(schedule, patch)
            results.append(trained(network, MeanSquared(), float64, dtype, clip_norm, clip_norm is not None, data))
    for result in results[1:]:
        assert_bitwise(results[0], result)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_is_the_one_asked_for(schedule, device, monkeypatch):
    """Otherwise the comparison above would be of one schedule with itself."""
    skip_where_there_is_one_schedule(device, "float32")
    made = []
    for cls in (Resident, Staged):
        init = cls.__init__

        def spy(self, *arguments, init=init):
            made.append(type(self))
            init(self, *arguments)

        monkeypatch.setattr(cls, "__init__", spy)
    choose(schedule, monkeypatch)
    Model([Dense(3)], device=device, random_state=0).fit(*problem(MeanSquared()), max_iter=1)
    assert made == [Resident if schedule.startswith("resident") else Staged]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("patience", [None, 2])
def test_many_epochs_of_a_schedule(schedule, patience, float64, monkeypatch):
    """Several runs of several epochs, the data's order new in each, and a stop in the middle of one."""
    skip_where_there_is_one_schedule(float64, "float64")
    X, Y = problem(MeanSquared(), 23, 4)
    network, epochs = [Dense(6), TanH(), Dense(3)], 120
    start = initial_weights(network, 4)
    orders = [shuffled_order(23, SEED, epoch) for epoch in range(epochs)]
    arguments = (Network(network, MeanSquared()), start, X, Y, Descent(Basic(0.1)), orders, 5)
    weights, losses, _ = train(*arguments)
    choose(schedule, monkeypatch)
    model = Model(network, device=float64, dtype="float64", random_state=SEED)
    options = {"batch_size": 5, "tol": 0.002, "n_iter_no_change": patience, "max_iter": epochs}
    history = model.fit(X, Y, optimizer=Basic(0.1), **options)
    expected = np.average(losses.reshape(epochs, 5), axis=1, weights=[5, 5, 5, 5, 3])
    np.testing.assert_allclose(history.step_loss, losses[: 5 * len(history)], rtol=1e-9)
    np.testing.assert_allclose(history.loss, expected[: len(history)], rtol=1e-9)
    if patience is None:
        assert len(history) == epochs
        assert_close(model.state.weights, weights, 1e-9)
    else:
        assert history.stopped_by == "no improvement"
        assert len(history) < epochs
        assert (model.state.epoch, model.state.step) == (len(history), 5 * len(history))


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_sums_in_parts(clip_norm, float64, monkeypatch, launched):
    """A batch whose weight gradients are summed in parts, which are then added: in every schedule that has them."""
    skip_where_there_is_one_schedule(float64, "float64")
    of = Tile.of
    monkeypatch.setattr(Tile, "of", staticmethod(lambda *arguments: replace(of(*arguments), parts=3)))
    open_device(float64)._made.clear()  # programs hold their tile
    X, Y = problem(MeanSquared(), 230, 6)
    network, results = [Dense(11), TanH(), Dense(5), ReLU(), Dense(3)], []
    orders = [shuffled_order(230, SEED, epoch) for epoch in range(2)]
    options = {"batch_size": 101, "max_iter": 2, "alpha": 0.1}
    for schedule in SCHEDULES[:-1]:
        with monkeypatch.context() as patch:
            choose(schedule, patch)
            model = Model(network, device=float64, dtype="float64", random_state=SEED)
            model.fit(X, Y, optimizer=Basic(0.1, clip_norm=clip_norm), **options)
        results.append(model.state.weights)
        assert launched[-1].count("dense_add_parts") == 1
    open_device(float64)._made.clear()
    for result in results[1:]:
        assert_bitwise(results[0], result)
    descent = Descent(Basic(0.1, clip_norm=clip_norm))
    start = initial_weights(network, 6)
    expected, *_ = train(Network(network, MeanSquared(), alpha=0.1), start, X, Y, descent, orders, 101)
    assert_close(results[0], expected, 1e-9)


def test_a_launch_may_end_after_any_step(float64, monkeypatch):
    """Launches are cut so that an interrupt is served; where, changes nothing."""
    skip_where_there_is_one_schedule(float64, "float32")
    X, Y = problem(MeanSquared(), 53, 6)
    results = []
    for seconds in (100.0, 1e-12):
        monkeypatch.setattr(resident, "PATIENCE", seconds)
        for groups in (1, 3):
            monkeypatch.setattr(resident, "choose_groups", lambda *_, groups=groups: groups)
            model = Model([Dense(9), TanH(), Dense(3)], device=float64, random_state=0)
            history = model.fit(X, Y, batch_size=10, max_iter=7)
            results.append([*model.state.weights, history.step_loss, history.loss])
    for result in results[1:]:
        assert_bitwise(results[0], result)


def test_more_groups_than_cores(device, monkeypatch):
    """No group waits for one that has not begun."""
    skip_where_there_is_one_schedule(device, "float32")
    monkeypatch.setattr(resident, "choose_groups", lambda plan, costs, units: 40 * units)
    X, Y = problem(MeanSquared(), 300, 6)
    model = Model([Dense(9), TanH(), Dense(3)], device=device, random_state=0)
    assert len(model.fit(X, Y, batch_size=100, max_iter=50)) == 50


def test_a_network_larger_than_the_cache_is_not_fused(device, launched):
    skip_where_there_is_one_schedule(device, "float32")
    wide = Model([Dense(700), TanH(), Dense(700), TanH(), Dense(1)], device=device, random_state=0)
    X = np.random.default_rng(0).normal(size=(20, 30))
    wide.fit(X, X[:, 0], batch_size=10, max_iter=2)
    assert not any("rows" in kernels for kernels in launched)
    assert launched[0].count("dense_forward") == 3


def test_epochs_queued_together_and_one_by_one(device, monkeypatch):
    """Waiting after each epoch, as callbacks make training do, changes nothing."""
    X, Y = problem(MeanSquared(), 40, 6)
    models, asked = [], []
    run = ResidentTrainer.run

    def spy(self, epochs):
        asked.append(min(epochs, self.epochs_at_once))
        return run(self, epochs)

    monkeypatch.setattr(ResidentTrainer, "run", spy)
    for metrics in ((), ["r2"]):
        model = Model([Dense(5), TanH(), Dropout(0.1), Dense(3)], device=device, random_state=0)
        history = model.fit(X, Y, batch_size=8, max_iter=30, metrics=metrics)
        models.append([*model.state.weights, history.step_loss, history.loss])
    assert_bitwise(*models)
    assert max(asked) > 1
    assert asked[-30:] == [1] * 30
