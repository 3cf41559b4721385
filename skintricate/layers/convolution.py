"""Convolutions."""

from skintricate.configurable import check_number
from skintricate.exceptions import ShapeError
from skintricate.layers.dense import Weighted
from skintricate.layers.window import check_numbers, check_padding, require_image, window_of


class Conv2D(Weighted):
    """Convolution of images of shape ``(height, width, channels)``.

    ``y[p] = sum over taps of x[pixel of the tap] W[tap] + b``, a cross-correlation as everywhere in the field. No copy
    of the windows is made.

    Parameters
    ----------
    filters : int
        Channels of the output O, at least 1.
    kernel_size : int or (int, int)
        Height and width of a window.
    stride : int or (int, int), default=1
        Pixels from one window to the next.
    padding : {"valid", "same"}, int or (int, int), default="valid"
        Pixels of zeros around the image. ``"valid"`` has none; with ``"same"`` there are
        ``ceil(size / stride)`` windows; where they need an odd number of pixels, the odd one goes behind, below and to
        the right, as in Keras.
    dilation : int or (int, int), default=1
        Pixels of the image from one pixel of a window to the next.
    groups : int, default=1
        Groups of channels, each with its own share of the filters; it divides both. As many groups as channels make a
        depthwise convolution.
    kernel_initializer : Initializer, default=None
        First values of ``W``, shape ``(height, width, channels / groups, filters)``; None is ``GlorotUniform()``.
    bias_initializer : Initializer, default=None
        First values of ``b``, shape ``(1, filters)``; None is ``Constant(0.0)``.
    use_bias : bool, default=True
    l1, l2 : float, default=0.0
        Penalties of this layer alone; see ``Dense``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, or outside of its range.
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are images no smaller than a window, whose channels
        ``groups`` divides.

    Examples
    --------
    >>> from skintricate.layers import Conv2D
    >>> Conv2D(16, 3).output_shape((28, 28, 1))
    (26, 26, 16)
    >>> Conv2D(16, 3, stride=2, padding="same").output_shape((28, 28, 1))
    (14, 14, 16)
    """

    sources = ("convolution",)
    _axes = ("height", "width")

    def __init__(
        self,
        filters,
        kernel_size,
        stride=1,
        padding="valid",
        dilation=1,
        groups=1,
        kernel_initializer=None,
        bias_initializer=None,
        use_bias=True,
        l1=0.0,
        l2=0.0,
    ):
        check_number(self, "filters", filters, 1, integer=True)
        check_number(self, "groups", groups, 1, integer=True)
        for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
            check_numbers(self, name, value, 1, self._axes)
        check_padding(self, padding, self._axes)
        super().__init__(kernel_initializer, bias_initializer, use_bias, l1, l2)
        self.filters = filters
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups

    def output_shape(self, input_shape):
        require_image(input_shape, self._axes)
        channels = input_shape[-1]
        if channels % self.groups or self.filters % self.groups:
            raise ShapeError(
                f"groups={self.groups} must divide the input's {channels} channels and filters={self.filters}; "
                "choose another number of groups or of filters."
            )
        window = self._window(input_shape)
        return (*(window.out_height, window.out_width)[-len(self._axes) :], int(self.filters))

    def parameters(self, input_shape):
        window = self._window(input_shape)
        taps = (window.kernel_height, window.kernel_width)[-len(self._axes) :]
        return self._parameters(*taps, input_shape[-1] // int(self.groups), int(self.filters))

    def forward(self, lowering, x, activation=None):
        y = lowering.tensor(self.output_shape(x.shape), activation, trainable=True)
        weights = lowering.weights(self)
        lowering.launch(
            "convolution_forward",
            window=self._window(x.shape),
            inputs=weights.inputs,
            channels=weights.channels,
            outputs=y.columns,
            pixels=y.pixels,
            source=x.offset,
            target=y.offset,
            saved=y.saved,
            code=y.code,
            constants=y.constants,
            bias=self.use_bias,
            weights=weights.offset,
        )
        return y

    def backward(self, lowering, x, y, gradient):
        weights, window = lowering.weights(self), self._window(x.shape)
        lowering.update_weights(
            weights,
            "convolution_backward_weights",
            l1=self.l1,
            l2=self.l2,
            window=window,
            pixels=y.pixels,
            source=x.offset,
            gradient=gradient,
        )
        if not x.trainable:
            return None
        target, is_whole = lowering.allocate(x.shape), self.groups == 1
        lowering.launch(
            "convolution_backward_input",
            window=window,
            inputs=window.kernel_height * window.kernel_width * y.columns,
            channels=y.columns,
            outputs=x.columns,
            pixels=x.pixels,
            source=gradient,
            target=target,
            value=x.offset,
            saved=x.saved,
            code=x.code,
            constants=x.constants,
            bias=self.use_bias,
            weights=lowering.transposed(weights, is_window=True) if is_whole else weights.offset,
        )
        return target

    def _window(self, input_shape):
        """Return how the windows lie in an image of this shape, or raise ``ShapeError``."""
        numbers = (self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        return window_of(input_shape, self._axes, *numbers)


class Conv1D(Conv2D):
    """Convolution of sequences of shape ``(length, channels)``.

    ``y[p] = sum over taps of x[place of the tap] W[tap] + b``.

    The parameters are those of ``Conv2D``, with a number for each pair; the kernel has the shape
    ``(length, channels / groups, filters)``.

    Parameters
    ----------
    filters : int
    kernel_size : int
    stride : int, default=1
    padding : {"valid", "same"} or int, default="valid"
    dilation : int, default=1
    groups : int, default=1
    kernel_initializer, bias_initializer : Initializer, default=None
    use_bias : bool, default=True
    l1, l2 : float, default=0.0

    Raises
    ------
    TypeError, ValueError
        If a parameter is of another type, or outside of its range.
    ShapeError
        From ``output_shape``, and so from ``fit``: unless samples are sequences no shorter than a window, whose
        channels ``groups`` divides.

    Examples
    --------
    >>> from skintricate.layers import Conv1D
    >>> Conv1D(8, 5).output_shape((100, 2))
    (96, 8)
    """

    _axes = ("length",)
