"""Forward products and gradients of weights by warps, on a CPU.

Sub-groups of Intel's runtime stand for warps, and their shuffles for the tensor cores. Nothing but the result is
written, whatever lies behind the batch. On a GPU, test_whole_networks.py and test_large_products.py compare whole fits.
"""

import numpy as np
import pytest

from skintricate.backend import open_device
from skintricate.backend.programs import build_program
from skintricate.kernels import GroupTile, Program, Vocabulary, program
from skintricate.kernels.stage import ABSENT, PLACES, RUN, STAGE, STAGE_KINDS
from skintricate.layers import Identity
from skintricate.optimizers import Basic

# The lanes' places are those of PTX's manual; what is beyond tf32 is cut off, as the tensor cores do.
MMA = """
static inline float cut_off(uint bits) { return as_float(bits & 0xFFFFE000u); }
static inline float4 mma(float4 c, const uint *a, const uint *b) {
    const uint lane = get_sub_group_local_id(), group = lane / 4, member = lane % 4;
    for (uint k = 0; k < 8; k++) {
        const float upper = intel_sub_group_shuffle(cut_off(k < 4 ? a[0] : a[2]), 4 * group + k % 4);
        const float lower = intel_sub_group_shuffle(cut_off(k < 4 ? a[1] : a[3]), 4 * group + k % 4);
        const float left = intel_sub_group_shuffle(cut_off(k < 4 ? b[0] : b[1]), 8 * member + k % 4);
        const float right = intel_sub_group_shuffle(cut_off(k < 4 ? b[0] : b[1]), 8 * member + 4 + k % 4);
        c += (float4)(upper * left, upper * right, lower * left, lower * right);
    }
    return c;
}
#define MMA_TF32(c, a, b) c = mma(c, a, b)
"""
SHUFFLE = "static inline float of_other_lane(float x, int bit) { return intel_sub_group_shuffle_xor(x, (uint)bit); }\n"
# A kernel that makes a tile of a stage, or a block of rows, as gpu/wide.cl and gpu/rows.cl do.
STAGE_OF_WARPS = """
__attribute__((intel_reqd_sub_group_size(32))) __attribute__((reqd_work_group_size(LOCAL_SIZE, 1, 1)))
kernel void stage_of_warps(BUFFER_ARGUMENTS, const global Run *run, const global Stage *stages) {
    local Stage stage[1];
    local Run runs[1];
    local Step step[1];
    local scalar scratch[SCRATCH] __attribute__((aligned(16)));
    COPY_TABLE(run, runs, 1);
    COPY_TABLE(stages, stage, 1);
    SYNC_LOCAL;
    if (ITEM == 0) *step = make_step(BUFFERS, runs, 0, 0);
    SYNC_LOCAL;
    const int tile = get_group_id(0);
#ifdef WHOLE_NETWORK
    if (stage->kind == DENSE_FORWARD) warp_rows(step, stage, tile);
    else warp_weights(step, stage, tile, scratch);
#else
    const int n0 = tile * runs->block_rows;
    if (stage->kind == DENSE_FORWARD) dense_rows(step, stage, n0, SMALLER(runs->block_rows, step->rows - n0), scratch);
    else narrow_weights(step, stage, tile, scratch);
#endif
}
"""
SOURCES = ("gpu/group", "gpu/dense", "gpu/mma", "gpu/warp", "gpu/warp_weights")
# Rows behind others of X, so many that warps which share them take several steps each; and what an update scales by.
BATCH, FIRST_ROW, RATE = 300, 7, 0.5
WHOLE = GroupTile(1, has_tensor_cores=True).for_many(2, BATCH)
LARGE = GroupTile(1, has_tensor_cores=True, has_wgmma=True, is_large_batch=True, most_block_rows=64)


@pytest.fixture
def warps(device):
    """Return a device whose sub-groups are warps."""
    device = open_device(device)
    if device.info.runtime != "intel" or "cl_intel_required_subgroup_size" not in device.handle.extensions:
        pytest.skip("This is no runtime with sub-groups of 32 items.")
    return device


@pytest.fixture
def make_stage(warps, monkeypatch):
    """Return a function that makes the stage of these fields by so many groups; it returns weights and workspace."""
    read = program.read_source

    def read_source(name):
        text = read(name)
        if name == "gpu/mma":
            begin, end, rest = map(
                text.index, ("#define MMA_TF32", "#if PASSES == 3", "static inline float of_other_lane")
            )
            text = text[:begin] + MMA + text[end:rest] + SHUFFLE
        return text

    monkeypatch.setattr(program, "read_source", read_source)

    def make(tile, groups, fields, **arrays):
        vocabulary = Vocabulary((Identity,), (), (Basic,))
        sources = SOURCES if tile is WHOLE else (*SOURCES, "gpu/slices")
        source = Program(None, "float32", vocabulary, tile)._source(sources) + STAGE_OF_WARPS
        # Its compiler gives up, or takes minutes, where it optimizes.
        options = [*tile.options("float32"), "-DINLINE", "-cl-std=CL2.0", "-cl-opt-disable"]
        options += [] if tile is WHOLE else ["-DLARGE_BATCH"]
        cl = warps.cl
        kernel = cl.Kernel(build_program(warps, source, options), "stage_of_warps")
        run, stage = np.zeros(1, RUN), np.zeros(1, STAGE)
        numbers = {"batch_size": BATCH, "step_rows": BATCH, "samples": BATCH, "first_row": FIRST_ROW}
        numbers |= {"ordered": "order" in arrays, "parameter_count": arrays["parameters"].size}
        numbers |= {"block_rows": tile.block_rows(BATCH)}
        for structure, values in ((run, numbers), (stage, dict.fromkeys(ABSENT, -1) | fields)):
            for name, value in values.items():
                structure[name] = value
        nothing = np.zeros(BATCH, np.float32)
        arrays |= {"run": run, "stages": stage}
        arrays = [np.array(arrays.get(name, nothing)) for name in PLACES if name != "phases"]
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers = [cl.Buffer(warps.context, flags, hostbuf=array) for array in arrays]
        kernel.set_args(*buffers)
        cl.enqueue_nd_range_kernel(warps.queue, kernel, (groups * tile.local_size,), (tile.local_size,)).wait()
        for array, buffer in zip(arrays[:2], buffers):
            cl.enqueue_copy(warps.queue, array, buffer).wait()
        return arrays[:2]

    return make


