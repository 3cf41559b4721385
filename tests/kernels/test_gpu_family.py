"""The kernels of GPUs, run on a CPU's runtime: their numbers are those of the CPU's kernels, in every schedule."""

import numpy as np
import pytest
from contracts import assert_bitwise

from skintricate import Model
from skintricate.backend import open_device
from skintricate.kernels import GroupTile, program
from skintricate.layers import (
    ELU,
    GELU,
    Dense,
    Dropout,
    ReLU,
    SiLU,
    SoftMax,
    Softplus,
    TanH,
)
from skintricate.optimizers import Adam, Momentum
from skintricate.training import resident

RANDOM = np.random.default_rng(0)
NARROW, WIDE = RANDOM.normal(size=(53, 13)), RANDOM.normal(size=(150, 300))
CLASSES, NUMBERS = RANDOM.integers(0, 3, 53), RANDOM.normal(size=(53, 2))
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
# Layers, X, y and the options of fit; batches that do not divide the samples, widths that do not divide vectors.
CASES = {
    "classes": ([Dense(7), TanH(), Dense(3), SoftMax()], NARROW, CLASSES, {"loss": "categorical_cross_entropy"}),
    "one output": ([Dense(20), ReLU(), Dense(1)], NARROW, NUMBERS[:, 0], {"alpha": 0.1}),
    "weights": (
        [Dense(30), Dropout(0.2), SiLU(), Dense(18), GELU(), Dense(2)],
        NARROW,
        NUMBERS,
        {"sample_weight": np.linspace(0, 1, 53), "loss": "huber"},
    ),
    "layers of their own": (
        [TanH(), Dense(20), SoftMax(), Dropout(0.3), Dense(8), Softplus(), ELU(), Dense(3), SoftMax()],
        NARROW,
        np.eye(3)[CLASSES],
        {"shuffle": False},
    ),
    "wide": (
        [Dense(131), ReLU(), Dense(130), ELU(), Dense(10), SoftMax()],
        WIDE,
        RANDOM.integers(0, 10, 150),
        {"loss": "categorical_cross_entropy", "batch_size": 64, "alpha": 0.01},
    ),
    "clipped": (
        [Dense(131, use_bias=False), ReLU(), Dense(130), TanH(), Dense(2)],
        WIDE,
        RANDOM.normal(size=(150, 2)),
        {"optimizer": Adam(0.01, clip_norm=0.5), "batch_size": 64, "alpha": 0.01},
    ),
    "few rows": ([Dense(3), TanH(), Dense(1), TanH()], NARROW[:4], NUMBERS[:4, :1], {"optimizer": Momentum(0.1)}),
}
SCHEDULES = {"staged": None, "one group": 1, "three groups": 3}


@pytest.fixture
def gpu_tile(device, monkeypatch):
    """Return a function that gives a device the tile of a GPU of so many units; programs made before are put aside."""
    opened = open_device(device)
    if opened.info.runtime != "intel":
        pytest.skip("PoCL takes minutes to compile these kernels; on a GPU all other tests run them.")

    def use(units):
        sizes = {"float32": {}, "float64": {"width": 2, "sizes": (16, 32), "depth": 16}}
        monkeypatch.setattr(opened, "_made", {})
        monkeypatch.setattr(program, "tile_of", lambda _, dtype, *__: GroupTile(units, **sizes[dtype]))

    return use


def trained(case, device, dtype, monkeypatch, schedule=None):
    """Return the model and its history, trained in a schedule of the GPU's kernels, or as the device does."""
    layers, X, y, options = CASES[case]
    with monkeypatch.context() as patch:
        if schedule == "staged":
            patch.setattr(resident, "suits", lambda *_: False)
        elif schedule is not None:
            patch.setattr(resident, "choose_groups", lambda *_: SCHEDULES[schedule])
        model = Model(layers, device=device, dtype=dtype, random_state=3)
        history = model.fit(X, y, **{"batch_size": 10, "max_iter": 3, **options})
    return model, history


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_as_the_cpu(case, dtype, device, gpu_tile, monkeypatch):
    expected, expected_history = trained(case, device, dtype, monkeypatch)
    predicted = expected.predict(CASES[case][1])
    gpu_tile(units=8)
    results = []
    for schedule in SCHEDULES:
        model, history = trained(case, device, dtype, monkeypatch, schedule)
        tolerance = TOLERANCE[dtype]
        np.testing.assert_allclose(history.step_loss, expected_history.step_loss, tolerance, tolerance)
        for weights, other in zip(model.state.weights, expected.state.weights):
            np.testing.assert_allclose(weights, other, 20 * tolerance, 20 * tolerance)
        np.testing.assert_allclose(model.predict(CASES[case][1]), predicted, 20 * tolerance, 20 * tolerance)
        results.append([*model.state.weights, history.step_loss])
    for result in results[1:]:
        assert_bitwise(results[0], result)


@pytest.mark.parametrize("units", [1, 8, 1000])
def test_a_number_does_not_depend_on_the_tile(units, device, gpu_tile, monkeypatch):
    """Few units get large tiles, many get small ones."""
    gpu_tile(units=3)
    expected, history = trained("wide", device, "float32", monkeypatch)
    gpu_tile(units=units)
    model, other = trained("wide", device, "float32", monkeypatch)
    assert_bitwise(expected.state.weights, model.state.weights)
    np.testing.assert_allclose(history.step_loss, other.step_loss, 1e-6)


def test_a_row_does_not_depend_on_those_beside_it(device, gpu_tile, monkeypatch):
    gpu_tile(units=8)
    model, _ = trained("wide", device, "float32", monkeypatch)
    together = model.predict(WIDE)
    assert_bitwise([np.concatenate([model.predict(WIDE[k : k + 1]) for k in range(5)])], [together[:5]])


@pytest.mark.parametrize("weighted", [False, True])
def test_validation_and_early_stopping(weighted, device, gpu_tile, monkeypatch):
    """Scored and stopped on the device, as on the CPU."""
    layers = [Dense(20), ReLU(), Dense(3), SoftMax()]
    options = {"loss": "categorical_cross_entropy", "early_stopping": True, "n_iter_no_change": 3, "max_iter": 40}
    options |= {"batch_size": 7, "validation_data": (NARROW[:17], CLASSES[:17])}
    options["sample_weight"] = np.linspace(0.5, 1, 36) if weighted else None
    runs = []
    for units in (None, 8):
        if units:
            gpu_tile(units)
        model = Model(layers, device=device, random_state=1)
        history = model.fit(NARROW[17:], CLASSES[17:], **options)
        runs.append((history.validation_score, history.stopped_by, model.predict(NARROW)))
    np.testing.assert_allclose(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    np.testing.assert_allclose(runs[0][2], runs[1][2], 1e-4, 1e-5)


def test_much_validation_data_is_scored_by_the_host(device, gpu_tile):
    """A group's local memory holds so many phases; a batch of validation rows takes some."""
    gpu_tile(units=8)
    model = Model([Dense(2)], device=device, random_state=1)
    X, y = np.tile(NARROW, (8, 1)), np.tile(NUMBERS, (8, 1))
    history = model.fit(NARROW, NUMBERS, batch_size=3, max_iter=2, validation_data=(X, y))
    error = ((y - model.predict(X)) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(history.validation_score[-1], (1 - error).mean(), 1e-5)
