"""The tile of a device: how stages are cut, and the sizes that kernels are compiled for, chosen by measurement.

A tile is what a work-group makes of a stage. On a CPU that is one work-item with vectors in registers (``Tile``), on
a GPU many that share local memory (``GroupTile``).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from skintricate.backend import cache, ptx
from skintricate.exceptions import DeviceError
from skintricate.kernels.stage import (
    COLUMN_STAGES,
    MATRIX_STAGES,
    OPTIONAL,
    PRODUCTS,
    ROW_STAGES,
    TABLE_STAGES,
    TILES_TOGETHER,
    WEIGHTS_OF_A_TILE,
    Layout,
)

MOST_PARTS = 8
# What the sums of a part of a batch cost, as a share of a large product.
SUMS_OF_A_PART = 0.05
# Rows of a batch that are worth a sum of their own.
ROWS_OF_A_PART = 32
# Tiles that a table of an embedding has at most: each looks at all of a batch's numbers.
MOST_TABLE_TILES = 32
# Tiles of weights of a sparse X: each finds its part of every sample's entries.
SPARSE_TILES = 48
# Local memory that a GPU's kernels take at most.
LOCAL_BYTES = 48 * 2**10
# Tiles of warps, and rows of a block where all products are theirs; see gpu/warp.cl and gpu/group.cl.
WARP_ROWS, WARP_COLUMNS, WARP_ITEMS, LOSS_ROWS = 16, 32, 32, 64
# Kernels of large products.
LARGE_KERNELS = ("tensor_forward", "tensor_input", "tensor_weights", "pack_operands")
# Words of a column of a packed chunk, and columns that a group packs; see gpu/pack.cl.
PACKED_WORDS, PACKED_BY_A_GROUP = 16, 64
# A batch in which whatever may be large is.
LARGEST_BATCH = 2**31
# Work-items of a group that trains a network by itself: several groups share a compute unit.
WHOLE_ITEMS = 256
# How products on tensor cores are made; see gpu/mma.cl.
PASSES = {"highest": 3, "high": 1, "medium": 0}
# Sizes that may be tried on a device, and which values of them; see training/tuning.py.
TUNABLE = {
    "cpu": {"rows": (4, 8), "columns": (2, 3)},
    "gpu": {"narrow_weights": (4096, 8192, 16384, 32768), "sizes": ((16, 32), (16, 32, 64))},
}
LLVM_AVX512_TARGETS = ("avx512", "cascadelake", "cooperlake", "icelake", "tigerlake", "rocketlake", "sapphirerapids")


def tile_of(device, dtype, precision="highest"):
    """Return the tile of a device for a float type and the precision of large products.

    Sizes are those that ``python -m skintricate tune`` found to be the fastest there, or the package's own.
    """
    tile = default_tile(device, dtype, precision)
    kept = {name: _as_size(value) for name, value in cache.read_settings(_settings_key(device, dtype)).items()}
    # What another version has kept may mean nothing here.
    return replace(
        tile, **{name: kept[name] for name, values in TUNABLE[tile.family].items() if kept.get(name) in values}
    )


def default_tile(device, dtype, precision="highest"):
    """Return the tile of a device with the package's own sizes."""
    return Tile.of(device, dtype) if device.is_cpu else GroupTile.of(device, dtype, precision)


def keep_sizes(device, dtype, sizes):
    """Let ``tile_of`` find these sizes of a device's tile, by the names of its fields, from now on."""
    cache.write_settings(_settings_key(device, dtype), sizes)
    device.forget((np.dtype(dtype).name, precision) for precision in PASSES)


def _settings_key(device, dtype):
    """Return the name under which the sizes of a device's tile are kept."""
    handle = device.handle
    units = str(device.info.compute_units)
    return cache.program_key("tile", np.dtype(dtype).name, handle.name, handle.driver_version, units)


def _as_size(value):
    """Return a size as it was before it became JSON."""
    return tuple(value) if isinstance(value, list) else value


