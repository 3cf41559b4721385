"""Large products on a GPU's tensor cores, which no CPU has: against float64, at sizes that fill no tile."""

import functools
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from contracts import random_weights
from reference import Network

from skintricate.kernels.program import read_source, source_names
from skintricate.kernels.stage import OF_WARPS, OPERANDS, STAGE_KINDS
from skintricate.kernels.tile import PASSES, GroupTile
from skintricate.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    ReLU,
    Reshape,
    SoftMax,
    TanH,
)
from skintricate.losses import CategoricalCrossEntropy, MeanSquared
from skintricate.model import Model
from skintricate.optimizers import Basic
from skintricate.training import Lowering, NetworkState, plans
from skintricate.training.vocabulary import built_in

# Rows of a batch and of the data, features: no tile is full, nor is the last chunk.
BATCH, N_SAMPLES, N_FEATURES = 2503, 3001, 333
NETWORK = [Dense(301), TanH(), Dense(447), ReLU(), Dense(3)]
# Largest error of a matrix, relative to it, each as its root mean square.
TOLERANCE = {"highest": 3e-6, "high": 1e-2, "medium": 5e-2}


def problem():
    """Return first weights, X and targets."""
    generator = np.random.default_rng(0)
    X, Y = generator.normal(size=(N_SAMPLES, N_FEATURES)), 3 + generator.normal(size=(N_SAMPLES, 3))
    return random_weights(NETWORK, N_FEATURES, 0, 0.05), X.astype(np.float32).astype(float), Y


def model_of(weights, device, precision):
    """Return a model that starts from these weights."""
    model = Model(NETWORK, device=device, random_state=0, precision=precision)
    model.state = NetworkState([np.asarray(w, np.float32) for w in weights], seed=0)
    model.n_features_in_ = N_FEATURES
    return model


def check(matrices, expected, precision):
    """Compare matrices by their relative error."""
    for matrix, exact in zip(matrices, expected):
        error = np.sqrt(np.mean((matrix - exact) ** 2)) / np.sqrt(np.mean(exact**2))
        assert error < TOLERANCE[precision]


@pytest.mark.parametrize("precision", PASSES)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_step_and_a_prediction(precision, shuffle, gpu):
    weights, X, Y = problem()
    X, Y = X[:BATCH], Y[:BATCH]
    model, reference = model_of(weights, gpu, precision), Network(NETWORK, MeanSquared())
    check([model.predict(X)], [reference.values(weights, X)[-1]], precision)
    model.fit(X, Y, loss=MeanSquared(), optimizer=Basic(1.0), batch_size=BATCH, max_iter=1, shuffle=shuffle)
    steps = [before - after for before, after in zip(weights, model.state.weights)]
    check(steps, reference.gradients(weights, X, Y), precision)


def test_a_short_last_batch(gpu):
    weights, X, Y = problem()
    model, reference = model_of(weights, gpu, "highest"), Network(NETWORK, MeanSquared())
    model.fit(X, Y, loss=MeanSquared(), optimizer=Basic(0.1), batch_size=BATCH, max_iter=1, shuffle=False)
    for rows in (slice(0, BATCH), slice(BATCH, None)):
        gradients = reference.gradients(weights, X[rows], Y[rows])
        weights = [w - 0.1 * g for w, g in zip(weights, gradients)]
    check(model.state.weights, weights, "highest")


@pytest.mark.parametrize("precision", PASSES)
def test_the_same_bits_again(precision, gpu):
    weights, X, Y = problem()
    runs = []
    for _ in range(2):
        model = model_of(weights, gpu, precision)
        model.fit(X, Y, loss=MeanSquared(), batch_size=BATCH, max_iter=3, n_iter_no_change=None)
        runs.append(model.state.weights)
    assert all(np.array_equal(*pair) for pair in zip(*runs))


