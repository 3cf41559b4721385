"""Which plans earn a program of their own. That its bits are those of the program of all is in test_gpu_family.py."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from contracts import LOSSES, OPTIMIZERS, assert_bitwise, flat, instances, problem

from skintricate import Model, layers
from skintricate.exceptions import KernelBuildError
from skintricate.kernels import STAGE, GroupTile, Program, Tile, specialized
from skintricate.kernels import program as kernels_program
from skintricate.kernels.specialized import Earnings
from skintricate.layers import Activation, Dense, Sigmoid, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam
from skintricate.training.plan import Launch, Plan
from skintricate.training.together import run_together
from skintricate.training.vocabulary import built_in


def plan_of(batch_size):
    """Return a plan of two stages and two launches."""
    launches = [Launch("rows", 0, 1, 2, True), Launch("tiles", 1, 2, 3, False)]
    return Plan(batch_size, 8, stages=np.zeros(2, STAGE), launches=launches)


@pytest.mark.parametrize(("kept", "needed"), [(False, specialized.BUILD_SECONDS), (True, specialized.LOAD_SECONDS)])
def test_a_plan_earns_its_program(kept, needed):
    asked = []
    earnings = Earnings(lambda plan: asked.append(plan) or kept)
    assert not earnings.suffice(plan_of(10))
    earnings.trained(plan_of(10), 0.9 * needed)
    assert not earnings.suffice(plan_of(10))
    earnings.trained(plan_of(10), 0.2 * needed)  # by another fit of an equal network
    assert earnings.suffice(plan_of(10))
    assert not earnings.suffice(plan_of(11))
    assert len(asked) == 1


def test_nobody_asks_for_files_before_they_pay():
    earnings = Earnings(None)
    earnings.trained(plan_of(10), 0.9 * specialized.LOAD_SECONDS)
    assert not earnings.suffice(plan_of(10))


def test_cpus_have_no_such_program():
    """Their kernels would not be faster."""
    program = Program(None, "float32", built_in(), Tile(8, 4, 2, "mad"))
    program.trained(plan_of(10), 1e9)
    assert not program.specializes(plan_of(10))


class OutOfMemory(Exception):
    """What OpenCL raises."""


@pytest.mark.parametrize("error", [KernelBuildError, OutOfMemory])
def test_a_program_that_does_not_build_is_done_without(error, caplog, monkeypatch):
    """It may be the driver's fault, and the network is in training."""
    asked = []

    def fail(device, source, *_):
        asked.append(source)
        raise error("no registers left")

    monkeypatch.setattr(kernels_program, "build_program", fail)
    device = SimpleNamespace(cl=SimpleNamespace(Error=OutOfMemory))
    program = Program(device, "float32", built_in(), GroupTile(132))
    program.trained(plan_of(10), 2 * specialized.BUILD_SECONDS)
    assert not program.specializes(plan_of(10))
    program.trained(plan_of(10), 2 * specialized.BUILD_SECONDS)
    assert not program.specializes(plan_of(10))
    assert len(asked) == 1
    assert "no registers left" in caplog.text


@pytest.fixture
def sources(monkeypatch):
    """Let programs of plans be their sources."""
    monkeypatch.setattr(kernels_program, "build_program", lambda device, source, *_: source)
    kernel = lambda source, name: [source]  # noqa: E731
    cl = SimpleNamespace(Error=OutOfMemory, Kernel=kernel)
    return SimpleNamespace(program=lambda source, *_: source, cl=cl)


def test_stages_are_constants_of_the_source(sources):
    plan = plan_of(10)
    plan.stages["inputs"] = 12345, 67890
    plan.stages["tiles"] = 2, 3
    program = Program(sources, "float32", built_in(), GroupTile(132))
    source, other = program.built_for(plan), program.built("all")
    assert [text in source for text in ("12345", "67890", "KERNEL tiles")] == [True, True, False]
    assert [text in other for text in ("12345", "67890", "KERNEL tiles")] == [False, False, True]
    assert program.built_for(plan_of(10)) != source


