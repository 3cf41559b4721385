"""The structures of the kernels as NumPy types, and the layout of matrices in panels."""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

STAGE = np.dtype(
    [
        (name, np.int32)
        for name in (
            "kind",
            "tiles",
            "inputs",
            "outputs",
            "source",
            "target",
            "value",
            "saved",
            "gradient",
            "weights",
            "bias",
            "transposed",
            "size",
            "log_lanes",
            "log_slices",
            "code",
            "constants",
            "activation",
            "activation_constants",
            "rows_begin",
            "rows_end",
            "parts",
            "part_stride",
            "losses",
            "id",
            "pixels",
            "channels",
            "window",
            "sums",
            "packed",
            "packed_left",
        )
    ]
)
# Kernels whose tiles need nothing but earlier tiles of the same rows; their place is a stage's kind.
ROW_KERNELS = (
    "dense_forward",
    "dense_backward_input",
    "loss_softmax",
    "loss_elementwise",
    "activation_forward",
    "activation_backward",
    "dropout_forward",
    "dropout_backward",
    "softmax_forward",
    "softmax_backward",
)
# Stages of layers that a program has only where a network asks for them, by the source that holds them: those that take
# blocks of rows, and others. They have no kernels of their own: a stage "x" is made by the function `x_rows` of its
# source, or `x`; see `program.py`.
OPTIONAL_ROW_STAGES = {
    "shapes": ("reshape", "copy_columns", "add", "noise"),
    "convolution": ("convolution_forward", "convolution_backward_input"),
    "pooling": ("max_pool_forward", "max_pool_backward", "average_pool_forward", "average_pool_backward"),
    "normalization": (
        *("batch_norm_sums", "batch_norm_forward", "batch_norm_backward_sums", "batch_norm_backward"),
        *("layer_norm_forward", "layer_norm_backward", "scale_forward", "scale_backward"),
    ),
    "embedding": ("embedding_forward",),
    "sparse": ("sparse_forward",),
}
OPTIONAL_STAGES = {
    "convolution": ("convolution_backward_weights",),
    "normalization": ("batch_norm_statistics", "batch_norm_backward_statistics"),
    "embedding": ("embedding_backward_weights",),
    "sparse": ("sparse_backward_weights",),
}
# Those that CPUs and GPUs make in ways of their own, which their rows.cl and wide.cl name.
OF_FAMILIES = (*OPTIONAL_ROW_STAGES["convolution"], *OPTIONAL_STAGES["convolution"], "sparse_backward_weights")
OPTIONAL = tuple(itertools.chain(*OPTIONAL_ROW_STAGES.values(), *OPTIONAL_STAGES.values()))
# Those whose tiles are columns.
COLUMN_STAGES = OPTIONAL_STAGES["normalization"]
# Those whose tiles are rows of a table, each of which looks at all of a batch's numbers.
TABLE_STAGES = (*OPTIONAL_STAGES["embedding"], *OPTIONAL_STAGES["sparse"])
# Stages that take blocks of rows; `validation_score` has no kernel of its own.
ROW_STAGES = (*ROW_KERNELS, "validation_score", *itertools.chain(*OPTIONAL_ROW_STAGES.values()))
# All kinds of stages; in `resident.cl` a tile of any of them can follow another, but for `pack_operands`.
STAGE_KINDS = (
    *ROW_STAGES,
    *("dense_backward_weights", "dense_add_parts", "clip_factor", "dense_update", "pack_operands"),
    *itertools.chain(*OPTIONAL_STAGES.values()),
)
# Those whose tiles are of a result with a row for each row of the batch.
MATRIX_STAGES = tuple(name for name in ROW_KERNELS if name.split("_")[0] in ("dense", "activation", "dropout"))
# Those that multiply matrices.
PRODUCTS = ("dense_forward", "dense_backward_input", "dense_backward_weights")
CONVOLUTIONS = (*OPTIONAL_ROW_STAGES["convolution"], *OPTIONAL_STAGES["convolution"])
# What a phase of `resident.cl` does.
PHASE_KINDS = ("blocks", "tiles", "order", "weigh", "score", "best", "finish")
PHASE = np.dtype([(name, np.int32) for name in ("kind", "first", "end", "tiles", "chunk", "validation")])
# Where a network's parts of the buffers begin, in the order of a kernel's arguments, and what a launch does with it.
PLACES = (
    *("parameters", "workspace", "X", "Y", "sample_weight", "order", "scalars", "constants", "losses", "history"),
    *("control", "run", "stages", "phases"),
)
TURN = np.dtype(
    [(name, np.int64) for name in PLACES]
    + [
        (name, np.int32)
        for name in (
            *("step_begin", "epoch_end", "phase_count", "capacity"),
            *("first_epoch", "first_step", "steps", "after"),
        )
    ]
)
# Offsets that mean "not there" until a stage names them.
ABSENT = (
    "source",
    "target",
    "value",
    "saved",
    "gradient",
    "transposed",
    "losses",
    "window",
    "sums",
    "packed",
    "packed_left",
)

