"""The kernels of GPUs: their numbers are those of the CPU's kernels, and the same bits in every schedule.

Intel's runtime runs them on a CPU, so that they are tested there too.
"""

import functools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
from contracts import (
    EMBEDDED,
    LAYERS,
    LOSSES,
    OPTIMIZERS,
    SHAPED,
    assert_bitwise,
    assert_close,
    flat,
    output_layers,
    problem,
    shaped_problem,
)

from skintricate import Model, list_devices
from skintricate.backend import Device, open_device
from skintricate.exceptions import DeviceError
from skintricate.kernels import GroupTile, group_tile
from skintricate.kernels.stage import MOST_STAGES
from skintricate.layers import (
    ELU,
    GELU,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Identity,
    LayerNorm,
    MaxPool2D,
    ReLU,
    Reshape,
    Sigmoid,
    SiLU,
    SoftMax,
    Softplus,
    TanH,
)
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam, Basic, Momentum
from skintricate.training import Lowering, MinLossReached, planning, resident, split, streamed, together, vocabulary
from skintricate.training import plans as kept_plans

RANDOM = np.random.default_rng(0)
NARROW, WIDE, IMAGES = (RANDOM.normal(size=size) for size in ((53, 13), (150, 300), (300, 784)))
CLASSES, NUMBERS, DIGITS = RANDOM.integers(0, 3, 53), RANDOM.normal(size=(53, 2)), RANDOM.integers(0, 10, 300)
MANY, MANY_CLASSES = RANDOM.normal(size=(700, 21)), RANDOM.integers(0, 3, 700)
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
CLASSIFIER = [Dense(7), TanH(), Dense(3), SoftMax()]
CROSS_ENTROPY = {"loss": "categorical_cross_entropy"}
# Layers, X, y and the options of fit; batches that do not divide the samples, widths that do not divide vectors.
CASES = {
    "classes": (CLASSIFIER, NARROW, CLASSES, CROSS_ENTROPY),
    "one output": ([Dense(20), ReLU(), Dense(1)], NARROW, NUMBERS[:, 0], {"alpha": 0.1}),
    "weights": (
        [Dense(30), Dropout(0.2), SiLU(), Dense(18), GELU(), Dense(2)],
        NARROW,
        NUMBERS,
        {"sample_weight": np.linspace(0, 1, 53), "loss": "huber"},
    ),
    "a batch without weight": (
        CLASSIFIER,
        NARROW,
        CLASSES,
        {**CROSS_ENTROPY, "sample_weight": 1.0 * (np.arange(53) > 22), "shuffle": False, "alpha": 0.1},
    ),
    "layers of their own": (
        [TanH(), Dense(20), SoftMax(), Dropout(0.3), Dense(8), Softplus(), ELU(), Dense(3), SoftMax()],
        NARROW,
        np.eye(3)[CLASSES],
        {"shuffle": False},
    ),
    "no bias": ([Dense(21, use_bias=False), TanH(), Dense(5, use_bias=False)], NARROW, NARROW[:, :5], {"alpha": 0.1}),
    "wide": (
        [Dense(131), ReLU(), Dense(130), ELU(), Dense(10), SoftMax()],
        WIDE,
        DIGITS[:150],
        {**CROSS_ENTROPY, "batch_size": 64, "alpha": 0.01},
    ),
    "images": (
        [Dense(200), ReLU(), Dense(150), ReLU(), Dense(10), SoftMax()],
        IMAGES,
        DIGITS,
        {**CROSS_ENTROPY, "batch_size": 128, "sample_weight": np.linspace(0, 1, 300), "optimizer": Momentum(0.05)},
    ),
    "clipped": (
        [Dense(131, use_bias=False), Softplus(), Dense(130), TanH(), Dense(2)],
        WIDE,
        RANDOM.normal(size=(150, 2)),
        {"optimizer": Momentum(0.05, clip_norm=0.5), "batch_size": 64, "alpha": 0.01},
    ),
    "narrow, clipped": (CLASSIFIER, NARROW, CLASSES, {**CROSS_ENTROPY, "optimizer": Adam(0.01, clip_norm=0.1)}),
    "few rows": ([Dense(3), TanH(), Dense(1), TanH()], NARROW[:4], NUMBERS[:4, :1], {"optimizer": Momentum(0.1)}),
    "rows one by one": ([Dense(9), TanH(), Dense(2)], NARROW[:11], NUMBERS[:11], {"batch_size": 1}),
    "one row": ([Dense(9), TanH(), Dense(2)], NARROW[:1], NUMBERS[:1], {}),
    "one feature": ([Dense(9), TanH(), Dense(2)], NARROW[:, :1], NUMBERS, {}),
    "many outputs": ([Dense(6), TanH(), Dense(301), SoftMax()], NARROW, np.arange(53) * 5, CROSS_ENTROPY),
    "sparse": ([Dense(9), TanH(), Dense(2)], scipy.sparse.csr_matrix(NARROW * (NARROW > 0)), NUMBERS, {}),
    "no improvement": (
        CLASSIFIER,
        NARROW,
        CLASSES,
        {**CROSS_ENTROPY, "n_iter_no_change": 2, "tol": 0.05, "max_iter": 30},
    ),
}
# Of these, groups of eight units take blocks of many rows, and sums of gradients in parts; those of images take small
# blocks. A long sum is shared by the items of a group, short ones are an item's alone.
MANY_ROWS = {
    "classes": (
        [Dense(50), TanH(), Dense(40), SiLU(), Dense(3), SoftMax()],
        MANY,
        MANY_CLASSES,
        {**CROSS_ENTROPY, "batch_size": 500, "alpha": 0.1},
    ),
    "clipped": (
        [Dense(130), ReLU(), Dense(5), TanH(), Dense(40, use_bias=False), SoftMax(), Dense(2)],
        MANY,
        MANY[:, :2],
        {"optimizer": Momentum(0.05, clip_norm=0.5), "batch_size": 300, "sample_weight": np.arange(700) % 3},
    ),
    "a long sum": ([Dense(4), TanH(), Dense(2)], RANDOM.normal(size=(300, 261)), MANY[:300, :2], {"batch_size": 299}),
    "normalised": (
        [Dense(9), BatchNorm(), TanH(), LayerNorm(), Dense(2)],
        MANY,
        MANY[:, :2],
        {"batch_size": 260, "optimizer": Momentum()},
    ),
    "sparse": (
        [Dense(9), TanH(), Dense(2)],
        scipy.sparse.csr_matrix(MANY * (MANY > 1)),
        MANY[:, :2],
        {"batch_size": 400},
    ),
    "images": (
        [Reshape((3, 7, 1)), Conv2D(4, 2), ReLU(), MaxPool2D(2), Flatten(), Dense(3), SoftMax()],
        MANY,
        MANY_CLASSES,
        {**CROSS_ENTROPY, "batch_size": 310},
    ),
}
CONVOLVED = (
    [Reshape((5, 8, 1)), Conv2D(6, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3), SoftMax()],
    RANDOM.normal(size=(53, 40)),
    CLASSES,
    CROSS_ENTROPY,
)
VALIDATED = (
    CLASSIFIER,
    NARROW[17:],
    CLASSES[17:],
    {**CROSS_ENTROPY, "early_stopping": True, "validation_data": (NARROW[:17], CLASSES[:17]), "max_iter": 9},
)
# Those of which each tells something else of a program of one network.
OWN = "classes", "weights", "layers of their own", "images", "clipped", "few rows", "rows one by one"
SCHEDULES = {"staged": None, "one group": 1, "three groups": 3, "five groups": 5}


