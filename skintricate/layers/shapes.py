"""Layers that give the values of a sample another shape, or take some of them."""

import math

from skintricate.configurable import check_number
from skintricate.exceptions import ShapeError
from skintricate.layers.base import Layer, require_flat


class Reshape(Layer):
    """The same values in another shape: what makes images of the rows of X.

    Parameters
    ----------
    target_shape : tuple of int
        Of one sample; ``(height, width, channels)`` for images, ``(length, channels)`` for sequences. The last number
        runs fastest. One of the numbers may be -1: what is left.

    Raises
    ------
    TypeError
        If ``target_shape`` is no tuple or list of integers.
    ValueError
        If it has numbers that are neither positive nor -1, or several of -1.
    ShapeError
        From ``output_shape``, and so from ``fit``: if the values of a sample do not make the shape.

    Examples
    --------
    >>> from skintricate.layers import Reshape
    >>> Reshape((28, 28, -1)).output_shape((784,))
    (28, 28, 1)
    """

    sources = ("shapes",)

    def __init__(self, target_shape):
        if not isinstance(target_shape, tuple | list) or not target_shape:
            raise TypeError(f"Reshape: target_shape must be a tuple such as (28, 28, 1), got {target_shape!r}.")
        for number in target_shape:
            check_number(self, "target_shape", number, -1, integer=True)
        if 0 in target_shape or list(target_shape).count(-1) > 1:
            raise ValueError(
                f"Reshape: target_shape must have positive numbers and at most one -1, got {target_shape!r}."
            )
        self.target_shape = target_shape

    def output_shape(self, input_shape):
        size, known = math.prod(input_shape), math.prod(n for n in self.target_shape if n != -1)
        if size % known or (-1 not in self.target_shape and size != known):
            raise ShapeError(
                f"the {size} values of a sample do not make the shape {tuple(self.target_shape)}; "
                "choose a target_shape whose numbers multiply to that."
            )
        return tuple(size // known if n == -1 else int(n) for n in self.target_shape)

    def forward(self, lowering, x):
        return lowering.reshaped(x, self.output_shape(x.shape), copies_x=False)

    def backward(self, lowering, x, y, gradient):
        return lowering.reshaped_back(x, y, gradient) if x.trainable else None


class Flatten(Layer):
    """One number after the other, pixel by pixel, each with its channels. ``Dense`` does it by itself.

    Examples
    --------
    >>> from skintricate.layers import Flatten
    >>> Flatten().output_shape((7, 7, 64))
    (3136,)
    """

    sources = ("shapes",)

    def output_shape(self, input_shape):
        return (math.prod(input_shape),)

    def forward(self, lowering, x):
        return lowering.reshaped(x, self.output_shape(x.shape), copies_x=False)

    def backward(self, lowering, x, y, gradient):
        return lowering.reshaped_back(x, y, gradient) if x.trainable else None


class Columns(Layer):
    """Some features: those from ``start`` to before ``stop``, as in a slice.

    Parameters
    ----------
    start : int
        Not negative.
    stop : int, default=None
        None is the end.

    Raises
    ------
    TypeError, ValueError
        If they are no integers with ``0 <= start < stop``.
    ShapeError
        From ``output_shape``, and so from ``fit``: if the input has fewer features, or is an image or a sequence.

    Examples
    --------
    >>> from skintricate.layers import Columns
    >>> Columns(2, 5).output_shape((9,))
    (3,)
    """

    sources = ("shapes",)

    def __init__(self, start, stop=None):
        check_number(self, "start", start, 0, integer=True)
        if stop is not None:
            check_number(self, "stop", stop, 1, integer=True)
            if stop <= start:
                raise ValueError(f"Columns: stop must be more than start={start}, got {stop!r}.")
        self.start = start
        self.stop = stop

    def output_shape(self, input_shape):
        require_flat(input_shape)
        stop = input_shape[0] if self.stop is None else self.stop
        if stop > input_shape[0] or self.start >= stop:
            raise ShapeError(f"it takes columns {self.start} to {stop} of {input_shape[0]}; choose some of those.")
        return (stop - self.start,)

    def forward(self, lowering, x):
        y = lowering.tensor(self.output_shape(x.shape), None, trainable=x.trainable)
        lowering.copy_columns(x.shape, x.offset, self.start, y.shape, y.offset, 0, y.columns)
        return y

    def backward(self, lowering, x, y, gradient):
        if not x.trainable:
            return None
        # What nobody writes stays zero.
        target = lowering.allocate(x.shape)
        lowering.copy_columns(y.shape, gradient, 0, x.shape, target, self.start, y.columns)
        return lowering.through_activation(x, target)
