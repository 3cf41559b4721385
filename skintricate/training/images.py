"""X of images and sequences: a row for each sample on its way, and a ``Reshape`` in front of the network."""

import math

import numpy as np

from skintricate.exceptions import ShapeError
from skintricate.layers import Reshape
from skintricate.layers.base import shapes_through


def as_rows(X):
    """Return X with a row for each sample, and the shape of one where it is an image or a sequence, else None."""
    if not isinstance(X, np.ndarray) or X.ndim < 3:
        return X, None
    return X.reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]


def rows_of(X, name, shape):
    """Return X with a row for each sample, or raise ``ShapeError`` where its samples have another shape than this."""
    X, found = as_rows(X)
    if found is not None and found != shape:
        expected = f"samples of shape {shape}" if shape is not None else "two dimensions"
        raise ShapeError(f"{name} has samples of shape {found}, expected {expected} as in fit; reshape {name}.")
    return X


def image_shape(layers, n_features):
    """Return the shape that a network gives a row of so many features at once, or None."""
    return shapes_through(layers[:1], (n_features,))[1] if layers and isinstance(layers[0], Reshape) else None


def with_shape(layers, shape):
    """Return layers that take rows of X for samples of this shape: with a ``Reshape`` in front, if they need one."""
    if shape is None or image_shape(layers, math.prod(shape)) == shape:
        return layers
    return [Reshape(shape), *layers]
