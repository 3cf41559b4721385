"""Noise."""

from skintricate.configurable import check_number
from skintricate.layers.base import Layer


class GaussianNoise(Layer):
    """Adds normal numbers during training; predictions, and scores of validation data, have none.

    ``y = x + stddev * z``, z being a standard normal number for each number of each sample. The random numbers are
    counter-based, as those of ``Dropout``.

    Parameters
    ----------
    stddev : float, default=0.1
        Standard deviation, not negative.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is outside of its range.

    Examples
    --------
    >>> from skintricate.layers import GaussianNoise
    >>> GaussianNoise(0.05).output_shape((8,))
    (8,)
    """

    sources = ("shapes",)

    def __init__(self, stddev=0.1):
        check_number(self, "stddev", stddev, 0)
        self.stddev = stddev

    def forward(self, lowering, x):
        if not lowering.training:
            return x
        source = lowering.in_workspace(x)
        y = lowering.tensor(x.shape, None, trainable=x.trainable)
        lowering.launch(
            "noise",
            outputs=y.columns,
            pixels=y.pixels,
            source=source.offset,
            target=y.offset,
            constants=lowering.constant(self.stddev),
            id=lowering.position(self),
        )
        return y

    def backward(self, lowering, x, y, gradient):
        return lowering.through_activation(x, gradient) if x.trainable else None
