"""Windows of images in float64 NumPy, and pooling; see ``reference_layers.py``."""

import numpy as np


def places_of(size, kernel, stride, padding, dilation=1):
    """Return the pixel that each window of an axis has under each of its taps, which may lie outside."""
    extent = (kernel - 1) * dilation + 1
    if padding == "same":
        count = int(np.ceil(size / stride))
        before = max((count - 1) * stride + extent - size, 0) // 2
    else:
        before = 0 if padding == "valid" else padding
        count = (size + 2 * before - extent) // stride + 1
    return stride * np.arange(count)[:, None] + dilation * np.arange(kernel) - before


def windows_of(x, rows, columns, outside):
    """Return the windows of images, of shape ``(N, out height, out width, taps, C)``, and the way back."""
    before = [max(0, -places.min()) for places in (rows, columns)]
    after = [max(0, places.max() + 1 - size) for places, size in zip((rows, columns), x.shape[1:])]
    padded = np.pad(x, [(0, 0), *zip(before, after), (0, 0)], constant_values=outside)
    place = (slice(None), (rows + before[0])[:, None, :, None], (columns + before[1])[None, :, None, :])
    windows = padded[place]

    def back(g):
        gradient = np.zeros_like(padded)
        np.add.at(gradient, place, g.reshape(windows.shape))
        return gradient[:, before[0] : before[0] + x.shape[1], before[1] : before[1] + x.shape[2]]

    return windows.reshape(*windows.shape[:3], -1, x.shape[-1]), back


def pair(value):
    """Return numbers for height and width."""
    return value if isinstance(value, tuple | list) else (value, value)


def pool(reduce, outside):
    """Return a layer that makes one number of each channel of a window."""

    def pool(layer, x, shared):
        sizes = pair(layer.pool_size)
        strides = sizes if layer.stride is None else pair(layer.stride)
        places = [places_of(*axis) for axis in zip(x.shape[1:], sizes, strides, pair(layer.padding))]
        windows, windows_back = windows_of(x, *places, outside)
        y, back = reduce(windows)
        return y, lambda g: (windows_back(back(g)), [])

    return pool


def largest(windows):
    """Return the largest value of each window; the first one has the gradient."""
    first = windows.argmax(axis=3)[..., None, :]

    def back(g):
        gradient = np.zeros_like(windows)
        np.put_along_axis(gradient, first, g[..., None, :], axis=3)
        return gradient

    return np.take_along_axis(windows, first, axis=3)[..., 0, :], back


def mean_inside(windows):
    """Return the mean of each window's pixels inside of the image; those outside are NaN."""
    inside = ~np.isnan(windows)
    counts = inside.sum(axis=3)
    return np.nansum(windows, axis=3) / counts, lambda g: inside * (g / counts)[..., None, :]


def global_mean(layer, x, shared):
    size = x.shape[1] * x.shape[2]
    return x.sum(axis=(1, 2)) / size, lambda g: (np.broadcast_to(g[:, None, None] / size, x.shape), [])


def pool_sequences(reduce):
    """Return a layer that makes one number of each channel of a window of a sequence, by the largest or the mean."""

    def pool(layer, x, shared):
        size, stride = layer.pool_size, layer.stride or layer.pool_size
        windows = [
            places[(places >= 0) & (places < x.shape[1])]
            for places in places_of(x.shape[1], size, stride, layer.padding)
        ]

        def back(g):
            gradient = np.zeros_like(x)
            for number, places in enumerate(windows):
                taken, share = x[:, places], g[:, number][:, None]
                if reduce is np.max:
                    share = share * (np.arange(len(places))[:, None] == taken.argmax(axis=1)[:, None])
                else:
                    share = share / len(places)
                gradient[:, places] += share
            return gradient, []

        return np.stack([reduce(x[:, places], axis=1) for places in windows], axis=1), back

    return pool


def sequence_mean(layer, x, shared):
    return x.mean(axis=1), lambda g: (np.repeat(g[:, None] / x.shape[1], x.shape[1], axis=1), [])
