"""The tile of a GPU: what the work-items of a group, which share local memory, make of a stage."""

import functools
import math
from dataclasses import dataclass, replace

from skintricate.backend import ptx
from skintricate.exceptions import DeviceError
from skintricate.kernels.build import Build, type_options
from skintricate.kernels.stage import (
    COLUMN_STAGES,
    MOST_PARTS,
    MOST_STAGES,
    OF_WARPS,
    PACKED_TOGETHER,
    PRODUCTS,
    ROW_STAGES,
    TABLE_STAGES,
    WEIGHTS_OF_A_TILE,
    Layout,
)

# How products on tensor cores are made; see gpu/mma.cl.
PASSES = {"highest": 3, "high": 1, "medium": 0}
# Local memory that kernels take at most.
LOCAL_BYTES = 48 * 2**10
# Tiles of warps, which have more rows in a network that a group has for itself; see gpu/warp.cl.
WARP_ROWS, WHOLE_ROWS, WARP_COLUMNS, WARP_ITEMS = 16, 32, 32, 32
# Rows of a block at most: where batches have few, and where they have many or all products are made by warps; see
# gpu/group.cl.
FEW_BLOCK_ROWS, MANY_BLOCK_ROWS = 8, 64
# Columns of a last layer, up to which an item has a whole row where a group trains a network by itself.
FEW_COLUMNS = 16
# What the end of a tile of weights costs, in steps of sixteen rows; less where two warps share it.
END_OF_TILE, END_OF_HALF_A_TILE = 4, 3
# Rows for each compute unit from which on a batch is taken in blocks of many: with fewer, most units would have none.
LEAST_ROWS = 8
# The same, from which on gradients of weights that are not large are summed in parts, which takes a barrier; rows of a
# part at least, and about what a chunk of its sum costs, by the size of its tile, in cycles.
LEAST_ROWS_IN_PARTS, LEAST_ROWS_OF_A_PART, CHUNK_CYCLES = 15, 128, {16: 400, 32: 400, 64: 600}
# Work-items of a group that trains a network by itself: several groups share a compute unit. With so many rows for each
# of a few units, products by warps are faster there, too.
WHOLE_ITEMS, MOST_UNITS_OF_A_GROUP, ROWS_OF_A_UNIT = 256, 4, 50
# Kernels of large products, and of what stands beside them in a large batch.
LARGE_KERNELS = ("tensor_forward", "tensor_input", "tensor_weights", "pack_operands", "large_rows")
# Tiles that read a row of X, from which on it is copied to where the others of its batch are.
READ_OFTEN = 8
# What the sums of a part of a batch cost, as a share of a large product.
SUMS_OF_A_PART = 0.05
# Words of a column of a packed chunk, columns that a group packs at a time, and groups of a unit; see gpu/pack.cl.
PACKED_WORDS, PACKED_AT_A_TIME, PACKING_GROUPS = 16, 64 * PACKED_TOGETHER, 6