@pytest.mark.parametrize(
    "layers",
    [
        [Dense(320), ReLU(), Dropout(0.2), Dense(260), LayerNorm(), TanH(), Dense(40), ReLU(), Dense(5), SoftMax()],
        [Dense(1030), ReLU(), Dense(5), SoftMax()],
        [Reshape((8, 10, 1)), Conv2D(4, 3), ReLU(), Flatten(), BatchNorm(), Dense(300), ReLU(), Dense(5), SoftMax()],
    ],
    ids=["dropout", "copied rows", "convolution"],
)
def test_what_stands_beside_large_products(layers, gpu, monkeypatch):
    """Blocks of many rows, and gradients of few weights, are those of the plan for smaller batches, up to rounding."""
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(N_SAMPLES, 80)), generator.integers(5, size=N_SAMPLES)
    Y, weight = np.eye(5)[y], generator.uniform(0, 2, N_SAMPLES)
    options = {"loss": CategoricalCrossEntropy(), "optimizer": Basic(0.5), "alpha": 0.01, "batch_size": 2503}
    options |= {"max_iter": 3, "n_iter_no_change": 5, "early_stopping": True}
    trained, launched, run = [], [], Lowering.run

    def spy(self):
        plan = run(self)
        launched.append({launch.kernel for launch in plan.launches})
        return plan

    monkeypatch.setattr(Lowering, "run", spy)
    for large_product in (1e8, 1e99):
        monkeypatch.setattr(GroupTile, "large_product", large_product)
        monkeypatch.setattr(plans, "_plans", {})
        launched.clear()
        model = Model(layers, device=gpu, random_state=0)
        model.fit(X, Y, sample_weight=weight, validation_data=(X, Y), **options)
        assert any("large_rows" in kernels for kernels in launched) == (large_product == 1e8)
        trained.append((*model.state.weights, model.predict(X), model.history_.loss, model.history_.validation_score))
    for large, plain in zip(*trained):
        np.testing.assert_allclose(large, plain, rtol=2e-3, atol=2e-4 * np.abs(plain).max())


def plan_of(tile, batch_size=BATCH, **options):
    """Return the plan of the network on a GPU that this machine need not have."""
    program = SimpleNamespace(tile=tile, itemsize=4, vocabulary=built_in())
    return Lowering(NETWORK, N_FEATURES, batch_size, program, **options).run()


def of_kind(plan, kind):
    """Return the stages of a kind."""
    return plan.stages[plan.stages["kind"] == STAGE_KINDS.index(kind)]


TRAINING = {"loss": MeanSquared(), "optimizer": Basic()}


@pytest.mark.parametrize("precision", PASSES)
def test_operands_are_packed_once(precision):
    """Weights at the beginning of a step, in both directions where both are needed; a gradient before its product."""
    tile = GroupTile(132, precision, has_tensor_cores=True, has_wgmma=True)
    plan = plan_of(tile, **TRAINING)
    kernels = [launch.kernel for launch in plan.launches]
    assert [kernels.count("pack_operands"), kernels[0]] == [2, "pack_operands"]
    between = kernels[kernels.index("tensor_input") : kernels.index("tensor_weights")]
    assert "pack_operands" in between
    packs, sizes = of_kind(plan, "pack_operands"), {}
    for pack in packs:
        size = tile.packed_size(OPERANDS[pack["code"]], int(pack["inputs"]), int(pack["outputs"]))
        sizes[int(pack["target"])] = size
    assert len(sizes) == len(packs) == 3 + 2 * 2
    for kind in ("dense_forward", "dense_backward_input", "dense_backward_weights"):
        for stage in of_kind(plan, kind):
            assert (stage["packed"] in sizes) == (stage["size"] == tile.tensor_rows)
    begins = sorted(sizes)
    assert all(begin + sizes[begin] <= end for begin, end in zip(begins, [*begins[1:], plan.workspace_size]))


def test_few_columns_of_a_large_batch_are_made_by_warps():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    plan = plan_of(tile, **TRAINING)
    kernels = [launch.kernel for launch in plan.launches]
    assert {"large_rows", "tensor_weights"} <= set(kernels)
    assert not {"rows", "tiles"} & set(kernels)
    assert plan.block_rows == 16
    of_weights = plan.launches[kernels.index("tensor_weights")]
    sizes = plan.stages["size"][of_weights.first : of_weights.end].tolist()
    assert sizes[-1] == OF_WARPS
    assert OF_WARPS not in sizes[: sizes.index(OF_WARPS)]
    assert set(of_kind(plan, "dense_backward_weights")["parts"]) == {4}  # stored, and added up
    assert plan_of(tile, 100_000).block_rows == 64


