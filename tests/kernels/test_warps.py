"""Products by warps, on a CPU: sub-groups of Intel's runtime stand for warps, and take the tensor cores' place."""

import numpy as np
import pytest

from skintricate.backend import open_device
from skintricate.backend.programs import build_program
from skintricate.kernels import GroupTile, Program, Vocabulary, program
from skintricate.kernels.stage import ABSENT, RUN, STAGE, STAGE_KINDS
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
BUFFERS = (
    *("parameters", "workspace", "X", "Y", "sample_weight", "order", "scalars", "constants", "losses", "history"),
    "control",
)
BATCH, BLOCK_ROWS, RATE = 173, 64, 0.5
LARGE = GroupTile(1, has_tensor_cores=True)
WHOLE = LARGE.for_many(2)


@pytest.fixture
def warps(device):
    """Return a device whose sub-groups are warps."""
    device = open_device(device)
    if "cl_intel_required_subgroup_size" not in device.handle.extensions:
        pytest.skip("This runtime has no sub-groups of 32 items.")
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
        ordered = "order" in arrays
        numbers = {
            "batch_size": BATCH,
            "step_rows": BATCH,
            "samples": BATCH,
            "block_rows": BLOCK_ROWS,
            "ordered": ordered,
        }
        numbers |= {"parameter_count": arrays["parameters"].size}
        for structure, values in ((run, numbers), (stage, dict.fromkeys(ABSENT, -1) | fields)):
            for name, value in values.items():
                structure[name] = value
        nothing = np.zeros(BATCH, np.float32)
        arrays = [np.array(arrays.get(name, nothing)) for name in BUFFERS] + [run, stage]
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


@pytest.mark.parametrize("tile", [LARGE, WHOLE], ids=["large batch", "whole network"])
@pytest.mark.parametrize("place", ["workspace", "X in another order"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
class TestProducts:
    """Each is compared with NumPy's, and nothing else is written, whatever lies behind the batch."""

    @pytest.fixture
    def run(self, tile, place, bias, layer, make_stage):
        """Return a function that makes a stage from the layer: the tiles, its fields, and the rows of the target."""
        x, dz, weights = layer
        X, Z, W = padded(x, 200), padded(dz, 200), padded(weights)
        order = {} if place != "X in another order" else {"order": _order()}
        common = {"inputs": x.shape[1], "outputs": dz.shape[1], "bias": bias, "weights": 0, "pixels": 1, "size": 1}
        common |= {"gradient": X.size, "source": 0 if place == "workspace" else -1}

        def run(kind, n_tiles, rows, **fields):
            target = X.size + Z.size
            size = rows * W.shape[1]
            workspace = np.concatenate([X.ravel(), Z.ravel(), np.full(size + 1000, np.nan, np.float32)])
            fields = common | {"kind": STAGE_KINDS.index(kind), "target": target} | fields
            arrays = {"workspace": workspace, "parameters": W, "X": X, "scalars": np.full(8, RATE, np.float32)}
            parameters, workspace = make_stage(tile, n_tiles, fields, **arrays, **order)
            assert np.isnan(workspace[target + size :]).all()
            result = workspace[target : target + size].reshape(rows, W.shape[1])
            return parameters[:, : dz.shape[1]], result[:, : dz.shape[1]]

        return run

    @pytest.fixture
    def rows(self, layer, place):
        """Return the rows of the input in the batch's order."""
        return layer[0][_order()] if place == "X in another order" else layer[0]

    def test_rows(self, tile, layer, bias, rows, run):
        weights = layer[2]
        cut = tile.cut("dense_forward", BATCH, 0, weights.shape[1], rows.shape[1]) if tile is WHOLE else {}
        _, found = run("dense_forward", cut.get("tiles", -(-BATCH // BLOCK_ROWS)), BATCH)
        _assert_close(found, rows @ weights[:-1] + (weights[-1] if bias else 0))

    @pytest.mark.parametrize(("begin", "end"), [(0, BATCH), (48, 112), (112, 200)])
    def test_parts_of_gradients(self, tile, layer, bias, rows, run, begin, end):
        n_tiles, cut = _tiles_of_weights(tile, rows, layer[1])
        wanted = _gradient(rows, layer[1], bias, begin, end)
        _, found = run("dense_backward_weights", n_tiles, len(wanted), rows_begin=begin, rows_end=end, parts=1, **cut)
        _assert_close(found, wanted)

    def test_updates(self, tile, layer, bias, rows, run):
        """A gradient that is divided by the number of rows."""
        if tile is LARGE:
            pytest.skip("Theirs are stages of their own.")
        n_tiles, cut = _tiles_of_weights(tile, rows, layer[1])
        weights, gradient = layer[2], _gradient(rows, layer[1], bias, 0, BATCH)
        found, _ = run("dense_backward_weights", n_tiles, 0, rows_begin=0, rows_end=BATCH, **cut | {"target": -1})
        wanted = weights.copy()
        wanted[: len(gradient)] -= RATE * gradient / BATCH
        _assert_close(found, wanted)


def _order():
    return np.random.default_rng(1).permutation(BATCH).astype(np.int32)


def _tiles_of_weights(tile, x, dz):
    """Return how many tiles a gradient has, and the fields that say how they are cut."""
    inputs, outputs = x.shape[1], dz.shape[1]
    if tile is LARGE:
        return -(-inputs // 16) * -(-padded(dz).shape[1] // 32), {}
    cut = tile.cut("dense_backward_weights", BATCH, 0, outputs, inputs)
    return cut["tiles"], {"log_slices": cut["log_slices"]}


def _gradient(x, dz, bias, begin, end):
    return np.hstack([x, np.ones((BATCH, int(bias)))])[begin:end].T @ dz[begin:end]


def _assert_close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6 * np.abs(wanted).max())
