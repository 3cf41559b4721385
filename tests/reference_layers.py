"""Layers in float64 NumPy, written from the maths, each with its way back.

A layer is a function of itself, its input and what the pass has; it returns its output, and a function that takes the
derivative by that output and returns the derivative by the input with those by its matrices of weights, in a list.
Images have the shape ``(N, height, width, channels)``.
"""

import numpy as np
from reference_windows import (
    global_mean,
    largest,
    mean_inside,
    pair,
    places_of,
    pool,
    pool_sequences,
    sequence_mean,
    windows_of,
)
from scipy import special


def kind(thing):
    """Return the name by which the tables of the reference know an object."""
    return type(thing).__name__


class Pass:
    """What the layers of one forward pass share.

    Parameters
    ----------
    weights : list of ndarray
    masks : list of ndarray
        The factors of each ``Dropout`` layer, in order; a layer for which there are none left drops nothing.
    training : bool
        Whether batches are normalised by their own statistics.
    alpha : float
        Penalty of every kernel.
    total : float
        What penalties are divided by.
    """

    def __init__(self, weights, masks=None, training=False, alpha=0.0, total=1.0):
        self._weights, self._masks, self._taken = list(weights), iter(masks or ()), 0
        self.training, self.alpha, self.total = training, alpha, total
        self.penalty, self.after = 0.0, list(weights)

    def take(self):
        """Return the next matrix of weights."""
        self._taken += 1
        return self._weights[self._taken - 1]

    def keep(self, matrix):
        """Remember what takes the place of the matrix taken last."""
        self.after[self._taken - 1] = matrix

    def mask(self):
        """Return the next mask."""
        return next(self._masks, 1.0)


def chain(layers, x, shared):
    """Return x and the values after each layer, and the way back through all of them."""
    values, ways = [x], []
    for layer in layers:
        y, way = layer_of(layer)(layer, values[-1], shared)
        values.append(y)
        ways.append(way)

    def back(gradient):
        found = []
        for way in reversed(ways):
            gradient, own = way(gradient)
            found = own + found
        return gradient, found

    return values, back


def layer_of(layer):
    """Return the function of a layer; what is not in the table of layers is an activation."""
    return LAYERS.get(kind(layer), _activation)


# What has no weights.


def _gelu_derivative(x):
    return special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _silu_derivative(x):
    return special.expit(x) * (1 + x * special.expit(-x))


# Class name: value and derivative as functions of the input and the layer's parameters.
ACTIVATIONS = {
    "Identity": (lambda x: x, np.ones_like),
    "ReLU": (lambda x: np.where(x > 0, x, 0), lambda x: np.where(x > 0, 1.0, 0)),
    "LeakyReLU": (lambda x, slope: np.where(x > 0, x, slope * x), lambda x, slope: np.where(x > 0, 1.0, slope)),
    "ELU": (
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
        lambda x, alpha: np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0))),
    ),
    "GELU": (lambda x: x * special.ndtr(x), _gelu_derivative),
    "SiLU": (lambda x: x * special.expit(x), _silu_derivative),
    "Softplus": (lambda x: np.logaddexp(0, x), special.expit),
    "Sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "TanH": (np.tanh, lambda x: 4 * special.expit(2 * x) * special.expit(-2 * x)),
    "Exponential": (np.exp, np.exp),
}


def _activation(layer, x, shared):
    value, derivative = ACTIVATIONS[kind(layer)]
    parameters = layer.get_params()
    return value(x, **parameters), lambda g: (g * derivative(x, **parameters), [])


def _softmax(layer, x, shared):
    y = special.softmax(x, axis=1)

    def back(g):
        jacobian = np.einsum("nj,jk->njk", y, np.eye(y.shape[1])) - np.einsum("nj,nk->njk", y, y)
        return np.einsum("nj,njk->nk", g, jacobian), []

    return y, back