RUN = np.dtype(
    [
        (name, np.uint32 if name == "seed" else np.int32)
        for name in (
            "first_row",
            "samples",
            "batch_size",
            "step_rows",
            "share_begin",
            "steps",
            "target_columns",
            "class_codes",
            "ordered",
            "x_order",
            "x_rows",
            "x_starts",
            "x_columns",
            "weighted",
            "block_rows",
            "stage_count",
            "partials",
            "first_loss",
            "parameter_count",
            "scalar_count",
            "shuffle_side",
            "patience",
            "early_stopping",
            "best",
            "halting",
            "halting_count",
            "seed",
            "first_step",
        )
    ]
)

# Scalars of the history before its epochs, and what the first of them are; see epoch.cl.
HISTORY_HEAD, HEAD_FIELDS = 8, ("tolerance", "best_loss", "best_sum", "score_factor")
# Why the device has ended training.
STOPS = {"no_improvement": 1, "not_finite": 2, "halted": 4}
# Instructions of a halting condition, and what a validation score sums; see epoch.cl and validation.cl.
HALTING = ("loss_at_most", "accuracy_at_least", "both_hold", "either_holds")
SUMS = ("class_hits", "label_hits", "squared_errors")
# What a stage says as its `size` where a tile is made by a warp, or by several of them together; see gpu/warp.cl.
OF_WARPS = 1
# Weights that a tile of the phase "best" copies; integers from one counter of resident.cl to the next.
COPIED, LINE = 1024, 64
# What a stage says that packs an operand; see gpu/pack.cl.
OPERANDS = ("right_by_rows", "right_by_columns", "left_by_columns", "rows_of_x")
# Tiles of a convolution's weights whose gradients a core sums together.
TILES_TOGETHER = 4
# Vectors that a work-item packs together; see gpu/pack.cl.
PACKED_TOGETHER = 2
# Parts of a batch whose weight gradients are summed apart, at most.
MOST_PARTS = 8
# Weights that a work-group of a GPU updates in a stage that multiplies nothing; what its local memory holds of a plan.
WEIGHTS_OF_A_TILE, MOST_STAGES, MOST_PHASES = 1024, 40, 110


def definitions():
    """Return what the kernels and this page must agree on, as a dict of macro names to numbers."""
    tables = (STAGE_KINDS, PHASE_KINDS, HEAD_FIELDS, HALTING, SUMS, OPERANDS)
    numbers = {name.upper(): number for table in tables for number, name in enumerate(table)}
    numbers |= {name.upper(): number for name, number in STOPS.items()}
    sizes = (
        *("HISTORY_HEAD", "COPIED", "LINE", "WEIGHTS_OF_A_TILE", "MOST_STAGES", "MOST_PHASES", "TILES_TOGETHER"),
        *("PACKED_TOGETHER", "OF_WARPS"),
    )
    return numbers | {name: globals()[name] for name in sizes}


class Window(NamedTuple):
    """How the windows of a convolution, or of pooling, lie in an image; the kernels read it from the constants.

    Attributes
    ----------
    height, width : int
        Of the image.
    out_height, out_width : int
        Windows, from top to bottom and from left to right.
    kernel_height, kernel_width : int
        Pixels of a window.
    stride_y, stride_x : int
        Pixels from one window to the next.
    top, left : int
        Pixels outside the image before the first window's first pixel inside.
    dilation_y, dilation_x : int
        Pixels of the image from one pixel of a window to the next.
    groups : int
        Groups of channels that do not see each other.
    """

    height: int
    width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_y: int
    stride_x: int
    top: int
    left: int
    dilation_y: int
    dilation_x: int
    groups: int = 1


@dataclass(frozen=True)
class Layout:
    """How a matrix lies in column panels.

    Parameters
    ----------
    width : int
        Lanes of a vector; columns are padded to a multiple of it.
    panel : int
        Columns of a full panel, a multiple of ``width``.
    """

    width: int
    panel: int

    def padded(self, columns):
        """Return the number of columns with padding."""
        return -(-columns // self.width) * self.width

    def pack(self, matrix, out):
        """Write a ``(rows, columns)`` matrix into the flat array ``out`` of ``rows * padded`` scalars."""
        rows, columns = matrix.shape
        for begin, width in self._panels(columns):
            part = matrix[:, begin : begin + width]
            panel = out[begin * rows : (begin + width) * rows].reshape(rows, width)
            panel[:, : part.shape[1]] = part
            panel[:, part.shape[1] :] = 0

    def unpack(self, flat, rows, columns):
        """Return the ``(rows, columns)`` matrix that ``pack`` wrote."""
        matrix = np.empty((rows, columns), flat.dtype)
        for begin, width in self._panels(columns):
            part = matrix[:, begin : begin + width]
            part[...] = flat[begin * rows : (begin + width) * rows].reshape(rows, width)[:, : part.shape[1]]
        return matrix

    def _panels(self, columns):
        """Yield the first column and the padded width of every panel."""
        padded = self.padded(columns)
        for begin in range(0, padded, self.panel):
            yield begin, min(self.panel, padded - begin)
