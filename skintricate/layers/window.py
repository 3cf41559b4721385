"""What layers have in common that look at an image through windows."""

import numbers

from skintricate.configurable import check_number
from skintricate.exceptions import ShapeError
from skintricate.kernels.stage import Window


def check_numbers(owner, name, value, low, axes):
    """Raise unless a parameter is an integer of at least ``low``, or where there are two axes a pair of them."""
    kind = type(owner).__name__
    if isinstance(value, tuple | list) and len(axes) == 1:
        raise TypeError(f"{kind}: {name} must be a number for a sequence, got {value!r}.")
    for number in value if isinstance(value, tuple | list) else (value,):
        check_number(owner, name, number, low, integer=True)
    if isinstance(value, tuple | list) and len(value) != 2:
        raise ValueError(f"{kind}: {name} must be an integer or a pair of them, got {value!r}.")


def check_padding(owner, padding, axes):
    """Raise unless ``padding`` is a name or a number of pixels, or where there are two axes a pair of numbers."""
    if not isinstance(padding, str):
        check_numbers(owner, "padding", padding, 0, axes)
    elif padding not in ("valid", "same"):
        numbers = "an integer or a pair of them" if len(axes) == 2 else "or an integer"
        raise ValueError(f"{type(owner).__name__}: padding must be 'valid', 'same', {numbers}, got {padding!r}.")


def pair_of(value, axes, other=1):
    """Return numbers for height and width; a sequence has the height ``other``."""
    if isinstance(value, tuple | list):
        return tuple(map(int, value))
    return (int(value),) * 2 if len(axes) == 2 else (other, int(value))


def require_image(input_shape, axes):
    """Raise ``ShapeError`` unless a sample has these axes and channels."""
    if len(input_shape) != len(axes) + 1:
        example = "Reshape((28, 28, 1))" if len(axes) == 2 else "Reshape((100, 1))"
        names = "Conv{0}D, MaxPool{0}D, AvgPool{0}D or GlobalAvgPool{0}D"
        others = {2: f"for sequences take {names.format(1)}, or ", 3: f"for images take {names.format(2)}, or "}
        raise ShapeError(
            f"it needs samples of shape ({', '.join(axes)}, channels); {others.get(len(input_shape), '')}put a Reshape "
            f"before it, such as {example}, or give X in that shape."
        )


def image_of(input_shape):
    """Return height, width and channels of a sample; a sequence has the height 1."""
    return (1, *input_shape) if len(input_shape) == 2 else tuple(input_shape)


def window_of(input_shape, axes, kernel, stride, padding, dilation=1, groups=1):
    """Return the ``Window`` of these numbers, or pairs of them, in a sample of this shape.

    Raises
    ------
    ShapeError
        If a window is larger than the image with its padding.
    """
    height, width, _ = image_of(input_shape)
    (kernel_y, kernel_x), (stride_y, stride_x), (dilation_y, dilation_x) = (
        pair_of(value, axes) for value in (kernel, stride, dilation)
    )
    padding_y, padding_x = (padding,) * 2 if isinstance(padding, str) else pair_of(padding, axes, 0)
    out_y, before_y = _windows("height", height, kernel_y, stride_y, padding_y, dilation_y)
    out_x, before_x = _windows(axes[-1], width, kernel_x, stride_x, padding_x, dilation_x)
    return Window(
        height, width, out_y, out_x, kernel_y, kernel_x, stride_y, stride_x,
        before_y, before_x, dilation_y, dilation_x, int(groups),
    )  # fmt: skip


def _windows(name, size, kernel, stride, padding, dilation):
    """Return the number of windows along an axis and the padding before it."""
    extent = (kernel - 1) * dilation + 1
    if padding == "same":
        count = -(-size // stride)
        return count, max((count - 1) * stride + extent - size, 0) // 2
    before = padding if isinstance(padding, numbers.Integral) else 0
    if extent > size + 2 * before:
        raise ShapeError(
            f"a window of {name} {extent} is larger than the input's {name} of {size}"
            f"{f' with its padding of {before}' if before else ''}; use a smaller window or padding='same'."
        )
    return (size + 2 * before - extent) // stride + 1, before
