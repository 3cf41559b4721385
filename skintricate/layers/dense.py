"""The fully connected layer."""

from skintricate.configurable import check_number
from skintricate.initializers import Constant, GlorotUniform, Initializer
from skintricate.layers.base import Layer, Parameter


class Dense(Layer):
    """Fully connected layer: ``y = x W + b``.

    Parameters
    ----------
    units : int
        Number of outputs O, at least 1.
    kernel_initializer : Initializer, default=None
        First values of ``W``, shape ``(I, O)``; None is ``GlorotUniform()``.
    bias_initializer : Initializer, default=None
        First values of ``b``, shape ``(1, O)``; None is ``Constant(0.0)``.
    use_bias : bool, default=True

    Examples
    --------
    >>> from skintricate.layers import Dense
    >>> Dense(3).output_shape((2,))
    (3,)
    """

    takes_activation = True

    def __init__(self, units, kernel_initializer=None, bias_initializer=None, use_bias=True):
        check_number(self, "units", units, 1, integer=True)
        for name, value in (("kernel_initializer", kernel_initializer), ("bias_initializer", bias_initializer)):
            if value is not None and not isinstance(value, Initializer):
                raise TypeError(f"Dense: {name} must be an Initializer or None, got {value!r}.")
        self.units = units
        self.kernel_initializer = kernel_initializer
        self.bias_initializer = bias_initializer
        self.use_bias = use_bias

    def output_shape(self, input_shape):
        return (int(self.units),)

    def parameters(self, input_shape):
        kernel = Parameter("kernel", (input_shape[0], int(self.units)), self.kernel_initializer or GlorotUniform())
        bias = Parameter("bias", (1, int(self.units)), self.bias_initializer or Constant(0.0))
        return (kernel, bias) if self.use_bias else (kernel,)

    def forward(self, lowering, x, activation=None):
        y = lowering.tensor(int(self.units), activation, trainable=True)
        lowering.launch(
            "dense_forward",
            inputs=x.columns,
            outputs=y.columns,
            source=x.offset,
            target=y.offset,
            saved=y.saved,
            code=y.code,
            constants=y.constants,
            bias=self.use_bias,
            weights=lowering.weights(self).offset,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        weights = lowering.weights(self)
        shared = {"bias": self.use_bias, "gradient": gradient}
        lowering.update_weights(weights, inputs=x.columns, outputs=y.columns, source=x.offset, **shared)
        if not x.trainable:
            return None
        target = lowering.allocate(x.columns)
        lowering.launch(
            "dense_backward_input",
            inputs=y.columns,
            outputs=x.columns,
            source=gradient,
            target=target,
            value=x.offset,
            saved=x.saved,
            code=x.code,
            constants=x.constants,
            weights=lowering.transposed(weights),
        )
        return target
