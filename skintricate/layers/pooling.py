"""Pooling."""

from skintricate.layers.base import Layer
from skintricate.layers.window import check_numbers, check_padding, image_of, pair_of, require_image, window_of


class Pooling(Layer):
    """Base class: a subclass names its kernels and axes, and says where its windows lie.

    Attributes
    ----------
    kernel : str
    """

    sources = ("pooling",)
    kernel = ""
    _axes = ("height", "width")

    def output_shape(self, input_shape):
        require_image(input_shape, self._axes)
        window = self._window(input_shape)
        return (*(window.out_height, window.out_width)[-len(self._axes) :], input_shape[-1])

    def forward(self, lowering, x):
        source = lowering.in_workspace(x)
        y = lowering.tensor(self.output_shape(x.shape), None, trainable=x.trainable)
        lowering.launch(
            f"{self.kernel}_forward",
            window=self._window(x.shape),
            outputs=y.columns,
            pixels=y.pixels,
            source=source.offset,
            target=y.offset,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        if not x.trainable:
            return None
        window, target = self._window(x.shape), lowering.allocate(x.shape)
        apart = _are_apart(window)
        # The largest value is all that most derivatives need.
        is_fused = apart and self.kernel == "max_pool" and x.saved < 0
        lowering.launch(
            f"{self.kernel}_backward",
            window=window,
            outputs=x.columns,
            pixels=x.pixels,
            value=x.offset,
            gradient=gradient,
            target=target,
            code=apart,
            activation=x.code if is_fused else 0,
            activation_constants=x.constants,
        )
        # Where windows leave gaps, nobody writes zeros there again.
        return target if is_fused else lowering.through_activation(x, target, is_own=not apart or _cover(window))


class WindowPooling(Pooling):
    """Base class of pooling by windows of a size; a subclass names its kernels."""

    def __init__(self, pool_size=2, stride=None, padding="valid"):
        check_numbers(self, "pool_size", pool_size, 1, self._axes)
        if stride is not None:
            check_numbers(self, "stride", stride, 1, self._axes)
        check_padding(self, padding, self._axes)
        if not isinstance(padding, str):
            pairs = zip(pair_of(padding, self._axes, 0), pair_of(pool_size, self._axes))
            if any(before >= size for before, size in pairs):
                raise ValueError(
                    f"{type(self).__name__}: padding must be less than pool_size={pool_size}, got {padding!r}."
                )
        self.pool_size = pool_size
        self.stride = stride
        self.padding = padding

    def _window(self, input_shape):
        """Return how the windows lie in an image of this shape, or raise ``ShapeError``."""
        stride = self.pool_size if self.stride is None else self.stride
        return window_of(input_shape, self._axes, self.pool_size, stride, self.padding)


class MaxPool2D(WindowPooling):
    """The largest value of every window, channel by channel: ``y[p] = max over taps of x[pixel of the tap]``.

    Of equals the first has the gradient. NaN is the largest of all.

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of a window.
    stride : int or (int, int), default=None
        Pixels from one window to the next; None is ``pool_size``.
    padding : {"valid", "same"}, int or (int, int), default="valid"
        Pixels around the image, which do not count; less than ``pool_size``. With ``"same"`` there are
        ``ceil(size / stride)`` windows; where they need an odd number of pixels, the odd one goes behind, below and to
        the right, as in Keras.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no integer, or pair of them, of its range.
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are images no smaller than a window.

    Examples
    --------
    >>> from skintricate.layers import MaxPool2D
    >>> MaxPool2D(2).output_shape((26, 26, 16))
    (13, 13, 16)
    """

    kernel = "max_pool"


class MaxPool1D(MaxPool2D):
    """The largest value of every window of a sequence of shape ``(length, channels)``, channel by channel.

    ``y[p] = max over taps of x[place of the tap]``. Of equals the first has the gradient. NaN is the largest of all.

    Parameters
    ----------
    pool_size : int, default=2
        Length of a window.
    stride : int, default=None
        Places from one window to the next; None is ``pool_size``.
    padding : {"valid", "same"} or int, default="valid"
        Places before and behind the sequence, which do not count; see ``MaxPool2D``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no integer of its range.
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are sequences no shorter than a window.

    Examples
    --------
    >>> from skintricate.layers import MaxPool1D
    >>> MaxPool1D(2).output_shape((96, 8))
    (48, 8)
    """

    _axes = ("length",)


class AvgPool2D(WindowPooling):
    """The mean of every window, channel by channel: ``y[p] = sum over taps of x[pixel of the tap] / number of taps``.

    Parameters
    ----------
    pool_size : int or (int, int), default=2
        Height and width of a window.
    stride : int or (int, int), default=None
        Pixels from one window to the next; None is ``pool_size``.
    padding : {"valid", "same"}, int or (int, int), default="valid"
        Pixels around the image, which do not count: a mean is that of the taps inside of the image. See ``MaxPool2D``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no integer, or pair of them, of its range.
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are images no smaller than a window.

    Examples
    --------
    >>> from skintricate.layers import AvgPool2D
    >>> AvgPool2D(3, stride=2, padding="same").output_shape((7, 7, 4))
    (4, 4, 4)
    """

    kernel = "average_pool"


class AvgPool1D(AvgPool2D):
    """The mean of every window of a sequence of shape ``(length, channels)``, channel by channel.

    ``y[p] = sum over taps of x[place of the tap] / number of taps``.

    Parameters
    ----------
    pool_size : int, default=2
        Length of a window.
    stride : int, default=None
        Places from one window to the next; None is ``pool_size``.
    padding : {"valid", "same"} or int, default="valid"
        Places before and behind the sequence, which do not count; see ``AvgPool2D``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is no integer of its range.
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are sequences no shorter than a window.

    Examples
    --------
    >>> from skintricate.layers import AvgPool1D
    >>> AvgPool1D(3, stride=2, padding="same").output_shape((7, 4))
    (4, 4)
    """

    _axes = ("length",)


class GlobalAvgPool2D(Pooling):
    """The mean of every channel over the whole image, a number a channel: ``y = sum over pixels of x / pixels``.

    Raises
    ------
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are images.

    Examples
    --------
    >>> from skintricate.layers import GlobalAvgPool2D
    >>> GlobalAvgPool2D().output_shape((7, 7, 64))
    (64,)
    """

    kernel = "average_pool"

    def output_shape(self, input_shape):
        require_image(input_shape, self._axes)
        return input_shape[-1:]

    def _window(self, input_shape):
        """Return the only window."""
        return window_of(input_shape, self._axes, image_of(input_shape)[:2], 1, 0)


class GlobalAvgPool1D(GlobalAvgPool2D):
    """The mean of every channel over the whole sequence, a number a channel: ``y = sum over places of x / length``.

    Raises
    ------
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are sequences of shape ``(length, channels)``.

    Examples
    --------
    >>> from skintricate.layers import GlobalAvgPool1D
    >>> GlobalAvgPool1D().output_shape((48, 8))
    (8,)
    """

    _axes = ("length",)


def _are_apart(window):
    """Say whether no two windows have a pixel in common."""
    return window.stride_y >= window.kernel_height and window.stride_x >= window.kernel_width


def _cover(window):
    """Say whether windows without a pixel in common hold all pixels."""
    strides = (window.stride_y, window.stride_x) == (window.kernel_height, window.kernel_width)
    rows, columns = window.out_height * window.stride_y, window.out_width * window.stride_x
    return strides and rows - window.top >= window.height and columns - window.left >= window.width