@pytest.mark.parametrize(
    ("layers", "n_features", "options"),
    [
        ([Embedding(10_000, 64), Flatten(), Dense(32), ReLU(), Dense(3)], 8, {}),
        ([Reshape((4, 4, 128)), Conv2D(128, 3), ReLU(), Flatten(), Dense(3)], 2048, {}),
        ([Dense(64), ReLU(), Dense(3)], 20_000, {"is_sparse": True}),
    ],
    ids=["embedding", "convolution", "sparse"],
)
def test_only_products_make_a_batch_large(layers, n_features, options):
    """The resident schedule, which takes plans without large products, knows none of the kernels beside them."""
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    program = SimpleNamespace(tile=tile, itemsize=4, vocabulary=built_in())
    plan = Lowering(layers, n_features, 2048, program, **options, **TRAINING).run()
    assert not plan.is_large
    assert {tile.build_of(launch.kernel) for launch in plan.launches} == {"all"}


def test_kernels_with_room_for_others_are_there():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    text = "\n".join(map(read_source, source_names(tile, (), "large")))
    for name, _ in tile.builds["large"].revise.keywords["groups"]:
        assert re.search(rf"LARGE_KERNEL {name}\(|DEFINE_TENSOR_ROWS\({name}\b", text)


@pytest.mark.parametrize("batch_size", [200, 1000])
def test_a_smaller_batch_has_blocks_of_few_rows(batch_size):
    plan = plan_of(GroupTile(132, has_tensor_cores=True, has_wgmma=True), batch_size, **TRAINING)
    assert "rows" in [launch.kernel for launch in plan.launches]
    assert plan.block_rows <= 8


def test_tensors_and_operands_begin_with_a_line_of_the_cache():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    stages = plan_of(tile, **TRAINING).stages
    for name in ("target", "value", "gradient", "packed", "packed_left"):
        there = stages[name][(stages[name] >= 0) & (stages["kind"] != STAGE_KINDS.index("dense_add_parts"))]
        assert not (there % tile.line).any(), name


def test_rows_of_x_that_many_tiles_read_are_copied():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    program = SimpleNamespace(tile=tile, itemsize=4, vocabulary=built_in())

    def copies_of(units, **options):
        plan = Lowering([Dense(units), ReLU(), Dense(3)], N_FEATURES, BATCH, program, **options).run()
        copies = plan.stages[plan.stages["code"] == OPERANDS.index("rows_of_x")]
        return plan, copies[copies["kind"] == STAGE_KINDS.index("pack_operands")]["target"].tolist()

    plan, (place,) = copies_of(1024, **TRAINING)
    first = plan.launches[0]
    assert place in plan.stages["target"][first.first : first.end]
    assert of_kind(plan, "dense_forward")["source"][0] == place
    assert (of_kind(plan, "pack_operands")["source"] == place).sum() == 1  # for the gradient of the weights
    for units, options in ((512, TRAINING), (1024, {})):
        assert copies_of(units, **options)[1] == []


def test_scores_and_predictions_pack_what_they_need():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    scored = SimpleNamespace(sum="squared_errors", factors=(1.0,), n_rows=100)
    trained, forward = plan_of(tile, scored=scored, **TRAINING), plan_of(tile)
    for launches in (trained.validation_launches, forward.launches):
        assert [launch.kernel for launch in launches].index("pack_operands") == 0
    packs = of_kind(forward, "pack_operands")
    assert [OPERANDS[code] for code in packs["code"]] == ["right_by_rows"] * 2
    packed = forward.workspace_size - plan_of(GroupTile(132, has_tensor_cores=True)).workspace_size
    assert packed == tile.packed_weights(forward.weights)


def test_few_rows_are_packed_for_nothing():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    assert [tile.is_large(rows, 8192, 8192) for rows in (16, 127, 128)] == [False, False, True]