@dataclass(frozen=True)
class GroupTile:
    """Sizes of the tiles that a GPU's work-groups make.

    Parameters
    ----------
    units : int
        Compute units of the device; where a stage allows, it has as many tiles.
    precision : {"highest", "high", "medium"}
        Of large products on tensor cores, and on Hopper of the narrow ones beside them, which are tf32 where it is not
        "highest"; see ``gpu/mma.cl``.
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
    most_block_rows : int, default=FEW_BLOCK_ROWS
        Rows that a group has at once.
    is_whole_network : bool, default=False
        Whether a group trains a network by itself; its products are made by warps, see ``gpu/warp.cl``.
    has_many_rows : bool, default=False
        Whether its program is for training with batches of many rows: blocks are larger, and gradients of weights are
        summed in parts; see ``gpu/many_rows.cl``.
    is_large_batch : bool, default=False
        Whether many rows go through large products: blocks of rows are then larger, and narrow products are made by
        warps, see ``gpu/blocks.cl`` and ``gpu/slices.cl``.
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
    most_block_rows: int = FEW_BLOCK_ROWS
    is_whole_network: bool = False
    has_many_rows: bool = False
    is_large_batch: bool = False

    family = "gpu"
    # Scalars at whose multiples tensors and packed operands begin: a line of the cache.
    line = 32
    updating = ("dense_backward_weights",)
    # Batches of so few rows have their weights' gradients summed vector by vector.
    few_rows, few_weights = 16, 4096
    # A product of so many operations is worth a launch of its own; so many rows, a part, which begins at a multiple.
    large_product, large_part, part_unit = 5e8, 512, 32
    tensor_rows, tensor_columns = 128, 128
    # Stages of a launch that trains whole epochs.
    most_stages = MOST_STAGES

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
        if self.is_whole_network:
            return "gpu/product", "gpu/narrow", "gpu/few_rows", "gpu/many_rows", "gpu/staged"
        return "gpu/mma", "gpu/warp", "gpu/warp_weights", "gpu/few_rows" if self.has_many_rows else "gpu/many_rows"

    @property
    def large_sources(self):
        """The files that make large products, and what stands beside them."""
        return ("gpu/wgmma", "gpu/pack", "gpu/blocks") if self.has_wgmma else ("gpu/tensor",)

    @property
    def builds(self):
        """Its programs: that of large products, which most networks have none of, and that of all else."""
        builds = {"all": self._build()}
        if self.has_wgmma and not self.is_whole_network:
            options = ("-DINLINE", "-DLARGE_BATCH", f"-DTENSOR_ITEMS={self.local_size}")
            builds["large"] = _revised(options, ptx.with_marked_lines, self._room)
        elif self.has_tensor_cores and not self.is_whole_network:
            builds["large"] = Build(("-DINLINE", "-DTENSOR_ITEMS=128"))
        return builds

    @property
    def build_of_a_plan(self):
        """How the program of one plan is compiled; see ``specialized.py``."""
        return self._build("-DINLINE", "-DSPECIALIZED")

    def _build(self, *options):
        """Return how all but large products is compiled; two groups of whole networks share a unit."""
        if self.is_whole_network:
            return _revised(options, ptx.with_room_for, [("resident", 2)])
        return Build((*options, "-DMANY_ROWS") if self.has_many_rows else options)

    def build_of(self, kernel):
        """Return which of its builds has a kernel."""
        return "large" if kernel in LARGE_KERNELS else "all"

    @property
    def groups_of_a_unit(self):
        """Groups of large products that a unit has registers for."""
        return 1 if self.has_wgmma and self.precision == "highest" else 2

    @property
    def _room(self):
        """Groups for which kernels of the program of large products leave registers, by their names."""
        products = [(name, self.groups_of_a_unit) for name in LARGE_KERNELS if name.startswith("tensor")]
        return [*products, ("large_rows", 2), ("pack_operands", PACKING_GROUPS)]

    def packs_operand_of(self, size):
        """Say whether the right operand of a product with tiles of this size is packed before."""
        return self.has_wgmma and size == self.tensor_rows

    def copies_rows_of(self, size, outputs):
        """Say whether the rows of X are copied for a product with tiles of this size: so many read each of them."""
        return self.packs_operand_of(size) and outputs >= READ_OFTEN * self.tensor_columns

    def updates_in(self, size):
        """Say whether tiles of this size of a gradient of weights end in the update.

        Those of tensor cores fill the registers: few of them wait at once for what an update reads.
        """
        return size != self.tensor_rows and not (self.is_large_batch and size == OF_WARPS)

    @property
    def layout(self):
        """Matrices lie by rows: a panel is wider than any of them."""
        return Layout(self.width, self.width << 24)

    def for_many(self, n_networks, batch_size):
        """Return the tile that cuts stages for one of so many networks at once: each has its share of the units.

        Their batches have up to so many rows; 0 in predictions.
        """
        units = max(1, self.units // n_networks)
        if not self.has_tensor_cores or units > min(MOST_UNITS_OF_A_GROUP, batch_size // ROWS_OF_A_UNIT):
            if batch_size < LEAST_ROWS * units:
                return replace(self, units=units)
            return replace(self, units=units, has_many_rows=True, most_block_rows=MANY_BLOCK_ROWS)
        whole = {"is_whole_network": True, "most_block_rows": MANY_BLOCK_ROWS, "local_size": WHOLE_ITEMS, "sizes": ()}
        return replace(self, units=1, **whole)

    def for_products(self, batch_size, weights, has_images=False):
        """Return the tile that cuts the stages of a network whose dense layers have these weights."""
        if self.is_whole_network and weights and weights[-1].columns <= FEW_COLUMNS:
            return replace(self, most_block_rows=self.local_size)
        large = any(self.is_large(batch_size, w.inputs, w.columns) for w in weights)
        if large and self.has_wgmma and not self.is_whole_network and batch_size >= LEAST_ROWS * self.units:
            return replace(self, is_large_batch=True, most_block_rows=MANY_BLOCK_ROWS)
        if self.has_many_rows and has_images:  # a few of their rows are work enough for a group
            return replace(self, most_block_rows=FEW_BLOCK_ROWS)
        return self

    def x_columns(self, columns):
        """Return the columns of a row of X on the device, padding included."""
        return self.layout.padded(columns)

    def block_rows(self, batch_size):
        """Return the rows that a work-group takes through several stages: a power of two, with work for all units."""
        if self.is_whole_network:
            return self.most_block_rows
        if self.is_large_batch:  # two groups share a unit
            rows = 2 ** (-(-batch_size // (2 * self.units)) - 1).bit_length()
            return min(max(rows, WARP_ROWS), self.most_block_rows)
        rows = 2 ** (-(-batch_size // self.units) - 1).bit_length()
        # Few rows are one group's, which then waits for nobody.
        return FEW_BLOCK_ROWS if batch_size <= FEW_BLOCK_ROWS else min(rows, self.most_block_rows)

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
            return self._whole_product(kernel, batch_size, inputs, outputs)
        if kernel in ("dense_forward", "dense_backward_input") and self.is_wide(inputs, outputs):
            return self._squares(batch_size, outputs, large, self.units)
        if kernel == "dense_backward_weights":
            weights = (inputs + bias) * self.layout.padded(outputs)
            if self.is_large_batch and not self.is_wide(inputs, outputs):
                tiles = -(-inputs // WARP_ROWS) * -(-self.layout.padded(outputs) // WARP_COLUMNS)
                return {"tiles": tiles, "size": OF_WARPS}
            if batch_size <= self.few_rows and weights <= self.few_weights:
                return {"tiles": -(-weights // (self.width * self.local_size)), "size": 0}
            if self._most_parts(batch_size) > 1 and not (large and self.has_tensor_cores):
                cut = self._squares_of_parts(inputs + bias, outputs, batch_size)
            else:
                # In one launch for all, each layer's weights have their share of the units.
                share = weights / n_weights if 2 * batch_size * n_weights < self.large_product else 1
                cut = self._squares(inputs + bias, outputs, large, self.units * share)
            return {**cut, "tiles": cut["tiles"] * (parts if self.joins_parts(cut["size"]) else 1)}
        if kernel in ROW_STAGES:
            return {"tiles": -(-batch_size // self.block_rows(batch_size)), **self._shares(kernel, inputs, outputs)}
        if kernel == "clip_factor":
            return {"tiles": 1}
        if kernel == "pack_operands":
            tiles = -(-self._packed_columns(inputs, outputs) // PACKED_AT_A_TIME)
            return {"tiles": min(tiles, PACKING_GROUPS * self.units)}
        return {"tiles": -(-(inputs + bias) * self.layout.padded(outputs) // WEIGHTS_OF_A_TILE)}

    def _whole_product(self, kernel, batch_size, inputs, outputs):
        """Return how warps share a product of a network that the group has for itself."""
        is_gradient = kernel == "dense_backward_weights"
        rows, warps = inputs if is_gradient else batch_size, self.local_size // WARP_ITEMS
        tiles = -(-rows // WHOLE_ROWS) * -(-self.layout.padded(outputs) // WARP_COLUMNS)
        steps, log_slices = -(-batch_size // WARP_ROWS), 0
        if is_gradient and steps > 1:
            alone = -(-tiles // warps) * (steps + END_OF_TILE)
            shared = -(-2 * tiles // warps) * (-(-steps // 2) + END_OF_HALF_A_TILE)
            log_slices = int(shared < alone)
        return {"tiles": -(-(tiles << log_slices) // warps), "size": OF_WARPS, "log_slices": log_slices}

    def packed_size(self, operand, inputs, outputs):
        """Return the scalars of a packed operand of so many steps of the sums and columns; see ``gpu/pack.cl``."""
        planes = 2 if self.precision == "highest" and operand != "left_by_columns" else 1
        return self._packed_columns(inputs, outputs) * PACKED_WORDS * planes

    def packed_weights(self, weights):
        """Return the scalars that packed weights of a network take beside the rows of a large batch."""
        large = [w for w in weights if self.has_wgmma and self.is_large(math.inf, w.inputs, w.columns)]
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
        most = self.local_size * self.width // FEW_BLOCK_ROWS
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

    def _squares_of_parts(self, rows, columns, batch_size):
        """Return the size whose tiles, with as many parts as units allow, are done soonest; and the tiles."""
        most = self._most_parts(batch_size)

        def tiles(size):
            return -(-rows // size) * -(-columns // size)

        def cycles(size):
            parts = max(1, min(most, self.units // tiles(size)))
            chunks = -(-batch_size // parts) * size / (self.local_size * self.width)
            return -(-tiles(size) * parts // self.units) * chunks * CHUNK_CYCLES[size]

        size = min(self.sizes, key=cycles)
        return {"tiles": tiles(size), "size": size}

    def joins_parts(self, size):
        """Say whether one stage makes the sums of all parts of a gradient of weights with tiles of this size."""
        return self.has_many_rows and size in self.sizes

    @property
    def rows_kernel(self):
        """The kernel that takes blocks of rows through stages."""
        return "large_rows" if self.is_large_batch else "rows"

    def kernel_of(self, kernel, size):
        """Return the name of the kernel that launches a stage."""
        if size == self.tensor_rows:
            return {"dense_forward": "tensor_forward", "dense_backward_input": "tensor_input"}.get(
                kernel, "tensor_weights"
            )
        if kernel in ROW_STAGES and not size:
            return self.rows_kernel
        if self.is_large_batch and size == OF_WARPS:
            return "tensor_weights"
        if kernel == "pack_operands":
            return kernel
        return "tiles" if kernel in (*PRODUCTS, "convolution_backward_weights") else "updates"

    def parts_of_window(self, batch_size, tiles, parts):
        """Return into how many parts the batch is cut for the gradient of a convolution's weights."""
        return max(1, min(batch_size, self.units // tiles))

    def parts_of_dense(self, parts, batch_size, tiles, inputs, outputs):
        """Return into how many parts the batch is cut for the gradient of a layer's weights, of so many tiles.

        Of those that are not large, no unit has more than one tile.
        """
        if self.has_tensor_cores and self.is_large(batch_size, inputs, outputs):
            return parts
        return max(1, min(parts, self.units // tiles))

    def _most_parts(self, batch_size):
        """Return into how many parts a batch is cut at most for gradients of weights that are not large."""
        many = self.has_many_rows and not self.is_large_batch and batch_size >= LEAST_ROWS_IN_PARTS * self.units
        return max(1, batch_size // LEAST_ROWS_OF_A_PART) if many else 1

    def parts_of(self, batch_size, weights):
        """Return into how many parts the batch is cut for the weights' gradients: until all units have work."""
        large = [w for w in weights if self.is_large(batch_size, w.inputs, w.columns)]
        if not large or not self.has_tensor_cores:
            return self._most_parts(batch_size)
        tiles = sum(self._squares(w.rows, w.columns, True, self.units)["tiles"] for w in large)
        at_once, most = self.units * self.groups_of_a_unit, min(MOST_PARTS, max(1, batch_size // self.large_part))

        def cost(parts):
            """Turns in which all parts are made, each a share of the rows long, and the traffic of their sums."""
            return -(-tiles * parts // at_once) / parts * (1 + SUMS_OF_A_PART * parts)

        return min(range(1, most + 1), key=cost)

    def options(self, dtype):
        """Return the compiler options that set the kernels' tunables."""
        return [
            *type_options(dtype),
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


def _revised(options, revise, groups):
    """Return a build whose PTX is revised, with kernels for so many groups of a compute unit."""
    revision = "_".join([str(ptx.REVISION), *(f"{name}_{number}" for name, number in groups)])
    return Build((*options, f"-DREVISION={revision}"), functools.partial(revise, groups=groups))