def padded(matrix, rows=0):
    """Return a matrix with whole vectors of columns, and with NaN up to so many rows, which nobody should read."""
    result = np.zeros((max(len(matrix), rows), -(-matrix.shape[1] // 4) * 4), np.float32)
    result[: len(matrix), : matrix.shape[1]] = matrix
    result[len(matrix) :] = np.nan
    return result


# Of a whole network, eight tiles and fewer, which pairs of warps share; last tiles of many columns and of few.
@pytest.fixture(params=[(64, 100), (17, 40), (33, 10)], ids=str)
def layer(request):
    """Return a layer's inputs, its outputs' gradients and weights, with the bias; all are exact in float32."""
    inputs, outputs = request.param
    generator = np.random.default_rng(0)
    shapes = (BATCH, inputs), (BATCH, outputs), (inputs + 1, outputs)
    return [generator.normal(size=shape).astype(np.float32).astype(float) for shape in shapes]


@pytest.fixture(params=["workspace", "X", "X in another order"])
def place(request):
    """Return where the layer's inputs lie."""
    return request.param


@pytest.fixture
def order(place):
    """Return the rows of X that follow each other in the batch."""
    in_order = np.arange(FIRST_ROW, FIRST_ROW + BATCH)
    return np.random.default_rng(1).permutation(in_order) if place == "X in another order" else in_order


@pytest.fixture
def run(place, order, layer, make_stage):
    """Return a function that makes a stage of the layer, with these fields, and returns weights and target."""
    x, dz, weights = layer
    X, Z, W = np.full((400, padded(x).shape[1]), np.nan, np.float32), padded(dz, 400), padded(weights)
    X[order if place != "workspace" else np.arange(BATCH)] = padded(x)
    places = {"source": 0 if place == "workspace" else -1, "gradient": X.size, "weights": 0}
    common = places | {"inputs": x.shape[1], "outputs": dz.shape[1], "pixels": 1}
    arrays = {"parameters": W, "X": X, "scalars": np.full(8, RATE, np.float32)}
    if place == "X in another order":
        arrays["order"] = np.concatenate([np.zeros(FIRST_ROW), order]).astype(np.int32)

    def run(tile, kind, rows, **fields):
        target, size = X.size + Z.size, rows * W.shape[1]
        before = np.concatenate([X.ravel(), Z.ravel(), np.full(size + 1000, np.nan, np.float32)])
        cut = tile.cut(kind, BATCH, 0, dz.shape[1], x.shape[1], fields["bias"])
        fields = common | cut | {"kind": STAGE_KINDS.index(kind), "target": target} | fields
        found, workspace = make_stage(tile, cut["tiles"], fields, workspace=before, **arrays)
        result = workspace[target : target + size].copy()
        workspace[target : target + size] = np.nan
        np.testing.assert_array_equal(workspace, before)
        if target == fields["target"]:
            np.testing.assert_array_equal(found, W)
        return found[:, : dz.shape[1]], result.reshape(rows, W.shape[1])[:, : dz.shape[1]]

    return run


def gradient(layer, bias, begin, end):
    """Return that of the weights over so many rows, and of the bias where there is one."""
    x, dz, _ = layer
    return np.hstack([x, np.ones((BATCH, bias))])[begin:end].T @ dz[begin:end]


def assert_close(found, wanted):
    """Compare with float32's accuracy."""
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6 * np.abs(wanted).max())


of_both = pytest.mark.parametrize("tile", [LARGE, WHOLE], ids=["large batch", "whole network"])
with_and_without = pytest.mark.parametrize("bias", [1, 0], ids=["bias", "no bias"])


@of_both
@with_and_without
def test_rows(tile, bias, layer, run):
    x, _, weights = layer
    _, found = run(tile, "dense_forward", BATCH, bias=bias)
    assert_close(found, x @ weights[:-1] + bias * weights[-1])


@of_both
@with_and_without
@pytest.mark.parametrize(("begin", "end"), [(0, BATCH), (48, 112), (192, 400)])
def test_parts_of_gradients(tile, bias, begin, end, layer, run):
    wanted = gradient(layer, bias, begin, end)
    _, found = run(tile, "dense_backward_weights", len(wanted), bias=bias, rows_begin=begin, rows_end=end, parts=1)
    assert_close(found, wanted)


@with_and_without
def test_updates(bias, layer, run):
    """By a gradient that is divided by the number of rows."""
    wanted = layer[2].copy()
    wanted[: len(wanted) - 1 + bias] -= RATE * gradient(layer, bias, 0, BATCH) / BATCH
    found, _ = run(WHOLE, "dense_backward_weights", 0, bias=bias, rows_begin=0, rows_end=BATCH, target=-1)
    assert_close(found, wanted)