@pytest.fixture
def gpu_tile(float64, monkeypatch):
    """Return a function that gives a device the tile of a GPU of so many units; programs made before are put aside."""
    device = open_device(float64)
    if device.info.runtime == "pocl":
        pytest.skip("PoCL 3.0's compiler crashes on these kernels, after a minute.")

    def use(units):
        def tile_of(other, dtype, precision="highest"):
            tile = GroupTile.of(other, dtype, precision)
            return replace(tile, units=units) if other.info == device.info else own(other, dtype, precision)

        if device.info.runtime == "intel":
            # Where it optimizes, its compiler takes ten seconds for these kernels, now and then for ever.
            monkeypatch.setattr(GroupTile, "options", lambda tile, dtype: [*options(tile, dtype), "-cl-opt-disable"])
        monkeypatch.setattr(device, "_made", PROGRAMS.setdefault((device.info, units), {}))
        monkeypatch.setattr(vocabulary, "tile_of", tile_of)

    own, options = vocabulary.tile_of, GroupTile.options
    return use


# Of each device with each number of units.
PROGRAMS = {}


@pytest.fixture
def cpu(float64):
    """Return the wish of a device that runs the kernels of CPUs: the tests' own, or another one of this machine."""
    if open_device(float64).is_cpu:
        return float64
    others = [device.runtime for device in list_devices() if device.kind == "cpu"]
    return others[0] if others else pytest.skip("no CPU's kernels to compare with")