class Build(NamedTuple):
    """One of the programs that a family's kernels are in.

    Attributes
    ----------
    options : tuple of str
        Compiler options beside those of all.
    revise : callable or None
        What is done to its binary; see ``backend/programs.py``.
    """

    options: tuple = ()
    revise: Callable | None = None


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

    family = "cpu"
    local_size = 1
    has_tensor_cores = False
    # Products of weights' gradients whose tiles end in the update.
    updating = ("dense_backward_weights", "sparse_backward_weights")
    # Sizes of products that are compiled.
    sizes = ()
    builds = {"all": Build()}
    # Parts of a batch begin at multiples of it.
    part_unit = 1

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

    def for_many(self, n_networks):
        """Return the tile that cuts stages for one of so many networks at once."""
        return self

    def build_of(self, kernel):
        """Return which of its builds has a kernel."""
        return "all"

    def x_columns(self, columns):
        """Return the columns of a row of X on the device, padding included."""
        return columns

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

    def parts_of_dense(self, parts, batch_size, tiles, inputs, outputs):
        """Return into how many parts the batch is cut for the gradient of a layer's weights, of so many tiles."""
        return parts

    def parts_of(self, batch_size, weights):
        """Return into how many parts the batch is cut for the weights' gradients, at most."""
        return max(1, min(self.parts, batch_size // ROWS_OF_A_PART))

    def options(self, dtype):
        """Return the compiler options that set the kernels' tunables."""
        options = [
            *_type_options(dtype),
            f"-DWIDTH={self.width}",
            f"-DROWS={self.rows}",
            f"-DCOLUMNS={self.columns}",
        ]
        if self.multiply_add != "contracted":
            options.append(f"-DMULTIPLY_ADD={self.multiply_add}")
        return options


@dataclass(frozen=True)
class GroupTile:
    """Sizes of the tiles that a GPU's work-groups make.

    Parameters
    ----------
    units : int
        Compute units of the device; where a stage allows, it has as many tiles.
    precision : {"highest", "high", "medium"}
        Of large products on tensor cores; see ``gpu/mma.cl``.
    has_tensor_cores : bool
        Whether large products are made on tensor cores, by the kernels of ``gpu/tensor.cl``,
    has_wgmma : bool
        or by those of ``gpu/wgmma.cl``, of packed operands.
    copies_asynchronously : bool
        Whether copies to local memory go on while a work-item does other things.
    width : int, default=4
        Lanes of a vector: 16 bytes.
    sizes : tuple of int, default=(16, 32, 64)
        Sides of a product's tile.
    depth : int, default=32
        Rows of a chunk that goes through local memory.
    local_size : int, default=256
        Work-items of a group.
    narrow_weights, narrow_columns : int, default=16384, 16
        Products of fewer weights, or as few columns, are made by the group that has the rows.
    most_block_rows : int, default=8
        Rows that a group has at once.
    is_whole_network : bool, default=False
        Whether a group trains a network by itself; its products are made by warps, see ``gpu/warp.cl``.
    """

    units: int
    precision: str = "highest"
    has_tensor_cores: bool = False
    has_wgmma: bool = False
    copies_asynchronously: bool = False
    width: int = 4
    sizes: tuple = (16, 32, 64)
    depth: int = 32
    local_size: int = 256
    narrow_weights: int = 16384
    narrow_columns: int = 16
    most_block_rows: int = 8
    is_whole_network: bool = False

    family = "gpu"
    updating = ("dense_backward_weights",)
    # Batches of so few rows have their weights' gradients summed vector by vector.
    few_rows, few_weights = 16, 4096
    # A product of so many operations is worth a launch of its own; so many rows, a part, which begins at a multiple.
    large_product, large_part, part_unit = 5e8, 512, 32
    tensor_rows, tensor_columns = 128, 128

    @classmethod
    def of(cls, device, dtype, precision="highest"):
        """Choose the tile of a GPU, or raise ``DeviceError`` where its groups are too small."""
        handle = device.handle
        if handle.max_work_group_size < cls.local_size or handle.local_mem_size < LOCAL_BYTES:
            raise DeviceError(
                f"{device.info} has work-groups of {handle.max_work_group_size} items with {handle.local_mem_size} "
                f"bytes of local memory; {cls.local_size} items and {LOCAL_BYTES} bytes are needed. Use device='cpu'."
            )
        ampere = device.compute_capability >= (8, 0)
        if dtype == "float64":
            sizes = {"width": 2, "sizes": (16, 32), "depth": 16}
            return cls(device.info.compute_units, copies_asynchronously=ampere, **sizes)
        return cls(device.info.compute_units, precision, ampere, device.has_wgmma, ampere)

    @property
    def unused_sources(self):
        """Files of the family that its program does without: those of products that it never makes."""
        return ("gpu/product", "gpu/narrow") if self.is_whole_network else ("gpu/mma", "gpu/warp")

    @property
    def large_sources(self):
        """The files that make large products."""
        return ("gpu/wgmma", "gpu/pack") if self.has_wgmma else ("gpu/tensor",)

    @property
    def builds(self):
        """Its programs: that of large products, which most networks have none of, and that of all else."""
        if not self.has_tensor_cores or self.is_whole_network:
            return {"all": Build()}
        if not self.has_wgmma:
            return {"all": Build(), "large": Build(("-DINLINE",))}
        revise = functools.partial(ptx.with_marked_lines, groups=self.groups_of_a_unit)
        revision = f"-DREVISION={ptx.REVISION}{self.groups_of_a_unit}"
        return {"all": Build(), "large": Build(("-DINLINE", revision), revise)}

    def build_of(self, kernel):
        """Return which of its builds has a kernel."""
        return "large" if kernel in LARGE_KERNELS else "all"

    @property
    def groups_of_a_unit(self):
        """Groups of large products that a unit has registers for."""
        return 1 if self.has_wgmma and self.precision == "highest" else 2

    def packs_operand_of(self, size):
        """Say whether the right operand of a product with tiles of this size is packed before."""
        return self.has_wgmma and size == self.tensor_rows

    def updates_in(self, size):
        """Say whether tiles of this size of a gradient of weights end in the update.

        Those of tensor cores fill the registers: few of them wait at once for what an update reads.
        """
        return size != self.tensor_rows

    @property
    def layout(self):
        """Matrices lie by rows: a panel is wider than any of them."""
        return Layout(self.width, self.width << 24)

    def for_many(self, n_networks):
        """Return the tile that cuts stages for one of so many networks at once: each has its share of the units."""
        units = max(1, self.units // n_networks)
        if units > 1 or not self.has_tensor_cores:
            return replace(self, units=units)
        whole = {"is_whole_network": True, "most_block_rows": LOSS_ROWS, "local_size": WHOLE_ITEMS, "sizes": ()}
        return replace(self, units=1, **whole)

    def x_columns(self, columns):
        """Return the columns of a row of X on the device, padding included."""
        return self.layout.padded(columns)

    def block_rows(self, batch_size):
        """Return the rows that a work-group takes through several stages: a power of two, with work for all units."""
        rows = 2 ** (-(-batch_size // self.units) - 1).bit_length()
        # Few rows are one group's, which then waits for nobody.
        return self.most_block_rows if batch_size <= self.most_block_rows else min(rows, self.most_block_rows)

    def order_tiles(self, n_samples, side):
        """Return the work-groups that make the order of an epoch."""
        return -(-n_samples // self.local_size)

    def is_wide(self, inputs, outputs):
        """Say whether a product of these sizes is shared by several groups, tile by tile."""
        return not self.is_whole_network and self._is_wide(inputs, outputs)

    def _is_wide(self, inputs, outputs):
        """Say whether a product of these sizes is worth several groups."""
        return inputs * outputs > self.narrow_weights and min(inputs, outputs) > self.narrow_columns

    def cut(self, kernel, batch_size, n_weights, outputs=1, inputs=1, bias=0, parts=1, **_):
        """Return how a stage is cut, as fields of it; the network has so many weights."""
        if kernel == "convolution_backward_weights":
            return self._vectors_of_a_group((inputs + bias) * self.layout.padded(outputs) // self.width, parts)
        if kernel in COLUMN_STAGES:
            return {"tiles": -(-self.layout.padded(outputs) // self.width // self.local_size)}
        if kernel in TABLE_STAGES:
            return {"tiles": min(inputs, 2 * self.units) + bias}
        large = self.is_large(batch_size, inputs, outputs)
        if self.is_whole_network and kernel in PRODUCTS:
            rows = inputs + bias if kernel == "dense_backward_weights" else batch_size
            tiles = -(-rows // WARP_ROWS) * -(-self.layout.padded(outputs) // WARP_COLUMNS)
            return {"tiles": -(-tiles * WARP_ITEMS // self.local_size), "size": WARP_COLUMNS}
        if kernel in ("dense_forward", "dense_backward_input") and self.is_wide(inputs, outputs):
            return self._squares(batch_size, outputs, large, self.units)
        if kernel == "dense_backward_weights":
            weights = (inputs + bias) * self.layout.padded(outputs)
            if batch_size <= self.few_rows and weights <= self.few_weights:
                return {"tiles": -(-weights // (self.width * self.local_size)), "size": 0}
            # In one launch for all, each layer's weights have their share of the units.
            share = weights / n_weights if 2 * batch_size * n_weights < self.large_product else 1
            return self._squares(inputs + bias, outputs, large, self.units * share)
        if kernel in ROW_STAGES:
            return {"tiles": -(-batch_size // self.block_rows(batch_size)), **self._shares(kernel, inputs, outputs)}
        if kernel == "clip_factor":
            return {"tiles": 1}
        if kernel == "pack_operands":
            return {"tiles": -(-self._packed_columns(inputs, outputs) // PACKED_BY_A_GROUP)}
        return {"tiles": -(-(inputs + bias) * self.layout.padded(outputs) // WEIGHTS_OF_A_TILE)}

    def packed_size(self, operand, inputs, outputs):
        """Return the scalars of a packed operand of so many steps of the sums and columns; see ``gpu/pack.cl``."""
        planes = 2 if self.precision == "highest" and operand != "left_by_columns" else 1
        return self._packed_columns(inputs, outputs) * PACKED_WORDS * planes

    def packed_weights(self, weights):
        """Return the scalars that packed weights of a network take beside the rows of a large batch."""
        large = [w for w in weights if self.has_wgmma and self.is_large(LARGEST_BATCH, w.inputs, w.columns)]
        return sum(self.packed_size("right_by_rows", w.inputs, w.columns) for w in large)

    def _packed_columns(self, inputs, outputs):
        """Return the columns of all chunks of a packed operand."""
        chunk = 32 if self.precision == "medium" else 16
        return -(-inputs // chunk) * -(-outputs // self.tensor_columns) * self.tensor_columns

    def _vectors_of_a_group(self, vectors, parts):
        """Return how a group takes some vectors of a part, each of which is a sum that several work-items share."""
        log_lanes = min((vectors - 1).bit_length(), (self.local_size - 1).bit_length())
        return {"tiles": parts * -(-vectors // 2**log_lanes), "log_lanes": log_lanes}

    def _shares(self, kernel, inputs, outputs):
        """Return how the work-items share a block of rows, as logarithms: lanes of a row, slices of its sums."""
        lanes = min((-(-outputs // self.width) - 1).bit_length(), (self.local_size - 1).bit_length())
        if kernel not in ("dense_forward", "dense_backward_input"):
            return {"log_lanes": min(lanes, (self.local_size // self.most_block_rows - 1).bit_length())}
        # A chunk of a block is a multiple of the slices, so that the order of a sum does not depend on the block.
        most = self.local_size * self.width // self.most_block_rows
        slices = min(
            (-(-inputs // 8) - 1).bit_length(), (self.local_size >> lanes).bit_length() - 1, most.bit_length() - 1
        )
        return {"log_lanes": lanes, "log_slices": slices}

    def is_large(self, batch_size, inputs, outputs):
        """Say whether a product is worth a launch of its own."""
        # With fewer rows than a tile has, packing the weights would take longer than the product.
        enough = batch_size >= self.tensor_rows or not self.has_wgmma
        wide = self._is_wide(inputs, outputs) and min(inputs, outputs) >= self.tensor_columns // 2
        return enough and wide and 2 * batch_size * inputs * outputs >= self.large_product

    def _squares(self, rows, columns, large, units):
        """Return the largest size that gives nearly every one of these units a tile, and the tiles."""
        if large and self.has_tensor_cores:
            tiles = -(-rows // self.tensor_rows) * -(-columns // self.tensor_columns)
            return {"tiles": tiles, "size": self.tensor_rows}
        for size in sorted(self.sizes, reverse=True):
            tiles = -(-rows // size) * -(-columns // size)
            if tiles >= 0.75 * units:
                break
        return {"tiles": tiles, "size": size}

    def kernel_of(self, kernel, size):
        """Return the name of the kernel that launches a stage."""
        if size == self.tensor_rows:
            return {"dense_forward": "tensor_forward", "dense_backward_input": "tensor_input"}.get(
                kernel, "tensor_weights"
            )
        if kernel in ROW_STAGES and not size:
            return "rows"
        if kernel == "pack_operands":
            return kernel
        return "tiles" if kernel in (*PRODUCTS, "convolution_backward_weights") else "updates"

    def parts_of_window(self, batch_size, tiles, parts):
        """Return into how many parts the batch is cut for the gradient of a convolution's weights."""
        return max(1, min(batch_size, self.units // tiles))

    def parts_of_dense(self, parts, batch_size, tiles, inputs, outputs):
        """Return into how many parts the batch is cut for the gradient of a layer's weights, of so many tiles.

        Those that are not large have a launch of their own, in which no unit has more than one tile.
        """
        return parts if self.is_large(batch_size, inputs, outputs) else max(1, min(parts, self.units // tiles))

    def parts_of(self, batch_size, weights):
        """Return into how many parts the batch is cut for the weights' gradients: until all units have work."""
        large = [w for w in weights if self.is_large(batch_size, w.inputs, w.columns)]
        if not large or not self.has_tensor_cores:
            return 1
        tiles = sum(self._squares(w.rows, w.columns, True, self.units)["tiles"] for w in large)
        at_once, most = self.units * self.groups_of_a_unit, min(MOST_PARTS, max(1, batch_size // self.large_part))

        def cost(parts):
            """Turns in which all parts are made, each a share of the rows long, and the traffic of their sums."""
            return -(-tiles * parts // at_once) / parts * (1 + SUMS_OF_A_PART * parts)

        return min(range(1, most + 1), key=cost)

    def options(self, dtype):
        """Return the compiler options that set the kernels' tunables."""
        return [
            *_type_options(dtype),
            "-DTABLE=local",
            f"-DWIDTH={self.width}",
            "-DALIGNMENT=16",
            f"-DCOLUMNS={1 << 24}",
            f"-DLOCAL_SIZE={self.local_size}",
            f"-DDEPTH={self.depth}",
            f"-DLARGEST_SIZE={max(self.sizes, default=0)}",
            "-DMULTIPLY_ADD=fma",
            *(["-DWHOLE_NETWORK"] if self.is_whole_network else []),
            *(["-DASYNCHRONOUS_COPY"] if self.copies_asynchronously else []),
            *([f"-DPASSES={PASSES[self.precision]}"] if self.has_tensor_cores else []),
        ]


def _type_options(dtype):
    """Return the options of a float type."""
    if dtype == "float32":
        return ["-DSCALAR=float", "-DMASK=int", "-cl-single-precision-constant", "-cl-denorms-are-zero"]
    return ["-DSCALAR=double", "-DMASK=long"]
