"""SoftMax."""

from skintricate.layers.base import Layer, require_flat


class SoftMax(Layer):
    """``exp(x_j) / sum_k exp(x_k)`` over the outputs of a sample.

    As the last layer before ``CategoricalCrossEntropy`` it is computed together with the loss.

    Raises
    ------
    ShapeError
        From ``output_shape``, and so from ``fit``: if samples are images or sequences; put ``Flatten()`` before it.

    Examples
    --------
    >>> from skintricate.layers import SoftMax
    >>> SoftMax().output_shape((10,))
    (10,)
    """

    def output_shape(self, input_shape):
        require_flat(input_shape)
        return input_shape

    def forward(self, lowering, x):
        y = lowering.tensor(x.shape, None, trainable=x.trainable)
        lowering.launch("softmax_forward", outputs=x.columns, source=x.offset, target=y.offset)
        return y

    def backward(self, lowering, x, y, gradient):
        if not x.trainable:
            return None
        target = lowering.allocate(x.shape)
        lowering.launch(
            "softmax_backward",
            outputs=x.columns,
            value=y.offset,
            gradient=gradient,
            target=target,
        )
        return lowering.through_activation(x, target, is_own=True)