@pytest.fixture
def plans(monkeypatch):
    """Return the list of all plans, as they are made."""
    made, run = [], Lowering.run

    def spy(self):
        made.append(run(self))
        return made[-1]

    monkeypatch.setattr(Lowering, "run", spy)
    monkeypatch.setattr(kept_plans, "_plans", {})
    return made


def train(case, device, dtype="float64", **more):
    """Return a model and its history, trained as a case says."""
    layers, X, y, options = CASES[case] if isinstance(case, str) else case
    model = Model(layers, device=device, dtype=dtype, random_state=3)
    return model, model.fit(X, y, **{"batch_size": 10, "max_iter": 3, **options, **more})


def in_schedule(schedule, monkeypatch):
    """Let training take a schedule from now on."""
    if schedule == "staged":
        monkeypatch.setattr(resident, "suits", lambda *_: False)
    else:
        monkeypatch.setattr(resident, "choose_groups", lambda *_: SCHEDULES[schedule])


def results_of(case, device, dtype="float64", schedule=None):
    """Return all that training tells: weights, optimizer states, losses, and the predictions afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        if schedule is not None:
            in_schedule(schedule, patch)
        model, history = train(case, device, dtype)
        X = (CASES[case] if isinstance(case, str) else case)[1]
        told = [history.loss, history.step_loss, np.nan_to_num(history.step_accuracy), model.predict(X)]
        return [*model.state.weights, *flat(model.state.optimizer_states), *told]


def check_schedules(case, device, cpu, gpu_tile, dtype="float64", units=24):
    """Compare every schedule with the CPU's kernels, and bitwise with each other."""
    expected = results_of(case, cpu, dtype)
    gpu_tile(units)
    schedules = list(SCHEDULES) if open_device(device).has_fence else ["staged"]
    results = [results_of(case, device, dtype, schedule=schedule) for schedule in schedules]
    assert_close(results[0], expected, TOLERANCE[dtype])
    for result in results[1:]:
        assert_bitwise(result, results[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_as_the_cpu(case, dtype, float64, cpu, gpu_tile):
    check_schedules(case, float64, cpu, gpu_tile, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", MANY_ROWS)
def test_many_rows(case, dtype, float64, cpu, gpu_tile, plans, monkeypatch):
    monkeypatch.setattr(group_tile, "LEAST_ROWS_OF_A_PART", 64)
    check_schedules(MANY_ROWS[case], float64, cpu, gpu_tile, dtype, units=8)
    found = [plan.block_rows == 64 and max(plan.stages["parts"]) > 1 for plan in plans]
    assert any(found) == (case != "images")


@pytest.mark.parametrize(("n_layers", "parts"), [(9, True), (10, True), (11, False)])
def test_parts_leave_room_for_all_stages(n_layers, parts, gpu_tile, float64, plans):
    """A launch that trains whole epochs has a table of them."""
    gpu_tile(units=8)
    layers = [layer for _ in range(n_layers - 1) for layer in (Dense(4), TanH())]
    train(([*layers, Dense(2)], MANY, MANY[:, :2], {"batch_size": 300, "max_iter": 1}), float64)
    plan = max(plans, key=lambda plan: len(plan.stages))
    assert bool(max(plan.stages["parts"]) > 1) == parts
    assert len(plan.stages) <= MOST_STAGES


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_every_layer(layer, float64, cpu, gpu_tile):
    """Alone at the input, after a dense layer that may take it along, and alone once more.

    A batch norm leaves the bias before it a gradient of rounding errors, which an Adam would make as large as others.
    """
    X, Y = problem(MeanSquared(), 19, 6)
    options = {"batch_size": 8, "optimizer": Momentum(0.01)}
    check_schedules(([layer, Dense(9), layer, layer, Dense(3)], 0.3 * X, Y, options), float64, cpu, gpu_tile)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_shape(name, dtype, float64, cpu, gpu_tile):
    layers, n_features, n_outputs = SHAPED[name]
    X, Y = problem(MeanSquared(), 19, n_features, n_outputs)
    options = {"batch_size": 8, "optimizer": Momentum(0.01)}
    check_schedules((layers, 0.3 * X, Y, options), float64, cpu, gpu_tile, dtype)


@pytest.mark.parametrize("name", EMBEDDED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_embedding(name, dtype, float64, cpu, gpu_tile):
    layers, X, Y = shaped_problem(name, 19)
    check_schedules((layers, X, Y, {"batch_size": 8, "optimizer": Momentum(0.01)}), float64, cpu, gpu_tile, dtype)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_every_loss(loss, n_outputs, float64, cpu, gpu_tile):
    """After each output layer that suits it, with weights of which some are zero."""
    X, Y = problem(loss, 19, 6, n_outputs)
    cases = [
        ([Dense(5), TanH(), Dense(n_outputs), output or Identity()], X, Y, {"loss": loss, "batch_size": 8})
        for output in output_layers(loss)
    ]
    for case in cases:
        case[-1]["sample_weight"] = np.arange(19) % 4
    expected = [results_of(case, cpu) for case in cases]
    gpu_tile(units=2)
    for case, result in zip(cases, expected):
        assert_close(results_of(case, float64), result, TOLERANCE["float64"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_every_optimizer(optimizer, float64, cpu, gpu_tile):
    """In the update that follows a tile of gradients, and in that of few weights."""
    X, Y = problem(MeanSquared(), 45, 6)
    case = ([Dense(9), TanH(), Dense(3)], X, Y, {"optimizer": optimizer, "batch_size": 20})
    small = (*case[:3], {**case[3], "batch_size": 9})
    expected = [results_of(c, cpu) for c in (case, small)]
    gpu_tile(units=8)
    for c, result in zip((case, small), expected):
        assert_close(results_of(c, float64), result, TOLERANCE["float64"])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_is_the_one_asked_for(schedule, float64, gpu_tile, monkeypatch):
    """Otherwise the comparisons above would be of one schedule with itself."""
    if not open_device(float64).has_fence:
        pytest.skip("The work-groups of this device cannot wait for each other.")
    gpu_tile(units=8)
    in_schedule(schedule, monkeypatch)
    launcher, launched = resident.Resident.__init__, []

    def spy(self, arena, *arguments):
        launched.append(arena.program.tile.family)
        launcher(self, arena, *arguments)

    monkeypatch.setattr(resident.Resident, "__init__", spy)
    train("classes", float64)
    assert launched == ([] if schedule == "staged" else ["gpu"])


@pytest.mark.parametrize("case", [*OWN, CONVOLVED, VALIDATED], ids=[*OWN, "convolved", "validated"])
def test_a_program_of_its_own(case, float64, gpu_tile, programs_pay_after, monkeypatch):
    """The bits of the program of all plans, also where one takes over from the other."""
    if not open_device(float64).has_fence:
        pytest.skip("The work-groups of this device cannot wait for each other.")
    gpu_tile(units=8)
    monkeypatch.setattr(resident, "CAUTION", 1e9)  # a step a launch
    results = []
    for seconds in (1e9, 0.0, 1e-9):
        plans = programs_pay_after(seconds)
        dtype = "float64" if case == "classes" else "float32"
        results.append(results_of(case, float64, dtype, "three groups"))
        assert bool(plans) == (seconds < 1)
    for result in results[1:]:
        assert_bitwise(result, results[0])


def test_a_program_of_many_networks(float64, gpu_tile, programs_pay_after, monkeypatch):
    """Networks that share a plan train and predict in its program; those that do not, in that of all plans."""
    if not open_device(float64).has_fence:
        pytest.skip("The work-groups of this device cannot wait for each other.")
    gpu_tile(units=8)
    monkeypatch.setattr(together, "are_worth_a_launch", lambda *_: True)

    def fit(case, rate):
        model, _ = train(case, float64, optimizer=Adam(rate))
        return [*model.state.weights, model.predict(NARROW)]

    def fits(sizes):
        cases = [([Dense(n), TanH(), Dense(3), SoftMax()], NARROW, CLASSES, CROSS_ENTROPY) for n in sizes]
        rates = np.arange(1, 1 + len(cases)) / 100
        return flat(together.run_together([functools.partial(fit, case, rate) for case, rate in zip(cases, rates)]))

    plans = programs_pay_after(1e9)
    expected = fits((7, 7, 7))
    assert not plans
    plans = programs_pay_after(0.0)
    assert_bitwise(fits((7, 7, 7)), expected)
    assert len({plan.key for plan in plans}) == 2
    plans = programs_pay_after(0.0)
    fits((7, 7, 8))
    assert not plans


def test_batches_of_several_sizes_share_launches(float64, gpu_tile, monkeypatch):
    gpu_tile(units=8)
    monkeypatch.setattr(together, "are_worth_a_launch", lambda *_: True)
    made, init = [], together.Cohort.__init__

    def spy(self, *arguments):
        init(self, *arguments)
        made.append(len(self.members))

    monkeypatch.setattr(together.Cohort, "__init__", spy)
    sizes = (5, 20, 53)
    calls = [functools.partial(train, "one output", float64, batch_size=size) for size in sizes]
    for (model, _), size in zip(together.run_together(calls), sizes):
        alone, _ = train("one output", float64, batch_size=size)
        assert_close(model.state.weights, alone.state.weights, TOLERANCE["float64"])
    assert made == [3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_does_not_depend_on_the_tile(dtype, float64, gpu_tile, plans):
    """Few units get large tiles, many get small ones; blocks of rows are small. Sums of losses follow the tiles."""
    results, losses, sizes = [], [], set()
    for units in (17, 25, 100, 1000):
        gpu_tile(units)
        model, history = train("images", float64, dtype)
        results.append([*model.state.weights, model.predict(IMAGES)])
        sizes |= set(plans[0].stages["size"])
        losses.append(history.step_loss)
        plans.clear()
    assert sizes - {0} == ({16, 32, 64} if dtype == "float32" else {16, 32})
    for result in results[1:]:
        assert_bitwise(result, results[0])
    assert_close(losses[1:], losses[:1] * 3, TOLERANCE[dtype])


@pytest.mark.parametrize("case", ["images", "wide", "classes", "layers of their own", "many outputs", "one output"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_does_not_depend_on_those_beside_it(case, dtype, float64, gpu_tile):
    gpu_tile(units=8)
    model, _ = train(case, float64, dtype)
    X = CASES[case][1]
    together, some = model.predict(X), [0, 1, 7, len(X) - 1]
    assert_bitwise([np.concatenate([model.predict(X[k : k + 1]) for k in some])], [together[some]])
    assert_bitwise([model.predict(X[3:22])], [together[3:22]])


@pytest.mark.parametrize("case", ["images", "layers of their own", "one output"])
def test_outputs_of_every_layer(case, float64, cpu, gpu_tile):
    X = CASES[case][1]
    expected = train(case, cpu)[0].outputs(X)
    gpu_tile(units=8)
    assert_close(train(case, float64)[0].outputs(X), expected, TOLERANCE["float64"])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("target", ["classes", "labels", "numbers"])
@pytest.mark.parametrize("groups", [1, 3])
def test_validation_and_early_stopping(target, weighted, groups, float64, cpu, gpu_tile, monkeypatch):
    """Scored and stopped on the device, as on the CPU; the best weights are kept."""
    layers, y, options = {
        "classes": (CLASSIFIER, CLASSES, CROSS_ENTROPY),
        "labels": ([Dense(9), Dense(2), Sigmoid()], (NUMBERS > 0).astype(int), {"loss": "binary_cross_entropy"}),
        "numbers": ([Dense(9), TanH(), Dropout(0.1), Dense(2)], NUMBERS, {}),
    }[target]
    options = {**options, "early_stopping": True, "n_iter_no_change": 3, "max_iter": 60, "optimizer": Adam(0.02)}
    options |= {"batch_size": 7, "validation_data": (NARROW[:17], y[:17])}
    options["sample_weight"] = np.linspace(0.5, 1, 36) if weighted else None
    case = (layers, NARROW[17:], y[17:], options)
    expected, expected_history = train(case, cpu)
    gpu_tile(units=8)
    monkeypatch.setattr(resident, "choose_groups", lambda *_: groups)
    model, history = train(case, float64)
    assert history.stopped_by == expected_history.stopped_by == "no improvement"
    assert_close([history.validation_score], [expected_history.validation_score], TOLERANCE["float64"])
    assert_close(model.state.weights, expected.state.weights, TOLERANCE["float64"])


def test_halting_on_the_device(float64, cpu, gpu_tile):
    halted = {"halting_condition": MinLossReached(0.9), "max_iter": 100}
    runs = []
    for wish, units in ((cpu, None), (float64, 8)):
        if units:
            gpu_tile(units)
        with pytest.warns(match="halted"):
            runs.append(train("classes", wish, **halted))
    (expected, expected_history), (model, history) = runs
    assert 1 < len(history) == len(expected_history) < 100
    assert_close(model.state.weights, expected.state.weights, TOLERANCE["float64"])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_streamed_data(weighted, shuffle, float64, gpu_tile, monkeypatch):
    """Data larger than the memory budget: the bits of data that lie on the device."""
    gpu_tile(units=8)
    X, y = RANDOM.normal(size=(1957, 21)), RANDOM.integers(0, 3, 1957)
    weight = np.random.default_rng(2).random(1957) if weighted else None
    options = {**CROSS_ENTROPY, "batch_size": 32, "sample_weight": weight, "shuffle": shuffle}
    made = []

    def spy(*arguments):
        made.append(make_trainer(*arguments))
        return made[-1]

    make_trainer = planning.make_trainer
    monkeypatch.setattr("skintricate.training.fit.make_trainer", spy)
    results = []
    for limit in ("4G", "100k"):
        monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", limit)
        model, history = train(([Dropout(0.1), *CLASSIFIER], X, y, options), float64, "float32")
        results.append([*model.state.weights, *flat(model.state.optimizer_states), history.step_loss])
    assert [isinstance(trainer, streamed.StreamedTrainer) for trainer in made] == [False, True]
    assert_bitwise(results[1], results[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_several_devices_share_a_network(weighted, float64, gpu_tile, monkeypatch):
    """The weights of one device, with a last batch of which some have no rows."""
    gpu_tile(units=8)
    X, y = RANDOM.normal(size=(199, 21)), RANDOM.integers(0, 3, 199)
    options = {**CROSS_ENTROPY, "batch_size": 66, "alpha": 0.1}
    if weighted:
        options["sample_weight"] = np.random.default_rng(2).random(199)
    case = [Dropout(0.1), *CLASSIFIER], X, y, options
    expected, expected_history = train(case, float64)
    device = open_device(float64)
    devices = [device, *(Device(device.info, device.handle) for _ in range(2))]
    monkeypatch.setattr("skintricate.model.open_devices", lambda wish: devices)
    monkeypatch.setattr(split, "pays", lambda *_: True)
    model, history = train(case, float64)
    assert len(model.device_.split("), ")) == 3
    assert_close(model.state.weights, expected.state.weights, TOLERANCE["float64"])
    np.testing.assert_allclose(history.loss, expected_history.loss, rtol=1e-10)
    np.testing.assert_allclose(history.accuracy, expected_history.accuracy, rtol=1e-10)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_launch_may_end_after_any_step(groups, float64, gpu_tile, monkeypatch):
    gpu_tile(units=8)
    monkeypatch.setattr(resident, "choose_groups", lambda *_: groups)
    results = []
    for seconds in (100.0, 1e-12):
        monkeypatch.setattr(resident, "PATIENCE", seconds)
        results.append(results_of("weights", float64))
    assert_bitwise(results[1], results[0])


def test_more_groups_than_cores(float64, gpu_tile, monkeypatch):
    """No group waits for one that has not begun."""
    gpu_tile(units=8)
    expected = results_of("wide", float64)
    monkeypatch.setattr(resident, "choose_groups", lambda plan, costs, units: 40 * units)
    for _ in range(3):
        assert_bitwise(results_of("wide", float64), expected)


def test_training_goes_on(float64, gpu_tile):
    """Two fits of two epochs are one of four."""
    gpu_tile(units=8)
    whole, _ = train("weights", float64, max_iter=4)
    _, X, y, options = CASES["weights"]
    parts, _ = train("weights", float64, max_iter=2)
    parts.fit(X, y, **{"batch_size": 10, **options, "max_iter": 2})
    assert_bitwise(parts.state.weights, whole.state.weights)


def test_a_network_with_more_stages_than_local_memory_holds(float64, cpu, gpu_tile):
    """It is trained in launches for every step."""
    layers = [layer for _ in range(20) for layer in (Dense(6), TanH(), Dropout(0.05))]
    case = ([*layers, Dense(2)], NARROW, NUMBERS, {"optimizer": Basic(0.1)})
    expected = results_of(case, cpu)
    gpu_tile(units=8)
    assert_close(results_of(case, float64), expected, TOLERANCE["float64"])


@pytest.mark.parametrize("batch_size", [3, 8, 9, 10, 12])
def test_validation_rows_of_many_batches(batch_size, float64, cpu, gpu_tile):
    """A group's local memory holds so many phases, and a batch of validation rows takes some; else the host scores."""
    X, y = np.tile(NARROW, (16, 1)), np.tile(NUMBERS, (16, 1))
    case = ([Dense(5), TanH(), Dense(2)], NARROW, NUMBERS, {"batch_size": batch_size, "validation_data": (X, y)})
    _, expected = train(case, cpu)
    gpu_tile(units=8)
    model, history = train(case, float64)
    assert_close([history.validation_score], [expected.validation_score], TOLERANCE["float64"])
    error = ((y - model.predict(X)) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(history.validation_score[-1], (1 - error).mean(), 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_columns_of_many_inputs(dtype, float64, gpu_tile):
    """Slices of a sum are many there; the blocks of one row and of eight take them in the same order."""
    gpu_tile(units=8)
    X = RANDOM.normal(size=(40, 2003))
    model = Model([Dense(2)], device=float64, dtype=dtype, random_state=0)
    model.fit(X, X[:, :2], max_iter=1)
    assert_bitwise([np.concatenate([model.predict(X[k : k + 1]) for k in range(5)])], [model.predict(X)[:5]])


@pytest.mark.parametrize("limits", [(128, 2**20), (1024, 2**15)])
def test_a_gpu_of_small_groups_is_refused(limits, float64):
    handle = SimpleNamespace(max_work_group_size=limits[0], local_mem_size=limits[1])
    device = SimpleNamespace(handle=handle, info="a small GPU", is_cpu=False)
    with pytest.raises(DeviceError, match=rf"a small GPU has work-groups of {limits[0]} .* {limits[1]} bytes .*cpu"):
        vocabulary.tile_of(device, "float32")