def test_parts_begin_with_chunks_and_a_single_one_is_stored():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    products = of_kind(plan_of(tile, **TRAINING), "dense_backward_weights")
    large = products[products["size"] == tile.tensor_rows]
    assert set(large["parts"]) == {4}
    assert not (large["rows_begin"] % 32).any()
    assert (large["rows_begin"] < large["rows_end"]).all()
    assert large["rows_end"].max() == BATCH
    plan = plan_of(replace(tile, units=21), **TRAINING)  # as many as tiles
    one = of_kind(plan, "dense_backward_weights")
    assert set(one["parts"]) == {1}  # those of few weights are made by warps, and stored too
    assert set(of_kind(plan, "dense_add_parts")["parts"]) == {1}


@pytest.mark.parametrize(
    ("layers", "batch_size", "parts"),
    [
        ([(784, 512), (512, 512)], 4096, 5),  # 48 tiles: 240 of 264 that run at once
        ([(4096, 4096), (4096, 4096)], 4096, 1),
        ([(784, 512)], 1024, 2),  # no part has fewer than 512 rows
        ([(784, 10)], 4096, 1),  # not large
    ],
)
def test_parts_of_a_batch_keep_the_units_busy(layers, batch_size, parts):
    tile = GroupTile(132, "high", has_tensor_cores=True, has_wgmma=True)
    weights = [SimpleNamespace(inputs=inputs, rows=inputs + 1, columns=columns) for inputs, columns in layers]
    assert tile.parts_of(batch_size, weights) == parts
    assert GroupTile(132).parts_of(batch_size, weights) == 1


@pytest.mark.parametrize(
    ("shape", "batch_size", "expected"),
    [
        ((20, 100), 1024, {"tiles": 14, "size": 16}),  # one barrier less is better
        ((20, 100), 10_000, {"tiles": 33 * 4, "size": 32}),
        ((100, 2), 10_000, {"tiles": 18 * 7, "size": 16}),
        ((8, 16), 50_000, {"tiles": 132, "size": 16}),
        ((8, 16), 4096, {"tiles": 32, "size": 16}),  # no part has fewer than 128 rows
    ],
)
def test_gradients_of_many_rows_are_summed_in_parts(shape, batch_size, expected):
    tile, (inputs, outputs) = GroupTile(132).for_many(1, batch_size), shape
    cut = functools.partial(tile.cut, "dense_backward_weights", batch_size, 1, outputs, inputs, 1)
    parts = tile.parts_of_dense(tile.parts_of(batch_size, []), batch_size, cut()["tiles"], inputs, outputs)
    assert cut(parts=parts) == expected


def test_small_gradients_beside_large_ones_have_fewer_parts():
    tile = GroupTile(132, has_tensor_cores=True, has_wgmma=True)
    assert tile.parts_of_dense(5, 4096, 32, 512, 10) == 4
    assert tile.parts_of_dense(5, 4096, 28, 784, 512) == 5
    assert tile.parts_of_dense(5, 4096, 500, 512, 10) == 1


@pytest.mark.parametrize("batch_size", [4000, 70_000])
def test_small_networks_with_many_rows(batch_size, gpu, monkeypatch):
    """Blocks of many rows, and sums of gradients in parts, though nothing is large."""
    monkeypatch.setattr(plans, "_plans", {})
    generator = np.random.default_rng(0)
    X, layers = generator.normal(size=(80_000, 9)), [Dense(80), ReLU(), Dense(20), TanH(), Dense(3), SoftMax()]
    histories = []
    for device, dtype in ((gpu, "float32"), ("cpu", "float64")):
        model = Model(layers, device=device, dtype=dtype, random_state=0)
        options = {"loss": "categorical_cross_entropy", "batch_size": batch_size, "max_iter": 2, "alpha": 0.1}
        histories.append(model.fit(X, (X[:, 0] > 0) + (X[:, 1] * X[:, 2] > 0), **options))
    np.testing.assert_allclose(histories[0].step_loss, histories[1].step_loss, rtol=1e-4)
    np.testing.assert_allclose(histories[0].accuracy, histories[1].accuracy, rtol=1e-3)
    assert any(plan.block_rows > 8 and max(plan.stages["parts"]) > 1 for plan in plans._plans.values())
