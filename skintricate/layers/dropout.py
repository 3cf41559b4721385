"""Dropout."""

from skintricate.configurable import check_number
from skintricate.layers.base import Layer


class Dropout(Layer):
    """Sets values to zero at random during training (Srivastava et al. 2014).

    ``y = x * kept / (1 - rate)``, kept being 0 with the probability ``rate``, else 1, for each number of each sample by
    itself. Predictions, and scores of validation data, have ``y = x``. The random numbers are
    counter-based: they depend on the model's seed, the layer, the step and the element alone.

    Parameters
    ----------
    rate : float, default=0.5
        Probability of zero, in [0, 1).

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is outside of its range.

    Examples
    --------
    >>> from skintricate.layers import Dropout
    >>> Dropout(0.2).output_shape((26, 26, 16))
    (26, 26, 16)
    """

    def __init__(self, rate=0.5):
        check_number(self, "rate", rate, 0, 1, high_open=True)
        self.rate = rate

    def forward(self, lowering, x):
        if not lowering.training:
            return x
        source = lowering.in_workspace(x) if x.pixels > 1 else x
        y = lowering.tensor(x.shape, None, trainable=x.trainable)
        lowering.launch(
            "dropout_forward",
            outputs=x.columns,
            pixels=x.pixels,
            source=source.offset,
            target=y.offset,
            constants=lowering.constant(self.rate),
            id=lowering.position(self),
        )
        return y

    def backward(self, lowering, x, y, gradient):
        if not x.trainable:
            return None
        target = lowering.allocate(x.shape)
        lowering.launch(
            "dropout_backward",
            outputs=x.columns,
            pixels=x.pixels,
            gradient=gradient,
            target=target,
            constants=lowering.constant(self.rate),
            id=lowering.position(self),
        )
        return lowering.through_activation(x, target, is_own=True)
