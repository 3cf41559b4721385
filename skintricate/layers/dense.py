"""The fully connected layer."""

import math

import numpy as np

from skintricate.configurable import check_number
from skintricate.initializers import Constant, GlorotUniform, Initializer
from skintricate.layers.base import Layer, Parameter


class Weighted(Layer):
    """Base class of layers that multiply by a kernel and add a bias.

    Parameters
    ----------
    kernel_initializer, bias_initializer : Initializer or None
    use_bias : bool
    l1, l2 : float
    """

    takes_activation = True

    def __init__(self, kernel_initializer, bias_initializer, use_bias, l1, l2):
        for name, value in (("kernel_initializer", kernel_initializer), ("bias_initializer", bias_initializer)):
            if value is not None and not isinstance(value, Initializer):
                raise TypeError(f"{type(self).__name__}: {name} must be an Initializer or None, got {value!r}.")
        if not isinstance(use_bias, bool | np.bool_):
            raise TypeError(f"{type(self).__name__}: use_bias must be True or False, got {use_bias!r}.")
        check_number(self, "l1", l1, 0)
        check_number(self, "l2", l2, 0)
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = bias_initializer
        self.use_bias = use_bias
        self.l1 = l1
        self.l2 = l2

    def _parameters(self, *shape):
        """Return kernel and bias for a kernel of this shape."""
        kernel = Parameter("kernel", shape, self.kernel_initializer or GlorotUniform())
        bias = Parameter("bias", (1, shape[-1]), self.bias_initializer or Constant(0.0))
        return (kernel, bias) if self.use_bias else (kernel,)


class FullyConnected(Weighted):
    """Base class: every output sees every value of a sample; a subclass has ``units``."""

    takes_sparse = True

    def output_shape(self, input_shape):
        return (int(self.units),)

    def parameters(self, input_shape):
        return self._parameters(math.prod(input_shape), int(self.units))

    def forward(self, lowering, x, activation=None):
        flat = lowering.reshaped(x, (math.prod(x.shape),), copies_x=False)
        y = lowering.tensor((int(self.units),), activation, trainable=True, inner=(flat,))
        lowering.launch(
            "sparse_forward" if lowering.is_sparse_x(flat) else "dense_forward",
            inputs=flat.columns,
            outputs=y.columns,
            source=flat.offset,
            target=y.offset,
            saved=y.saved,
            code=y.code,
            constants=y.constants,
            bias=self.use_bias,
            weights=lowering.weights(self).offset,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        weights, (flat,) = lowering.weights(self), y.inner
        if lowering.is_sparse_x(flat):
            product, shape = "sparse_backward_weights", {"inputs": flat.columns, "outputs": y.columns}
            # Of each sample, the entry that is next and the end of them.
            fields = {"sums": lowering.kept_by_tiles(product, 2 * lowering.plan.batch_size, **shape)}
        else:
            product, fields = "dense_backward_weights", {"source": flat.offset}
        lowering.update_weights(weights, product, l1=self.l1, l2=self.l2, gradient=gradient, **fields)
        if not x.trainable:
            return None
        target = lowering.allocate(flat.shape)
        lowering.launch(
            "dense_backward_input",
            inputs=y.columns,
            outputs=flat.columns,
            source=gradient,
            target=target,
            value=flat.offset,
            saved=flat.saved,
            code=flat.code,
            constants=flat.constants,
            weights=lowering.transposed(weights),
        )
        return lowering.reshaped_back(x, flat, target)


class Dense(FullyConnected):
    """Fully connected layer: ``y = x W + b``.

    It takes all values of a sample: an image is read pixel by pixel, each with its channels. As the first layer of a
    network it takes a sparse X by the rule of ``EmbeddingBag``.

    Parameters
    ----------
    units : int
        Number of outputs O, at least 1.
    kernel_initializer : Initializer, default=None
        First values of ``W``, shape ``(I, O)``; None is ``GlorotUniform()``.
    bias_initializer : Initializer, default=None
        First values of ``b``, shape ``(1, O)``; None is ``Constant(0.0)``.
    use_bias : bool, default=True
    l1, l2 : float, default=0.0
        Penalties ``l1 * sum(|W|) + l2 / 2 * sum(W^2)`` of this layer alone, divided by the sum of a batch's sample
        weights, as ``alpha`` is. Not negative.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, or outside of its range.

    Examples
    --------
    >>> from skintricate.layers import Dense
    >>> Dense(3).output_shape((2,))
    (3,)
    """

    def __init__(self, units, kernel_initializer=None, bias_initializer=None, use_bias=True, l1=0.0, l2=0.0):
        check_number(self, "units", units, 1, integer=True)
        super().__init__(kernel_initializer, bias_initializer, use_bias, l1, l2)
        self.units = units
