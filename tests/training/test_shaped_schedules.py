"""Layers with shapes of their own, in every schedule and together with others: the same bits."""

import pytest
from contracts import SEED, SHAPED, assert_bitwise, flat, problem

from skintricate import Model
from skintricate.backend import open_device
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam
from skintricate.training import lowering, resident
from skintricate.training.together import run_together

OPTIONS = {"loss": MeanSquared(), "optimizer": Adam(0.01, clip_norm=5.0), "batch_size": 9, "max_iter": 2, "alpha": 0.1}


def results(name, device, dtype="float32"):
    """Return what training leaves: weights, optimizer states, losses and predictions."""
    network, n_features, n_outputs = SHAPED[name]
    X, Y = problem(MeanSquared(), 23, n_features, n_outputs)
    model = Model(network, device=device, dtype=dtype, random_state=SEED)
    history = model.fit(X, Y, validation_data=(X[:7], Y[:7]), **OPTIONS)
    return [*model.state.weights, *flat(model.state.optimizer_states), history.validation_score, model.predict(X)]


@pytest.mark.parametrize("name", SHAPED)
def test_schedules_agree(name, device, monkeypatch):
    expected = results(name, device)
    if not open_device(device).is_cpu:
        pytest.skip("A GPU scores validation rows of its staged schedule on the host.")
    for groups in (1, 2, 3):
        monkeypatch.setattr(resident, "choose_groups", lambda *_, groups=groups: groups)
        assert_bitwise(results(name, device), expected)


@pytest.mark.parametrize("name", SHAPED)
def test_stages_one_by_one(name, device, monkeypatch):
    if not open_device(device).is_cpu:
        pytest.skip("A GPU's blocks are always fused.")
    expected = results(name, device)
    monkeypatch.setattr(lowering, "CACHED_WEIGHTS", -1)
    monkeypatch.setattr(lowering.WeightUpdates, "_parts_pay", lambda *_: True)
    for found, wanted in zip(results(name, device), expected, strict=True):
        assert abs(found - wanted).max() <= 1e-4 * max(abs(wanted).max(), 1)


@pytest.mark.parametrize("name", SHAPED)
def test_together(name, device, served):
    network, n_features, n_outputs = SHAPED[name]
    X, Y = problem(MeanSquared(), 23, n_features, n_outputs)
    models, alone = ([Model(network, device=device, random_state=seed) for seed in (1, 2, 3)] for _ in range(2))

    def fit(model):
        return lambda: model.fit(X, Y, **OPTIONS)

    run_together([fit(model) for model in models])
    assert served == [3]
    for model in alone:
        model.fit(X, Y, **OPTIONS)
    outputs = run_together([lambda model=model: model.predict(X) for model in models])
    for model, found, other in zip(models, outputs, alone):
        if open_device(device).is_cpu:
            assert_bitwise([*model.state.weights, found], [*other.state.weights, other.predict(X)])
        else:
            assert abs(found - other.predict(X)).max() < 1e-3
