"""Where everything of a plan lies, and its stages as they are appended."""

import itertools
import math

from skintricate.kernels import STAGE
from skintricate.kernels.stage import ABSENT, OF_WARPS, OPERANDS, PRODUCTS, ROW_STAGES, STAGE_KINDS
from skintricate.layers import Dense
from skintricate.training.network import matrices, walk
from skintricate.training.plan import SOURCE_IS_X, Launch, Plan, Weights


class StageWriter:
    """Writes a plan: gives tensors, weights and constants their places, and appends stages in their order.

    Parameters
    ----------
    layers : sequence of Layer
    n_features : int
    batch_size : int
    program : Program
    n_states : int
        Numbers that the optimizer keeps for each weight.
    training : bool
        Whether the stages that are appended next are those of a step, not of a prediction.
    is_sparse : bool, default=False
        Whether X lies on the device as a sparse matrix.

    Attributes
    ----------
    plan : Plan
    """

    def __init__(self, layers, n_features, batch_size, program, n_states, training, is_sparse=False):
        self.layers, self.training = list(layers), training
        self._input_shape = (int(n_features),)
        self._program, self._tile = program, program.tile
        self._layout = program.tile.layout
        self._stages = []
        # Where operands lie packed, by what they are; those of weights that no launch packs yet.
        self._packed, self._weights_to_pack = {}, []
        self._nodes = list(walk(self.layers, self._input_shape))
        self._positions = _stream_numbers(self._nodes, len(self.layers))
        self.plan = Plan(batch_size)
        self._place_parameters(n_states)
        has_images = any(len(node.input_shape) > 1 for node in self._nodes)
        self._tile = self._tile.for_products(batch_size, self._weights_of_products(is_sparse), has_images)
        self.plan.block_rows, self.plan.is_large = self._tile.block_rows(batch_size), self._tile.is_large_batch

    def constant(self, *values):
        """Return where these hyper-parameters lie."""
        self.plan.constants += map(float, values)
        return len(self.plan.constants) - len(values)

    def allocate(self, shape):
        """Return the offset of a new tensor of this shape a sample."""
        return self.reserve(self.plan.batch_size * math.prod(shape[:-1]) * self._layout.padded(shape[-1]))

    def weights(self, layer, number=0):
        """Return the ``Weights`` of a layer: of what is trained, or with 1 of what is only kept."""
        return self._weights[id(layer)][number]

    def transposed(self, weights, is_window=False):
        """Return where the weights lie for the gradient of their layer's input."""
        if not is_window and self._tile.is_wide(weights.columns, weights.inputs):
            return weights.offset
        if weights.transposed < 0:
            size = weights.transposed_rows * self._layout.padded(weights.channels)
            weights.transposed = self._reserve_parameters(size)
        return weights.transposed

    def position(self, layer):
        """Return a number that tells a layer's random numbers from those of others."""
        return self._positions[id(layer)]

    def sums(self, weights):
        """Return fields of a stage whose blocks of rows store sums of their own for the gradient of some weights."""
        stride = self.size(weights)
        return {"sums": self.reserve(self.plan.blocks * stride), "part_stride": stride}

    def kept_by_tiles(self, kernel, count, **fields):
        """Return where every tile of a stage keeps so many numbers of its own."""
        return self.reserve(count * self.cut(kernel, **fields)["tiles"])

    def launch(self, kernel, **fields):
        """Append a stage with a launch of its own."""
        self.launch_many(kernel, [fields])

    def launch_many(self, kernel, stages):
        """Append independent stages of one kernel, which share a launch."""
        launches, to_pack = {}, []
        for fields in stages:
            stage = {name: -1 if name in ABSENT else 0 for name in STAGE.names}
            stage["kind"], stage["pixels"], stage["channels"] = STAGE_KINDS.index(kernel), 1, fields.get("inputs", 0)
            cut, window = self.cut(kernel, **fields), fields.get("window")
            if window is not None:
                fields = {**fields, "window": self.constant(*window)}
            stage.update({name: int(value) for name, value in fields.items() if value is not None}, **cut)
            launches.setdefault(self._tile.kernel_of(kernel, stage["size"]), []).append(stage)
            if kernel in PRODUCTS:
                self.plan.is_large |= self._tile.is_large(self.plan.batch_size, stage["inputs"], stage["outputs"])
                if self._tile.packs_operand_of(stage["size"]):
                    self._place_operands(kernel, stage, to_pack)
        if to_pack:
            self.launch_many("pack_operands", to_pack)
        for name, rows in launches.items():
            rows.sort(key=lambda stage: stage["size"] == OF_WARPS)  # short ones last, for the units that others leave
            first = len(self._stages)
            self._stages += [tuple(stage.values()) for stage in rows]
            tiles = sum(stage["tiles"] for stage in rows)
            takes_blocks = kernel in ROW_STAGES and rows[0]["size"] == 0
            self.plan.launches.append(Launch(name, first, len(self._stages), tiles, takes_blocks))

    def pack_weights(self):
        """Let the launches so far begin with one that packs the weights which their large products need."""
        stages, self._weights_to_pack = self._weights_to_pack, []
        if stages:
            launches, self.plan.launches = self.plan.launches, []
            self.launch_many("pack_operands", stages)
            self.plan.launches += launches

    def code(self, kind, thing):
        """Return the number by which a stage names the class of an activation, loss or optimizer."""
        return self._program.vocabulary.code(kind, type(thing))

    def size(self, weights):
        """Return the scalars of a layer's weights in panels."""
        return weights.rows * self._layout.padded(weights.columns)

    def reserve(self, size):
        """Return the offset of so many new scalars of the workspace, where a vector or a line of a cache may begin."""
        size = -(-self._layout.padded(size) // self._tile.line) * self._tile.line
        self.plan.workspace_size += size
        return self.plan.workspace_size - size

    def cut(self, kernel, **fields):
        """Return how the tile cuts a stage of these fields."""
        return self._tile.cut(kernel, self.plan.batch_size, self.plan.parameter_count, **fields)

    def updates_in(self, product, **fields):
        """Say whether the kernel of a product of weights' gradients makes the update, too."""
        return product in self._tile.updating and self._tile.updates_in(self.cut(product, **fields).get("size"))

    def joins_parts(self, product, **fields):
        """Say whether a stage of a product of weights' gradients makes the sums of all parts of the batch."""
        return self._tile.joins_parts(self.cut(product, **fields).get("size"))

    def parts_of_product(self, parts, window=None, **fields):
        """Return into how many parts the batch is cut for the gradient of some weights, where parts pay."""
        if window is None:
            tiles, shape = self.cut("dense_backward_weights", **fields)["tiles"], (fields["inputs"], fields["outputs"])
            return self._tile.parts_of_dense(parts, self.plan.batch_size, tiles, *shape)
        tiles = self.cut("convolution_backward_weights", **fields)["tiles"]
        return self._tile.parts_of_window(self.plan.batch_size, tiles, parts)

    def rows_before(self, part, parts):
        """Return the rows of a batch before one of its equal parts.

        A CPU's are those of a queue of blocks, see ``resident.cl``; a GPU's begin with a chunk, see ``wgmma.cl``.
        """
        unit = max(self.plan.block_rows, self._tile.part_unit)
        return min(-(-self.plan.batch_size // (unit * parts)) * part * unit, self.plan.batch_size)

    def _place_operands(self, kernel, stage, to_pack):
        """Give the packed operands of a large product their places; those of a gradient of weights are packed next."""
        is_x = self.training and stage["source"] == SOURCE_IS_X
        if is_x and self._tile.copies_rows_of(stage["size"], stage["outputs"]):
            stage["source"] = self._copied_rows(stage["inputs"])
        right = {"inputs": stage["inputs"], "outputs": stage["outputs"]}
        if kernel == "dense_backward_weights":
            left = {"inputs": self.plan.batch_size, "outputs": stage["inputs"] + stage["bias"]}
            left |= {"channels": stage["inputs"], "bias": stage["bias"], "source": stage["source"]}
            stage["packed_left"] = self._packed_at("left_by_columns", left, to_pack)
            right |= {"inputs": self.plan.batch_size, "source": stage["gradient"]}
            stage["packed"] = self._packed_at("right_by_rows", right, to_pack)
        else:
            lies = "right_by_rows" if kernel == "dense_forward" else "right_by_columns"
            stage["packed"] = self._packed_at(lies, {**right, "weights": stage["weights"]}, self._weights_to_pack)

    def _copied_rows(self, columns):
        """Return where the rows of X that a step takes lie one after the other, from its beginning on."""
        if "rows_of_x" not in self._packed:
            self._packed["rows_of_x"] = self.allocate((columns,))
            stage = {"inputs": columns, "outputs": self.plan.batch_size, "code": OPERANDS.index("rows_of_x")}
            self._weights_to_pack.append({**stage, "target": self._packed["rows_of_x"]})
        return self._packed["rows_of_x"]

    def _packed_at(self, operand, matrix, to_pack):
        """Return where a matrix lies packed as an operand, once ``to_pack`` is done."""
        key = operand, *matrix.items()
        if key not in self._packed:
            self._packed[key] = self.reserve(self._tile.packed_size(operand, matrix["inputs"], matrix["outputs"]))
        stage = {**matrix, "code": OPERANDS.index(operand), "target": self._packed[key]}
        if stage not in to_pack:
            to_pack.append(stage)
        return stage["target"]

    def _place_parameters(self, n_states):
        """Lay out the parameters and their optimizer states."""
        self._weights, offset = {}, 0
        for node in self._nodes:
            self._weights[id(node.layer)] = []
            for parameters in matrices(node.layer, node.input_shape):
                rows, columns = sum(p.rows for p in parameters), parameters[0].shape[-1]
                channels = parameters[0].shape[-2]
                weights = Weights(rows, columns, len(parameters) > 1, offset, channels)
                offset += self.size(weights)
                self._weights[id(node.layer)].append(weights)
                self.plan.weights.append(weights)
        self.plan.parameter_count = offset
        self.plan.parameter_size = offset * (1 + n_states)

    def _weights_of_products(self, is_sparse):
        """Return the weights of layers that multiply a dense matrix by all of them."""
        nodes = [node for node in self._nodes if type(node.layer) is Dense]
        if is_sparse:
            nodes = [node for node in nodes if node.input_shape != self._input_shape]
        return [self._weights[id(node.layer)][0] for node in nodes]

    def _reserve_parameters(self, size):
        """Return the offset of so many new scalars behind the parameters."""
        self.plan.parameter_size += size
        return self.plan.parameter_size - size

    @property
    def _identity(self):
        """The code of no activation."""
        return 0


def _stream_numbers(nodes, n_layers):
    """Return a number for each layer by its identity: its position, or behind all of them where it is inside one."""
    inner = itertools.count(n_layers)
    return {id(node.layer): node.path[0] if len(node.path) == 1 else next(inner) for node in nodes}
