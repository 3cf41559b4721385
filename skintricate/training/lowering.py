"""Lower a network to a plan: a list of stages, and where everything lies.

The plan is data. Schedules walk it; none of them changes it.
"""

import itertools

import numpy as np

from skintricate import layers as built_in_layers
from skintricate.exceptions import DeviceMemoryError, ShapeError
from skintricate.kernels import STAGE
from skintricate.kernels.stage import ABSENT, PRODUCTS, ROW_STAGES, STAGE_KINDS, SUMS
from skintricate.layers import Activation
from skintricate.training.plan import SOURCE_IS_X, Launch, Plan, Tensor, Weights
from skintricate.training.updates import WeightUpdates

# Weights and transposes that stay in a core's cache while blocks of rows pass; measured, see docs/design.md.
CACHED_WEIGHTS = 1_500_000


def infer_shapes(layers, n_features):
    """Return the shape of one sample before each layer, and after the last.

    Parameters
    ----------
    layers : sequence of Layer
    n_features : int

    Raises
    ------
    ShapeError
        Naming the layer, the layer before it, both shapes and the remedy.
    """
    shapes = [(int(n_features),)]
    for position, layer in enumerate(layers):
        try:
            shapes.append(tuple(layer.output_shape(shapes[-1])))
        except ShapeError as error:
            before = f"layer {position - 1} ({layers[position - 1]!r})" if position else "the input"
            raise ShapeError(
                f"Layer {position} ({layer!r}) cannot follow {before}, whose output has shape {shapes[-1]}: {error}"
            ) from None
    return shapes


