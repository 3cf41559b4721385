"""Lower a network to a plan: a list of stages, and where everything lies.

The plan is data. Schedules walk it; none of them changes it.
"""

import itertools
import math
from dataclasses import replace

import numpy as np

from skintricate import layers as built_in_layers
from skintricate.exceptions import DeviceMemoryError
from skintricate.kernels import STAGE
from skintricate.kernels.stage import CONVOLUTIONS, PRODUCTS, STAGE_KINDS, SUMS
from skintricate.layers import Activation
from skintricate.training.plan import SOURCE_IS_X, WHOLE, Launch, Tensor
from skintricate.training.stages import StageWriter
from skintricate.training.updates import WeightUpdates

# Weights and transposes that stay in a core's cache while blocks of rows pass; measured, see docs/design.md.
CACHED_WEIGHTS = 1_500_000


class Lowering(StageWriter):
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
    scored : ScoredRows or None, default=None
        Rows whose score the device counts after each epoch.
    fused : bool, default=True
        Whether activations are computed with the layer before them, whose own values are then nowhere.
    is_sparse : bool, default=False
        Whether X lies on the device as a sparse matrix, which only the first layer reads.
    share : Share, default=WHOLE
        What the device does of a training that several share; ``batch_size`` are its rows of a batch.
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
        scored=None,
        fused=True,
        is_sparse=False,
        share=WHOLE,
    ):
        self.is_sparse, self.share = is_sparse, share
        self._fused, self._scored = fused, scored
        n_states = len(optimizer.states) if optimizer else 0
        super().__init__(layers, n_features, batch_size, program, n_states, loss is not None, is_sparse)
        self._loss = loss
        self._updates = WeightUpdates(self, optimizer, float(alpha))

    def run(self):
        """Emit every stage and return the plan."""
        layers = self.layers
        linked = self.training and type(layers[-1]) is getattr(built_in_layers, self._loss.link_name or "", None)
        if linked:
            layers = layers[:-1]
        steps, y = self._emit_forward(layers)
        self.plan.output = output = self._flat(y)
        n_validation = 0 if self._scored is None else len(self._stages) + 1
        takes_blocks = self._tile.family == "gpu" or self._weight_bytes() <= CACHED_WEIGHTS
        if self.training:
            self.backward(steps, self.reshaped_back(y, output, self._emit_loss(output, linked)))
            parts = self._tile.parts_of(self.plan.batch_size, self.plan.weights) if takes_blocks else 1
            room = math.inf if self.plan.is_large else self._tile.most_stages - len(self._stages) - n_validation
            self._updates.emit(parts, room)
        self.pack_weights()
        if self._scored is not None:
            self._emit_validation()
            self.plan.best = self._reserve_parameters(self.plan.parameter_count)
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
            kernel = self._tile.rows_kernel
            self.plan.launches = _fuse_rows(self.plan.launches, self.plan.blocks, kernel)
            self.plan.validation_launches = _fuse_rows(self.plan.validation_launches, self.plan.blocks, kernel)
        return self.plan

    # What layers call.

    def forward(self, layers, x):
        """Emit the forward pass of layers; return ``(layer, input, output)`` of each with stages, and the last output.

        An activation goes into the layer before it, where that takes one.
        """
        steps, position = [], 0
        while position < len(layers):
            layer, following = layers[position], layers[position + 1 : position + 2]
            if self._fused and layer.takes_activation and following and isinstance(following[0], Activation):
                y = layer.forward(self, x, following[0])
            else:
                y, following = layer.forward(self, x), []
            steps.append((layer, x, y))
            position += 1 + len(following)
            x = y
        return steps, x

    def backward(self, steps, gradient):
        """Emit the way back of what ``forward`` returned; return its input's gradient, or None if nothing needs it."""
        for layer, x, y in reversed(steps):
            if gradient is None:
                break
            gradient = layer.backward(self, x, y, gradient)
        return gradient

    def tensor(self, shape, activation, trainable, inner=()):
        """Return a new tensor of this shape a sample, made by an activation (None: identity)."""
        code, constants, saved = self._identity, 0, -1
        if activation is not None:
            code = self.code("activations", activation)
            constants = self.constant(*(getattr(activation, name) for name in activation.hyper_parameters))
            if activation.needs_input and self.training:
                saved = self.allocate(shape)
        return Tensor(tuple(shape), self.allocate(shape), saved, code, constants, trainable, inner)

    def reshaped(self, x, shape, *, copies_x=True):
        """Return the values of a tensor in another shape, sample by sample; emits a copy where one is needed.

        X in another shape needs none, for stages that read it as an image: ``copies_x=False``.
        """
        if x.shape == tuple(shape):
            return x
        if x.offset == SOURCE_IS_X and not copies_x:
            return replace(x, shape=tuple(shape))
        return self._copied(x, shape)

    def reshaped_back(self, x, y, gradient):
        """Return the gradient of x from that of y, which ``reshaped`` has made of it."""
        if x.shape == y.shape:
            return gradient
        target = self.allocate(x.shape)
        self._launch_reshape(y.columns, gradient, x.shape, target)
        return self.through_activation(x, target, is_own=True)

    def is_sparse_x(self, x):
        """Say whether a tensor is a sparse X."""
        return self.is_sparse and x.offset == SOURCE_IS_X

    def in_workspace(self, x):
        """Return a tensor whose values lie in the workspace; of X, a copy."""
        return x if x.offset != SOURCE_IS_X else self._copied(x, x.shape)

    def copy_columns(self, from_shape, source, from_column, shape, target, column, number):
        """Emit a copy of so many columns of one matrix to columns of another; what else is there stays."""
        self.launch(
            "copy_columns",
            inputs=from_shape[-1],
            outputs=shape[-1],
            pixels=math.prod(shape[:-1]),
            source=source,
            target=target,
            constants=self.constant(from_column, column, number),
        )

    def add(self, source, value, shape, target):
        """Emit the sum of two tensors of one shape."""
        pixels = math.prod(shape[:-1])
        self.launch("add", outputs=shape[-1], pixels=pixels, source=source, value=value, target=target)

    def sum_of(self, gradients, shape):
        """Return the sum of the gradients that are not None, of which there may be none."""
        total = None
        for gradient in gradients:
            if total is None or gradient is None:
                total = gradient if total is None else total
                continue
            target = self.allocate(shape)
            self.add(total, gradient, shape, target)
            total = target
        return total

    def through_activation(self, x, gradient, *, is_own=False):
        """Return the gradient of ``x`` from the derivative with respect to its values.

        It takes the place of what it is made of where that is the caller's own.
        """
        if x.code == self._identity:
            return gradient
        target = gradient if is_own else self.allocate(x.shape)
        self.launch(
            "activation_backward",
            outputs=x.columns,
            pixels=x.pixels,
            value=x.offset,
            saved=x.saved,
            gradient=gradient,
            target=target,
            code=x.code,
            constants=x.constants,
        )
        return target

    def update_weights(self, weights, product, *, l1=0.0, l2=0.0, **fields):
        """Queue the gradient and update of a layer's weights; they run together after the backward pass.

        The gradient is a product of the layer's input and its output's gradient, made by a kernel that the ``fields``
        tell where both lie. It is penalized by the network's ``alpha`` and by the layer's own ``l1`` and ``l2``.
        """
        self._updates.add(weights, product, l1, l2, **fields)

    def update_from_sums(self, weights, source, parts=1):
        """Queue the update of weights by sums of gradients in the workspace: so many, one after another, are added up.

        Nothing is penalized.
        """
        self._updates.add_sums(weights, source, parts)

    # The parts of a plan.

    def _emit_forward(self, layers):
        """Emit the forward pass; return its steps and the output, one number after the other for each sample."""
        x = Tensor(self._input_shape, SOURCE_IS_X, -1, self._identity, 0, trainable=False)
        steps, y = self.forward(layers, x)
        self.plan.tensors = [y for _, _, y in steps]
        return steps, y

    def _flat(self, x):
        """Return a tensor as one number after the other for each sample."""
        return self.reshaped(x, (math.prod(x.shape),))

    def _emit_validation(self):
        """Emit the score of validation rows: the forward pass of a prediction, and the sums."""
        launches, self.plan.launches, self.training = self.plan.launches, [], False
        y = self._flat(self._emit_forward(self.layers)[1])
        self.pack_weights()
        self.launch(
            "validation_score",
            outputs=y.columns,
            value=y.offset,
            code=SUMS.index(self._scored.sum),
            constants=self.constant(*self._scored.factors),
            losses=0,
        )
        self.plan.validation_launches, self.plan.launches = self.plan.launches, launches
        self.plan.validation_steps = -(-self._scored.n_rows // self.plan.batch_size)

    def _emit_loss(self, y, linked):
        """Emit the loss of the output and return the offset of its gradient."""
        loss = self._loss
        target = self.allocate(y.shape)
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
            if kernel in (*PRODUCTS, *CONVOLUTIONS):
                rows = (
                    stage["rows_end"] - stage["rows_begin"]
                    if kernel.endswith("backward_weights")
                    else self.plan.batch_size
                )
                rows = int(rows) * int(stage["pixels"])
                operations += 2 * rows * int(stage["inputs"]) * self._layout.padded(int(stage["outputs"]))
        return operations

    def _weight_bytes(self):
        """Return the bytes of all weights and, in training, their transposes."""
        return self.plan.parameter_count * self._program.itemsize * (1 + self.training)

    def _copied(self, x, shape):
        """Return a copy of a tensor's values in a shape."""
        y = self.tensor(shape, None, trainable=x.trainable)
        self._launch_reshape(x.columns, x.offset, y.shape, y.offset)
        return y

    def _launch_reshape(self, columns, source, shape, target):
        """Emit a copy of matrices of so many columns to a tensor of this shape."""
        pixels = math.prod(shape[:-1])
        self.launch("reshape", inputs=columns, outputs=shape[-1], pixels=pixels, source=source, target=target)


def _fuse_rows(launches, blocks, kernel):
    """Return the launches with neighbours that take blocks of rows merged into one, of this kernel."""
    merged = []
    for launch in launches:
        if not launch.takes_blocks:
            merged.append(launch)
        elif merged and merged[-1].kernel == kernel:
            merged[-1] = Launch(kernel, merged[-1].first, launch.end, blocks, True)
        else:
            merged.append(Launch(kernel, launch.first, launch.end, blocks, True))
    return merged
