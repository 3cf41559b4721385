"""The tile of a CPU: what a work-item makes of a stage, with vectors in registers."""

import math
from dataclasses import dataclass

from skintricate.kernels.build import Build, type_options
from skintricate.kernels.stage import (
    COLUMN_STAGES,
    MATRIX_STAGES,
    MOST_PARTS,
    OPTIONAL,
    ROW_STAGES,
    TABLE_STAGES,
    TILES_TOGETHER,
    Layout,
)

# Rows of a batch that are worth a sum of their own.
ROWS_OF_A_PART = 32
# Tiles that a table of an embedding has at most: each looks at all of a batch's numbers.
MOST_TABLE_TILES = 32
# Tiles of weights of a sparse X: each finds its part of every sample's entries.
SPARSE_TILES = 48
LLVM_AVX512_TARGETS = ("avx512", "cascadelake", "cooperlake", "icelake", "tigerlake", "rocketlake", "sapphirerapids")


@dataclass(frozen=True)
class Tile:
    """Sizes of a CPU's register tile and how it multiplies and adds.

    Parameters
    ----------
    width : int
        Lanes of a vector.
    rows, columns : int
        The tile is ``rows`` rows by ``columns`` vectors.
    multiply_add : {"fma", "mad", "contracted"}
    parts : int, default=1
        Parts of a batch whose weight gradients are summed apart, where that pays: as many as the whole device has
        cores. It does not follow the cores that a process may use, since the sums' rounding depends on it.
    """

    width: int
    rows: int
    columns: int
    multiply_add: str
    parts: int = 1

    family, rows_kernel = "cpu", "rows"
    # Stages of a launch that trains whole epochs: it reads their table where it lies.
    most_stages = math.inf
    local_size = 1
    has_tensor_cores = is_large_batch = False
    # Products of weights' gradients whose tiles end in the update.
    updating = ("dense_backward_weights", "sparse_backward_weights")
    # Sizes of products that are compiled.
    sizes = ()
    builds = {"all": Build()}
    # No plan has a program of its own, which would not be faster.
    build_of_a_plan = None
    # Parts of a batch, and tensors, begin at multiples of them.
    part_unit = line = 1

    @classmethod
    def of(cls, device, dtype):
        """Choose the tile of a CPU."""
        share = 1 if dtype == "float32" else 2
        native = device.handle.native_vector_width_float or 8
        has_avx512 = native >= 16
        if device.info.runtime == "pocl":
            # LLVM 14, in PoCL 3.0, aborts on 16 lanes and scalarises fma(); a * b + c is contracted everywhere.
            native = min(native, 8)
            # It compiles for the newest processor it knows, which its version names; AMD's have no AVX-512 there.
            has_avx512 = any(name in device.handle.version for name in LLVM_AVX512_TARGETS)
        width = max(4, min(16, native)) // share
        # AVX-512 has 32 vector registers, others 16: accumulators, one row of b and a scalar.
        rows = 8 if has_avx512 else 4
        columns = 3 if 3 * width % rows == 0 else 2
        parts = min(MOST_PARTS, 2 ** (device.info.compute_units.bit_length() - 1))
        return cls(width, rows, columns, "contracted", parts)

    def __post_init__(self):
        if self.layout.panel % self.rows:
            raise ValueError(f"{self} walks panels of {self.layout.panel} columns, which its rows must divide.")

    @property
    def unused_sources(self):
        """Files of the family that its program does without."""
        return ()

    @property
    def layout(self):
        """The layout of matrices that this tile walks."""
        return Layout(self.width, self.width * self.columns)

    def for_many(self, n_networks, batch_size):
        """Return the tile that cuts stages for one of so many networks at once."""
        return self

    def build_of(self, kernel):
        """Return which of its builds has a kernel."""
        return "all"

    def x_columns(self, columns):
        """Return the columns of a row of X on the device, padding included."""
        return columns

    def for_products(self, batch_size, weights, has_images=False):
        """Return the tile that cuts the stages of a network whose dense layers have these weights: any is cut alike."""
        return self

    def block_rows(self, batch_size):
        """Return the rows that a work-group takes through several stages."""
        return self.rows

    def order_tiles(self, n_samples, side):
        """Return the work-groups that make the order of an epoch, over a square of this side."""
        return side

    def is_wide(self, inputs, outputs):
        """Say whether a product is a phase of its own; on a CPU the lowering decides for all together."""
        return False

    def is_large(self, batch_size, inputs, outputs):
        """Say whether a product is worth a launch of its own; none is on a CPU."""
        return False

    def cut(self, kernel, batch_size, n_weights, outputs=1, inputs=1, bias=0, pixels=1, window=None, parts=1, **_):
        """Return how a stage is cut, as fields of it; the network has so many weights."""
        panels = -(-self.layout.padded(outputs) // self.layout.panel)
        row_tiles = -(-batch_size // self.rows)
        if kernel in MATRIX_STAGES:
            return {"tiles": row_tiles * panels * pixels}
        if kernel == "convolution_forward":
            return {"tiles": row_tiles * panels * window.out_height}
        if kernel == "convolution_backward_input":
            return {"tiles": row_tiles * panels * window.height}
        if kernel in ROW_STAGES:
            return {"tiles": row_tiles}
        if kernel == "convolution_backward_weights":
            return {"tiles": parts * -(-(-(-inputs // self.rows) + bias) * panels // TILES_TOGETHER)}
        if kernel in COLUMN_STAGES:
            return {"tiles": self.layout.padded(outputs) // self.width}
        if kernel == "sparse_backward_weights":
            return {"tiles": panels * min(-(-inputs // self.rows), -(-SPARSE_TILES // panels))}
        if kernel in TABLE_STAGES:
            return {"tiles": min(inputs, MOST_TABLE_TILES) + bias}
        if kernel == "clip_factor":
            return {"tiles": 1}
        return {"tiles": (-(-inputs // self.rows) + bias) * panels}  # weights; the bias is a tile by itself

    def kernel_of(self, kernel, size):
        """Return the name of the kernel that launches a stage."""
        return "tiles" if kernel in OPTIONAL else kernel

    def packs_operand_of(self, size):
        """Say whether the right operand of a product with tiles of this size is packed before; none is on a CPU."""
        return False

    def packed_weights(self, weights):
        """Return the scalars that packed weights of a network take; none are on a CPU."""
        return 0

    def updates_in(self, size):
        """Say whether tiles of this size of a gradient of weights end in the update; all do on a CPU."""
        return True

    def parts_of_window(self, batch_size, tiles, parts):
        """Return into how many parts the batch is cut for the gradient of a convolution's weights."""
        return parts

    def joins_parts(self, size):
        """Say whether one stage makes the sums of all parts: each has its own, for a core."""
        return False

    def parts_of_dense(self, parts, batch_size, tiles, inputs, outputs):
        """Return into how many parts the batch is cut for the gradient of a layer's weights, of so many tiles."""
        return parts

    def parts_of(self, batch_size, weights):
        """Return into how many parts the batch is cut for the weights' gradients, at most."""
        return max(1, min(self.parts, batch_size // ROWS_OF_A_PART))

    def options(self, dtype):
        """Return the compiler options that set the kernels' tunables."""
        options = [
            *type_options(dtype),
            f"-DWIDTH={self.width}",
            f"-DROWS={self.rows}",
            f"-DCOLUMNS={self.columns}",
        ]
        if self.multiply_add != "contracted":
            options.append(f"-DMULTIPLY_ADD={self.multiply_add}")
        return options