class Lowering:
    """A plan under construction; layers and losses emit their stages through it.

    Parameters
    ----------
    layers : sequence of Layer
    n_features : int
    batch_size : int
    program : Program
        Its tile and vocabulary decide geometry and codes.
    loss : Loss or None, default=None
        None lowers the forward pass alone.
    optimizer : Optimizer or None, default=None
    alpha : float, default=0.0
        L2 penalty, divided by the sum of a step's sample weights.
    validation : Validation or None, default=None
        Data whose score the device counts after each epoch; it has linear terms.
    fused : bool, default=True
        Whether activations are computed with the layer before them, whose own values are then nowhere.
    """

    def __init__(
        self,
        layers,
        n_features,
        batch_size,
        program,
        loss=None,
        optimizer=None,
        alpha=0.0,
        validation=None,
        fused=True,
    ):
        self._fused, self._validation = fused, validation
        self.layers = list(layers)
        self.shapes = infer_shapes(layers, n_features)
        self.training = loss is not None
        self._loss, self._optimizer, self._alpha = loss, optimizer, float(alpha)
        self._program, self._tile = program, program.tile
        self._layout = program.tile.layout
        self._stages = []
        self._updates = WeightUpdates(self, optimizer, self._alpha)
        self._positions = {id(layer): k for k, layer in enumerate(self.layers)}
        self.plan = Plan(batch_size, self._tile.block_rows(batch_size))
        self._place_parameters(len(optimizer.states) if optimizer else 0)

    def run(self):
        """Emit every stage and return the plan."""
        layers = self.layers
        linked = self.training and type(layers[-1]) is getattr(built_in_layers, self._loss.link_name or "", None)
        if linked:
            layers = layers[:-1]
        steps, self.plan.output = self._emit_forward(layers)
        takes_blocks = self._tile.family == "gpu" or self._weight_bytes() <= CACHED_WEIGHTS
        if self.training:
            gradient = self._emit_loss(self.plan.output, linked)
            for layer, before, after in reversed(steps):
                if gradient is None:
                    break
                gradient = layer.backward(self, before, after, gradient)
            self._updates.emit(self._tile.parts_of(self.plan.batch_size, self.plan.weights) if takes_blocks else 1)
        if self._validation is not None:
            self._emit_validation()
        largest = max(self.plan.workspace_size, self.plan.parameter_size)
        if largest >= 2**31:
            raise DeviceMemoryError(
                f"A batch of {self.plan.batch_size} samples, or the network's parameters, need {largest} numbers in "
                f"one buffer, which holds at most {2**31 - 1}. Lower batch_size or the layers' units."
            )
        self.plan.stages = np.array(self._stages, STAGE) if self._stages else np.zeros(1, STAGE)
        self.plan.operations = self._count_operations()
        self.plan.partials = max(self.plan.partials, 2)
        if takes_blocks:
            self.plan.launches = _fuse_rows(self.plan.launches, self.plan.blocks)
            self.plan.validation_launches = _fuse_rows(self.plan.validation_launches, self.plan.blocks)
        return self.plan

    # What layers call.

    def allocate(self, columns):
        """Return the offset of a new matrix of the batch's rows by ``columns``."""
        return self.reserve(self.plan.batch_size * self._layout.padded(columns))

    def constant(self, *values):
        """Return where these hyper-parameters lie."""
        self.plan.constants += map(float, values)
        return len(self.plan.constants) - len(values)

    def tensor(self, columns, activation, trainable):
        """Return a new tensor made by an activation (None: identity)."""
        code, constants, saved = self._identity, 0, -1
        if activation is not None:
            code = self.code("activations", activation)
            constants = self.constant(*(getattr(activation, name) for name in activation.hyper_parameters))
            if activation.needs_input and self.training:
                saved = self.allocate(columns)
        return Tensor(int(columns), self.allocate(columns), saved, code, constants, trainable)

    def weights(self, layer):
        """Return the ``Weights`` of a layer."""
        return self._weights[id(layer)]

    def transposed(self, weights):
        """Return where the weights lie for the gradient of their layer's input."""
        return weights.offset if self._tile.is_wide(weights.columns, weights.inputs) else weights.use_transpose()

    def position(self, layer):
        """Return the place of a layer in the network."""
        return self._positions[id(layer)]

    def launch(self, kernel, **fields):
        """Append a stage with a launch of its own."""
        self.launch_many(kernel, [fields])

    def launch_many(self, kernel, stages):
        """Append independent stages of one kernel, which share a launch."""
        launches = {}
        for fields in stages:
            stage = {name: -1 if name in ABSENT else 0 for name in STAGE.names}
            stage["kind"] = STAGE_KINDS.index(kernel)
            stage.update({name: int(value) for name, value in fields.items()}, **self.cut(kernel, **fields))
            launches.setdefault(self._tile.kernel_of(kernel, stage["size"]), []).append(stage)
            if kernel in PRODUCTS:
                self.plan.is_large |= self._tile.is_large(self.plan.batch_size, stage["inputs"], stage["outputs"])
        for name, rows in launches.items():
            first = len(self._stages)
            self._stages += [tuple(stage.values()) for stage in rows]
            tiles = sum(stage["tiles"] for stage in rows)
            self.plan.launches.append(Launch(name, first, len(self._stages), tiles))

    def through_activation(self, x, gradient):
        """Return the gradient of ``x`` from the derivative with respect to its values."""
        if x.code == self._identity:
            return gradient
        target = self.allocate(x.columns)
        self.launch(
            "activation_backward",
            outputs=x.columns,
            value=x.offset,
            saved=x.saved,
            gradient=gradient,
            target=target,
            code=x.code,
            constants=x.constants,
        )
        return target

    def update_weights(self, weights, **fields):
        """Queue the gradient and update of a layer's weights; they run together after the backward pass."""
        self._updates.add(weights, **fields)

    # What the updates of weights ask.

    def code(self, kind, thing):
        """Return the number by which a stage names the class of an activation, loss or optimizer."""
        return self._program.vocabulary.code(kind, type(thing))

    def size(self, weights):
        """Return the scalars of a layer's weights in panels."""
        return weights.rows * self._layout.padded(weights.columns)

    def reserve(self, size):
        """Return the offset of so many new scalars of the workspace, where a vector may begin."""
        size = self._layout.padded(size)
        self.plan.workspace_size += size
        return self.plan.workspace_size - size

    def cut(self, kernel, **fields):
        """Return how the tile cuts a stage of these fields."""
        return self._tile.cut(kernel, self.plan.batch_size, self.plan.parameter_count, **fields)

    def rows_before(self, part, parts):
        """Return the rows of a batch before one of its equal parts, cut as ``resident.cl`` cuts blocks into queues."""
        return min(-(-self.plan.blocks // parts) * part * self.plan.block_rows, self.plan.batch_size)

    # The parts of a plan.

    def _emit_forward(self, layers):
        """Emit the forward pass; return ``(layer, input, output)`` of each that has stages, and the last output."""
        x = Tensor(self.shapes[0][0], SOURCE_IS_X, -1, self._identity, 0, trainable=False)
        steps, position = [], 0
        while position < len(layers):
            layer = layers[position]
            following = layers[position + 1] if position + 1 < len(layers) else None
            if self._fused and layer.takes_activation and isinstance(following, Activation):
                y = layer.forward(self, x, following)
                self.plan.tensors += [y, y]
                position += 2
            else:
                y = layer.forward(self, x)
                self.plan.tensors.append(y)
                position += 1
            steps.append((layer, x, y))
            x = y
        return steps, x

    def _emit_validation(self):
        """Emit the score of validation rows: the forward pass of a prediction, and the sums."""
        launches, self.plan.launches, self.training = self.plan.launches, [], False
        _, y = self._emit_forward(self.layers)
        *_, factors = self._validation.linear_terms
        self.launch(
            "validation_score",
            outputs=y.columns,
            value=y.offset,
            code=SUMS.index(self._validation.sum),
            constants=self.constant(*factors),
            losses=0,
        )
        self.plan.validation_launches, self.plan.launches = self.plan.launches, launches
        self.plan.validation_steps = -(-len(self._validation.data) // self.plan.batch_size)

    def _emit_loss(self, y, linked):
        """Emit the loss of the output and return the offset of its gradient."""
        loss = self._loss
        target = self.allocate(y.columns)
        scale = 1 / y.columns if loss.mean_over_outputs else 1.0
        if loss.link_name == "SoftMax":
            threshold = float("nan")
        else:
            threshold = 0.0 if linked or loss.value == loss.link_value else 0.5
        constants = self.constant(scale, threshold, *(getattr(loss, name) for name in loss.hyper_parameters))
        self.plan.partials = 2 * self.plan.blocks
        self.launch(
            loss.link_kernel if linked else "loss_elementwise",
            outputs=y.columns,
            value=y.offset,
            saved=y.saved,
            target=target,
            code=2 * self.code("losses", loss) + linked,
            constants=constants,
            activation=y.code,
            activation_constants=y.constants,
            losses=0,
        )
        return target

    def _count_operations(self):
        """Return the operations of a step's products, padding included."""
        operations = 0
        of_a_step = [self.plan.stages[launch.first : launch.end] for launch in self.plan.launches]
        for stage in itertools.chain.from_iterable(of_a_step):
            kernel = STAGE_KINDS[stage["kind"]]
            if kernel in PRODUCTS:
                rows = (
                    stage["rows_end"] - stage["rows_begin"]
                    if kernel == "dense_backward_weights"
                    else self.plan.batch_size
                )
                operations += 2 * int(rows) * int(stage["inputs"]) * self._layout.padded(int(stage["outputs"]))
        return operations

    def _weight_bytes(self):
        """Return the bytes of all weights and, in training, their transposes."""
        return self.plan.parameter_count * self._program.itemsize * (1 + self.training)

    def _place_parameters(self, n_states):
        """Lay out the parameters, their optimizer states and their transposes."""
        self._weights, offset, transposed = {}, 0, []
        for layer, shape in zip(self.layers, self.shapes):
            parameters = layer.parameters(shape)
            if parameters:
                rows, columns = parameters[0].shape
                has_bias = len(parameters) > 1
                weights = Weights(rows + has_bias, columns, has_bias, offset)
                offset += weights.rows * self._layout.padded(columns)
                self._weights[id(layer)] = weights
                transposed.append(weights)
        self.plan.weights = transposed
        self.plan.parameter_count = offset
        offset *= 1 + n_states
        for weights in transposed:
            weights.transposed = offset
            offset += weights.columns * self._layout.padded(weights.inputs)
        if self._validation is not None:
            self.plan.best = offset
            offset += self.plan.parameter_count
        self.plan.parameter_size = offset

    @property
    def _identity(self):
        """The code of no activation."""
        return 0


def _fuse_rows(launches, blocks):
    """Return the launches with neighbours that take blocks of rows merged into one."""
    merged = []
    for launch in launches:
        if launch.kernel not in (*ROW_STAGES, "rows"):
            merged.append(launch)
        elif merged and merged[-1].kernel == "rows":
            merged[-1] = Launch("rows", merged[-1].first, launch.end, blocks)
        else:
            merged.append(Launch("rows", launch.first, launch.end, blocks))
    return merged
