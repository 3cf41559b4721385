"""Networks that a GPU's groups train by themselves, each one of its own, with products by warps."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from contracts import OPTIMIZERS, problem

from skintricate import Model
from skintricate.kernels import GroupTile, group_tile
from skintricate.kernels.stage import OF_WARPS
from skintricate.layers import GELU, Dense, ReLU, SoftMax, TanH
from skintricate.losses import CategoricalCrossEntropy, MeanSquared
from skintricate.optimizers import Adam, Momentum
from skintricate.training import plans
from skintricate.training.together import run_together

# More than half as many as a GPU has units: fewer have several groups each.
N_NETWORKS = 140
# Features, layers, loss, optimizer and options of a fit. Widths are and are not multiples of vectors and tiles, results
# have up to 16 columns and more, the halves of a batch belong to one warp or to two.
CASES = {
    "digits": (64, [Dense(100), ReLU(), Dense(10), SoftMax()], CategoricalCrossEntropy(), Adam(), {"batch_size": 200}),
    "narrow": (3, [Dense(5), TanH(), Dense(16), TanH(), Dense(2)], MeanSquared(), Adam(), {"batch_size": 33}),
    "odd": (37, [Dense(17), TanH(), Dense(33), TanH(), Dense(23)], MeanSquared(), Momentum(), {"batch_size": 47}),
    "many": (130, [Dense(130), ReLU(), Dense(70), SoftMax()], CategoricalCrossEntropy(), Adam(), {"batch_size": 450}),
    "penalties": (20, [Dense(40, l1=0.01), ReLU(), Dense(12)], MeanSquared(), Adam(), {"batch_size": 64, "alpha": 0.1}),
    "clipped": (20, [Dense(40), ReLU(), Dense(12)], MeanSquared(), Adam(clip_norm=0.1), {"batch_size": 100}),
    "kept inputs": (20, [Dense(40), GELU(), Dense(40), GELU(), Dense(1)], MeanSquared(), Adam(), {"batch_size": 100}),
    "no bias": (
        20,
        [Dense(40, use_bias=False), TanH(), Dense(40, use_bias=False)],
        MeanSquared(),
        Adam(),
        {"batch_size": 100},
    ),
    "in order": (20, [Dense(40), TanH(), Dense(4)], MeanSquared(), Adam(), {"batch_size": 100, "shuffle": False}),
    **{
        f"{type(optimizer).__name__} {number}": (
            20,
            [Dense(40), TanH(), Dense(20)],
            MeanSquared(),
            optimizer,
            {"batch_size": 90},
        )
        for number, optimizer in enumerate(OPTIMIZERS)
    },
}


def trained(case, device, seed, dtype="float32", precision="highest", **more):
    """Return the history of a model that a case has trained, and its weights."""
    n_features, network, loss, optimizer, options = case
    options = options | more
    X, Y = problem(loss, 450, n_features, network[-1 if isinstance(network[-1], Dense) else -2].units)
    model = Model(network, device=device, dtype=dtype, precision=precision, random_state=seed)
    weight = np.linspace(0.1, 2, 450)
    model.fit(0.3 * X, Y, sample_weight=weight, loss=loss, optimizer=optimizer, max_iter=4, **options)
    return model.history_, model.state.weights


@pytest.fixture
def always(monkeypatch):
    """Let groups train networks by themselves whatever their batches."""
    monkeypatch.setattr(group_tile, "ROWS_OF_A_UNIT", 1)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.usefixtures("always")
def test_they_are_as_good_as_in_float64(case, gpu):
    found = run_together([functools.partial(trained, case, gpu, seed) for seed in range(N_NETWORKS)])
    for seed in (0, N_NETWORKS - 1):
        history, weights = trained(case, "cpu", seed, "float64")
        np.testing.assert_allclose(found[seed][0].loss, history.loss, rtol=1e-5)
        np.testing.assert_allclose(found[seed][0].accuracy, history.accuracy, rtol=1e-5)
        for one, other in zip(found[seed][1], weights):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", [CASES["digits"], CASES["many"]], ids=["narrow", "wide"])
def test_their_scores(case, gpu):
    """Of the validation rows after each epoch."""
    n_features, network, loss, *_ = case
    X, Y = problem(loss, 90, n_features, network[-2].units, seed=1)
    scored = {"early_stopping": True, "validation_data": (0.3 * X, Y)}
    found = run_together([functools.partial(trained, case, gpu, seed, **scored) for seed in range(N_NETWORKS)])
    history, _ = trained(case, "cpu", 0, "float64", **scored)
    np.testing.assert_allclose(found[0][0].validation_score, history.validation_score, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [CASES["digits"], CASES["many"]], ids=["an empty one", "two"])
def test_parts_of_a_batch(case, gpu, monkeypatch):
    """Are stored and added up, as those of large gradients are."""
    monkeypatch.setattr(GroupTile, "parts_of", lambda *_: 2)
    monkeypatch.setattr(GroupTile, "parts_of_dense", lambda self, parts, *_: parts)
    monkeypatch.setattr(plans, "_plans", {})
    found = run_together([functools.partial(trained, case, gpu, seed) for seed in range(N_NETWORKS)])
    assert any(2 in plan.stages["parts"] for plan in plans._plans.values())
    history, _ = trained(case, "cpu", 0, "float64")
    np.testing.assert_allclose(found[0][0].loss, history.loss, rtol=1e-5)


def test_in_tf32(gpu):
    calls = [functools.partial(trained, CASES["digits"], gpu, seed, precision="high") for seed in range(N_NETWORKS)]
    history, _ = trained(CASES["digits"], "cpu", 0, "float64")
    np.testing.assert_allclose(run_together(calls)[0][0].loss, history.loss, rtol=1e-3)


def cut(kernel, batch_size, inputs, outputs):
    """Return how a group cuts a product of a network that it has for itself."""
    tile = GroupTile(132, has_tensor_cores=True).for_many(500, 300)
    return tile.cut(kernel, batch_size, inputs * outputs, outputs, inputs, bias=1)


@pytest.mark.parametrize(
    ("kernel", "shape", "tiles", "log_slices"),
    [
        ("dense_forward", (200, 64, 100), 4, 0),
        ("dense_backward_input", (200, 10, 100), 4, 0),
        # Twelve tiles, of which eight warps make as many halves at once as wholes.
        ("dense_backward_weights", (200, 96, 100), 3, 1),
        # The bias takes no rows of its own.
        ("dense_backward_weights", (200, 64, 100), 1, 0),
        ("dense_backward_weights", (200, 100, 10), 1, 1),
        ("dense_backward_weights", (200, 63, 256), 2, 0),
        ("dense_backward_weights", (16, 64, 100), 1, 0),
    ],
)
def test_warps_share_tiles(kernel, shape, tiles, log_slices):
    assert cut(kernel, *shape) == {"tiles": tiles, "size": OF_WARPS, "log_slices": log_slices}


@pytest.mark.parametrize(
    ("n_networks", "batch_size", "is_whole"),
    [
        *[(500, 200, True), (66, 200, True), (33, 200, True), (20, 200, False), (20, 5000, False), (1, 5000, False)],
        *[(50, 128, True), (33, 128, False), (140, 64, True), (66, 64, False), (500, 32, False)],
    ],
)
def test_products_by_warps_are_for_networks_with_few_units(n_networks, batch_size, is_whole):
    tile = GroupTile(132, has_tensor_cores=True).for_many(n_networks, batch_size)
    assert tile.is_whole_network == is_whole
    assert tile.units == (1 if is_whole else max(1, 132 // n_networks))
    assert not GroupTile(132).for_many(n_networks, batch_size).is_whole_network


@pytest.mark.parametrize(
    ("n_networks", "batch_size", "has_many_rows"),
    [(1, 0, False), (1, 1055, False), (1, 1056, True), (40, 23, False), (40, 24, True), (500, 200, False)],
)
def test_batches_of_many_rows_have_a_program_of_their_own(n_networks, batch_size, has_many_rows):
    assert GroupTile(132, has_tensor_cores=True).for_many(n_networks, batch_size).has_many_rows == has_many_rows


@pytest.mark.parametrize("case", [CASES["digits"], CASES["many"]], ids=["narrow", "wide"])
def test_several_groups_of_each(case, gpu):
    """Of fewer networks than half a GPU's units."""
    found = run_together([functools.partial(trained, case, gpu, seed) for seed in range(40)])
    history, _ = trained(case, "cpu", 39, "float64")
    np.testing.assert_allclose(found[39][0].loss, history.loss, rtol=1e-5)


@pytest.mark.parametrize(("outputs", "rows"), [(10, 256), (16, 256), (17, 64)])
def test_an_item_has_a_whole_row_of_a_narrow_last_layer(outputs, rows):
    tile = GroupTile(132, has_tensor_cores=True).for_many(500, 300)
    weights = [SimpleNamespace(inputs=64, columns=100), SimpleNamespace(inputs=100, columns=outputs)]
    assert tile.for_products(300, weights).block_rows(300) == rows
