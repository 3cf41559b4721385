"""Layers that normalise, or scale, each column."""

from skintricate.configurable import check_number
from skintricate.initializers import Constant
from skintricate.layers.base import Layer, Parameter


class Scale(Layer):
    """A learned factor for each feature, or each channel of an image or a sequence: ``y = x * factor``.

    The factors have the shape ``(1, features)`` or ``(1, channels)`` and begin as ones. No penalty is taken of them.

    Examples
    --------
    >>> from skintricate.layers import Scale
    >>> (factor,) = Scale().parameters((26, 26, 16))
    >>> factor.shape
    (1, 16)
    """

    sources = ("normalization",)

    def parameters(self, input_shape):
        return (Parameter("factor", (1, input_shape[-1]), Constant(1.0)),)

    def forward(self, lowering, x):
        source = lowering.in_workspace(x)
        y = lowering.tensor(x.shape, None, trainable=True, inner=(source,))
        lowering.launch(
            "scale_forward",
            outputs=y.columns,
            pixels=y.pixels,
            source=source.offset,
            target=y.offset,
            weights=lowering.weights(self).offset,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        (source,) = y.inner
        return way_back(self, "scale_backward", lowering, x, y, gradient, value=source.offset)


class LayerNorm(Layer):
    """Each sample's features, or each pixel's channels, with mean 0 and deviation 1 (Ba, Kiros and Hinton 2016).

    ``y = (x - mean) / sqrt(variance + epsilon) * factor + shift``, factor and shift learned; the variance is that
    divided by the number of features. Factors and shifts have the shape ``(1, features)`` or ``(1, channels)``; factors
    begin as ones, shifts as zeros. No penalty is taken of them.

    Parameters
    ----------
    epsilon : float, default=1e-5
        Positive.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is outside of its range.

    Examples
    --------
    >>> from skintricate.layers import LayerNorm
    >>> [(parameter.name, parameter.shape) for parameter in LayerNorm().parameters((64,))]
    [('factor', (1, 64)), ('shift', (1, 64))]
    """

    sources = ("normalization",)

    def __init__(self, epsilon=1e-5):
        check_number(self, "epsilon", epsilon, 0, low_open=True)
        self.epsilon = epsilon

    def parameters(self, input_shape):
        shape = (1, input_shape[-1])
        return Parameter("factor", shape, Constant(1.0)), Parameter("shift", shape, Constant(0.0))

    def forward(self, lowering, x):
        source = lowering.in_workspace(x)
        statistics = lowering.reserve(2 * lowering.plan.batch_size * x.pixels) if lowering.training else -1
        y = lowering.tensor(x.shape, None, trainable=True, inner=(source, statistics))
        lowering.launch(
            "layer_norm_forward",
            outputs=y.columns,
            pixels=y.pixels,
            source=source.offset,
            target=y.offset,
            saved=statistics,
            bias=1,
            weights=lowering.weights(self).offset,
            constants=lowering.constant(self.epsilon),
        )
        return y

    def backward(self, lowering, x, y, gradient):
        source, statistics = y.inner
        fields = {"value": source.offset, "saved": statistics, "bias": 1}
        return way_back(self, "layer_norm_backward", lowering, x, y, gradient, **fields)


class BatchNorm(Layer):
    """Each feature, or each channel of an image, with mean 0 and deviation 1 over the batch (Ioffe and Szegedy 2015).

    ``y = (x - mean) / sqrt(variance + epsilon) * factor + shift``, factor and shift learned. Training takes mean and
    variance of the batch, of images over all of their pixels, and keeps running ones, with which predictions and
    validation scores are made; they are saved with the model. Sample weights do not change them. A batch with a single
    number of each feature, such as one row, has no variance and leaves the running ones as they are.

    All four have the shape ``(1, features)`` or ``(1, channels)``. Factors and running variances begin as ones, shifts
    and running means as zeros. No penalty is taken of them.

    Parameters
    ----------
    momentum : float, default=0.9
        Share of the running mean and variance that stays in a step, in [0, 1):
        ``running = momentum * running + (1 - momentum) * of the batch``. The variance added is the unbiased one.
    epsilon : float, default=1e-5
        Positive.

    Raises
    ------
    TypeError
        If a parameter is not a number.
    ValueError
        If one is outside of its range.

    Examples
    --------
    >>> from skintricate.layers import BatchNorm
    >>> [parameter.name for parameter in BatchNorm().parameters((26, 26, 16)) if not parameter.is_trained]
    ['running_mean', 'running_variance']
    """

    sources = ("normalization",)

    def __init__(self, momentum=0.9, epsilon=1e-5):
        check_number(self, "momentum", momentum, 0, 1, high_open=True)
        check_number(self, "epsilon", epsilon, 0, low_open=True)
        self.momentum = momentum
        self.epsilon = epsilon

    def parameters(self, input_shape):
        shape = (1, input_shape[-1])
        return (
            Parameter("factor", shape, Constant(1.0)),
            Parameter("shift", shape, Constant(0.0)),
            Parameter("running_mean", shape, Constant(0.0), is_trained=False),
            Parameter("running_variance", shape, Constant(1.0), is_trained=False),
        )

    def forward(self, lowering, x):
        source, weights, running = lowering.in_workspace(x), lowering.weights(self), lowering.weights(self, 1)
        constants = lowering.constant(self.momentum, self.epsilon)
        shared = {"outputs": x.columns, "pixels": x.pixels, "source": source.offset, "constants": constants}
        statistics = -1
        if lowering.training:
            statistics = lowering.reserve(lowering.size(running))
            sums = lowering.sums(running)
            lowering.launch("batch_norm_sums", **shared, **sums)
            lowering.launch("batch_norm_statistics", **shared, **sums, target=statistics, weights=running.offset)
        y = lowering.tensor(x.shape, None, trainable=True, inner=(source, statistics))
        lowering.launch(
            "batch_norm_forward",
            **shared,
            target=y.offset,
            value=statistics,
            bias=1,
            weights=weights.offset,
            transposed=running.offset,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        weights, (source, statistics) = lowering.weights(self), y.inner
        sums, totals = lowering.sums(weights), lowering.reserve(lowering.size(weights))
        shared = {
            "outputs": y.columns,
            "pixels": y.pixels,
            "value": source.offset,
            "saved": statistics,
            "gradient": gradient,
            "bias": 1,
            "weights": weights.offset,
        }
        lowering.launch("batch_norm_backward_sums", **shared, **sums)
        lowering.launch("batch_norm_backward_statistics", **shared, **sums, target=totals)
        lowering.update_from_sums(weights, totals)
        if not x.trainable:
            return None
        target = lowering.allocate(x.shape)
        lowering.launch("batch_norm_backward", **shared, sums=totals, target=target)
        return lowering.through_activation(x, target, is_own=True)


def way_back(layer, kernel, lowering, x, y, gradient, **fields):
    """Emit a way back in which each block sums its rows for the gradient of the weights; return that of x, or None."""
    weights = lowering.weights(layer)
    target, sums = lowering.allocate(x.shape) if x.trainable else -1, lowering.sums(weights)
    lowering.launch(
        kernel,
        outputs=y.columns,
        pixels=y.pixels,
        gradient=gradient,
        target=target,
        weights=weights.offset,
        **fields,
        **sums,
    )
    lowering.update_from_sums(weights, sums["sums"], lowering.plan.blocks)
    return lowering.through_activation(x, target, is_own=True) if x.trainable else None