def _dropout(layer, x, shared):
    mask = shared.mask()
    return x * mask, lambda g: (g * mask, [])


def _noise(layer, x, shared):
    return x, lambda g: (g, [])


def _reshape(layer, x, shared):
    return x.reshape(len(x), *getattr(layer, "target_shape", (-1,))), lambda g: (g.reshape(x.shape), [])


def _columns(layer, x, shared):
    def back(g):
        gradient = np.zeros_like(x)
        gradient[:, layer.start : layer.stop] = g
        return gradient, []

    return x[:, layer.start : layer.stop], back


# What multiplies.


def _penalty(layer, kernel, shared):
    """Count the penalty of a kernel, and return its derivative."""
    l2 = shared.alpha + layer.l2
    shared.penalty += (layer.l1 * np.abs(kernel).sum() + l2 / 2 * (kernel**2).sum()) / shared.total
    return (layer.l1 * np.sign(kernel) + l2 * kernel) / shared.total


def _kernel_and_bias(layer, shared):
    """Return the kernel's rows, the bias or zero, and the derivative of the penalty."""
    w = shared.take()
    kernel, bias = (w[:-1], w[-1]) if layer.use_bias else (w, 0.0)
    return kernel, bias, _penalty(layer, kernel, shared)


def _matrix(layer, kernel, g):
    """Return the derivative by kernel and bias in one matrix; ``g`` is that by the outputs."""
    return np.vstack([kernel, g.reshape(-1, g.shape[-1]).sum(axis=0)]) if layer.use_bias else kernel


def _dense(layer, x, shared):
    kernel, bias, penalty = _kernel_and_bias(layer, shared)
    flat = x.reshape(len(x), -1)
    return flat @ kernel + bias, lambda g: ((g @ kernel.T).reshape(x.shape), [_matrix(layer, flat.T @ g + penalty, g)])


def _convolution(layer, x, shared):
    kernel, bias, penalty = _kernel_and_bias(layer, shared)
    axes = zip(x.shape[1:], *map(pair, (layer.kernel_size, layer.stride, layer.padding, layer.dilation)))
    windows, windows_back = windows_of(x, *(places_of(*axis) for axis in axes), 0.0)
    groups = layer.groups
    # k: pixel of a window, g: group, c: channel of the group, f: filter of the group.
    windows = windows.reshape(*windows.shape[:4], groups, -1)
    w = kernel.reshape(windows.shape[3], windows.shape[5], groups, -1)
    y = np.einsum("nyxkgc,kcgf->nyxgf", windows, w)

    def back(g):
        grouped = g.reshape(y.shape)
        by_kernel = np.einsum("nyxkgc,nyxgf->kcgf", windows, grouped).reshape(kernel.shape)
        by_windows = np.einsum("nyxgf,kcgf->nyxkgc", grouped, w)
        return windows_back(by_windows), [_matrix(layer, by_kernel + penalty, g)]

    return y.reshape(*y.shape[:3], -1) + bias, back


class _AsImage:
    """A layer for sequences as the one for images of height 1."""

    def __init__(self, layer):
        self.__dict__.update(vars(layer))
        self.kernel_size = (1, layer.kernel_size)
        self.padding = layer.padding if isinstance(layer.padding, str) else (0, layer.padding)
        self.stride, self.dilation = (1, layer.stride), (1, layer.dilation)


def _sequence_convolution(layer, x, shared):
    y, back = _convolution(_AsImage(layer), x[:, None], shared)

    def sequence_back(g):
        gradient, found = back(g[:, None])
        return gradient[:, 0], found

    return y[:, 0], sequence_back


# What normalises, scales, or looks up.


def _scale(layer, x, shared):
    factor = shared.take()
    return x * factor[0], lambda g: (g * factor[0], [_over_rows(g * x)[None]])


def _over_rows(x):
    """Return the sums of all columns."""
    return x.reshape(-1, x.shape[-1]).sum(axis=0)