def test_the_programs_used_last_are_kept(sources, monkeypatch):
    monkeypatch.setattr(kernels_program, "MOST_PROGRAMS_OF_PLANS", 2)
    program = Program(sources, "float32", built_in(), GroupTile(132))

    def use(n):
        kernel = program.borrow("resident", plan_of(n))
        program.give_back([(kernel, "resident", plan_of(n))])
        return kernel

    kernels = [use(n) for n in (1, 2)]
    assert use(1) is kernels[0]
    use(3)
    assert use(1) is kernels[0]
    assert use(2) is not kernels[1]


def test_a_kernel_of_a_forgotten_program_is_dropped(sources, monkeypatch):
    monkeypatch.setattr(kernels_program, "MOST_PROGRAMS_OF_PLANS", 1)
    program = Program(sources, "float32", built_in(), GroupTile(132))
    kernels = [program.borrow("resident", plan_of(n)) for n in (1, 2)]
    program.give_back([(kernel, "resident", plan_of(n)) for n, kernel in enumerate(kernels, 1)])
    assert program.borrow("resident", plan_of(2)) is kernels[1]
    assert program.borrow("resident", plan_of(1)) is not kernels[0]


def test_tuning_compares_programs_of_the_same_kind():
    program = Program(None, "float32", built_in(), GroupTile(132), specializes_plans=False)
    program.trained(plan_of(10), 1e9)
    assert not program.specializes(plan_of(10))


def test_a_plan_is_known_by_when_its_stages_are_launched():
    one, other = plan_of(10), plan_of(10)
    other.launches, other.validation_launches = one.launches[:1], one.launches[1:]
    assert one.key == plan_of(10).key != other.key


ACTIVATIONS = [layer for layer in instances(layers) if isinstance(layer, Activation)]
MIXED = [layer for pair in zip([Dense(20)] * len(ACTIVATIONS), ACTIVATIONS) for layer in pair]
SMALL = [Dense(20), TanH(), Dense(3)]
# Layers, loss and optimizer.
CASES = [
    *[([*MIXED[k : k + 8], Dense(3)], MeanSquared(), Adam()) for k in range(0, len(MIXED), 8)],
    *[(SMALL, MeanSquared(), optimizer) for optimizer in OPTIMIZERS],
    *[([*SMALL, Sigmoid()], loss, Adam(clip_norm=0.1)) for loss in LOSSES],
]
# Of few rows, the gradients of several small layers are one phase; of many, they are summed in parts.
SEVERAL = ([Dense(5), TanH(), Dense(9), Sigmoid(), Dense(7), TanH(), Dense(3)], MeanSquared(), Adam())


def trained(case, device, seed=0, batch_size=200):
    """Return all weights of a model that a case has trained."""
    network, loss, optimizer = case
    n_samples = max(450, 2 * batch_size - 50)
    X, Y = problem(loss, n_samples, 30)
    model = Model(network, device=device, random_state=seed)
    options = {"loss": loss, "optimizer": optimizer, "alpha": 0.01, "batch_size": batch_size, "max_iter": 4}
    model.fit(0.3 * X, Y, sample_weight=np.linspace(0.1, 2, n_samples), **options)
    return model.state.weights


@pytest.mark.parametrize(
    ("case", "batch_size"),
    [*((case, 200) for case in CASES), (SEVERAL, 10), (SEVERAL, 3000)],
    ids=lambda value: f"{value[0][1]}-{value[1]}-{value[2]}" if isinstance(value, tuple) else str(value),
)
def test_every_bit_on_a_gpu(case, batch_size, gpu, programs_pay_after):
    """Its compiler makes one of a product and a sum wherever it sees both: it must see the same in both programs."""
    results = []
    for seconds in (1e9, 0.0):
        plans = programs_pay_after(seconds)
        results.append(trained(case, gpu, batch_size=batch_size))
        assert bool(plans) == (seconds == 0)
    assert_bitwise(*results)


def test_every_bit_of_many_networks_on_a_gpu(gpu, programs_pay_after):
    """As many as have a group each, with products on tensor cores."""
    results = []
    for seconds in (1e9, 0.0):
        plans = programs_pay_after(seconds)
        calls = [functools.partial(trained, CASES[-1], gpu, seed) for seed in range(140)]
        results.append(flat(run_together(calls)))
        assert bool(plans) == (seconds == 0)
    assert_bitwise(*results)