def _standardised(x, axes, epsilon):
    """Return x with mean 0 and deviation 1 over some axes, and the way back."""
    deviation = np.sqrt(x.var(axis=axes, keepdims=True) + epsilon)
    y = (x - x.mean(axis=axes, keepdims=True)) / deviation

    def back(g):
        means = g.mean(axis=axes, keepdims=True) + y * (g * y).mean(axis=axes, keepdims=True)
        return (g - means) / deviation

    return y, back


def _scaled_and_shifted(weights, y, back):
    """Return y times the factors plus the shifts, and the way back."""
    factor, shift = weights
    return y * factor + shift, lambda g: (back(g * factor), [np.stack([_over_rows(g * y), _over_rows(g)])])


def _layer_norm(layer, x, shared):
    return _scaled_and_shifted(shared.take(), *_standardised(x, -1, layer.epsilon))


def _batch_norm(layer, x, shared):
    weights, (mean, variance) = shared.take(), shared.take()
    rows = x.reshape(-1, x.shape[-1])
    if shared.training:
        if len(rows) > 1:  # one row has no variance, and changes nothing
            of_batch = np.stack([rows.mean(axis=0), rows.var(axis=0, ddof=1)])
            shared.keep(layer.momentum * np.stack([mean, variance]) + (1 - layer.momentum) * of_batch)
        else:
            shared.keep(np.stack([mean, variance]))
        y, back = _standardised(x, tuple(range(x.ndim - 1)), layer.epsilon)
    else:
        deviation = np.sqrt(variance + layer.epsilon)
        y, back = (x - mean) / deviation, lambda g: g / deviation
    y, way = _scaled_and_shifted(weights, y, back)

    def with_running(g):
        gradient, found = way(g)
        return gradient, [*found, np.zeros((2, x.shape[-1]))]

    return y, with_running


def _embedding(layer, x, shared):
    vectors, sizes = shared.take(), layer.vocabulary_size
    first = np.cumsum([0, *sizes[:-1]]) if isinstance(sizes, tuple | list) else 0
    known = (x >= 0) & (x < np.array(sizes))
    rows = np.where(known, x, 0).astype(int) + first

    def back(g):
        gradient = np.zeros_like(vectors)
        np.add.at(gradient, rows[known], g[known])
        return np.zeros_like(x), [gradient]

    return vectors[rows] * known[..., None], back


# Branches.


def _residual(layer, x, shared):
    values, back = chain(layer.layers, x, shared)

    def both(g):
        gradient, found = back(g)
        return g + gradient, found

    return x + values[-1], both


def _concatenate(layer, x, shared):
    ends, ways = [], []
    for branch in layer.branches:
        values, back = chain(branch, x, shared)
        ends.append(values[-1])
        ways.append(back)
    borders = np.cumsum([end.shape[-1] for end in ends])[:-1]

    def back(g):
        parts = [way(part) for way, part in zip(ways, np.split(g, borders, axis=-1))]
        return sum(gradient for gradient, _ in parts), [matrix for _, found in parts for matrix in found]

    return np.concatenate(ends, axis=-1), back


LAYERS = {
    "SoftMax": _softmax,
    "Dropout": _dropout,
    "GaussianNoise": _noise,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Columns": _columns,
    "MaxPool1D": pool_sequences(np.max),
    "MaxPool2D": pool(largest, -np.inf),
    "AvgPool1D": pool_sequences(np.mean),
    "AvgPool2D": pool(mean_inside, np.nan),
    "GlobalAvgPool1D": sequence_mean,
    "GlobalAvgPool2D": global_mean,
    "Dense": _dense,
    "EmbeddingBag": _dense,
    "Conv2D": _convolution,
    "Conv1D": _sequence_convolution,
    "Scale": _scale,
    "LayerNorm": _layer_norm,
    "BatchNorm": _batch_norm,
    "Embedding": _embedding,
    "Residual": _residual,
    "Concatenate": _concatenate,
}
