"""Layers made of layers: what is added to its input, and what is put side by side."""

from skintricate.exceptions import ShapeError
from skintricate.layers.base import Layer, shapes_through


class Residual(Layer):
    """``y = x + f(x)``, f being layers whose output has the shape of their input (He et al. 2016).

    Parameters
    ----------
    layers : sequence of Layer

    Raises
    ------
    TypeError
        If ``layers`` is no list or tuple of layers.
    ValueError
        If a layer is there twice.
    ShapeError
        From ``output_shape``, and so from ``fit``: if the output of the layers has another shape than their input.

    Examples
    --------
    >>> from skintricate.layers import Dense, ReLU, Residual
    >>> Residual([Dense(8), ReLU(), Dense(8)]).output_shape((8,))
    (8,)
    """

    sources = ("shapes",)

    def __init__(self, layers):
        if not isinstance(layers, list | tuple):
            raise TypeError(f"Residual: layers must be a list of layers, got {layers!r}.")
        check_branches(self, "layers", [layers])
        self.layers = layers

    @property
    def branches(self):
        """The layers of f."""
        return (self.layers,)

    def output_shape(self, input_shape):
        shape = shapes_through(self.layers, input_shape)[-1]
        if shape != tuple(input_shape):
            where = "sample" if len(input_shape) == 1 else "pixel, and use padding"
            raise ShapeError(
                f"its layers make the shape {shape} of {tuple(input_shape)}, which cannot be added; end them in a "
                f"layer with {input_shape[-1]} outputs a {where}."
            )
        return shape

    def forward(self, lowering, x):
        source = lowering.in_workspace(x)
        steps, inner = lowering.forward(self.layers, source)
        y = lowering.tensor(x.shape, None, trainable=x.trainable or inner.trainable, inner=(steps, inner))
        lowering.add(source.offset, inner.offset, y.shape, y.offset)
        return y

    def backward(self, lowering, x, y, gradient):
        steps, inner = y.inner
        before = None
        if inner.trainable:
            before = lowering.backward(steps, lowering.through_activation(inner, gradient))
        return lowering.sum_of([before, lowering.through_activation(x, gradient)], x.shape) if x.trainable else None


class Concatenate(Layer):
    """Several branches of layers on the same input; their outputs side by side, images by channels.

    Parameters
    ----------
    branches : sequence of sequence of Layer
        A branch without layers is the input itself.

    Raises
    ------
    TypeError
        If ``branches`` is no list or tuple of lists of layers, or is empty.
    ValueError
        If a layer is there twice.
    ShapeError
        From ``output_shape``, and so from ``fit``: if the outputs' shapes differ in more than their last numbers.

    Examples
    --------
    >>> from skintricate.layers import Columns, Concatenate, Dense
    >>> Concatenate([[Columns(0, 4), Dense(8)], [Columns(4)]]).output_shape((9,))
    (13,)
    """

    sources = ("shapes",)
    branches = ()

    def __init__(self, branches):
        check_branches(self, "branches", branches)
        self.branches = branches

    def output_shape(self, input_shape):
        shapes = [shapes_through(branch, input_shape)[-1] for branch in self.branches]
        if len({shape[:-1] for shape in shapes}) > 1:
            raise ShapeError(
                f"its branches make the shapes {shapes}, which differ in more than their last numbers; use padding or "
                "Flatten()."
            )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def forward(self, lowering, x):
        branches = []
        for branch in self.branches:
            steps, end = lowering.forward(branch, x)
            # An X of images is no matrix that columns could be copied from.
            branches.append((steps, end if end.pixels == 1 else lowering.in_workspace(end)))
        is_trainable = any(end.trainable for _, end in branches)
        y = lowering.tensor(self.output_shape(x.shape), None, trainable=is_trainable, inner=tuple(branches))
        first = 0
        for _, end in branches:
            lowering.copy_columns(end.shape, end.offset, 0, y.shape, y.offset, first, end.columns)
            first += end.columns
        return y

    def backward(self, lowering, x, y, gradient):
        gradients, first = [], 0
        for steps, end in y.inner:
            if end.trainable:
                part = lowering.allocate(end.shape)
                lowering.copy_columns(y.shape, gradient, first, end.shape, part, 0, end.columns)
                gradients.append(lowering.backward(steps, lowering.through_activation(end, part)))
            first += end.columns
        return lowering.sum_of(gradients, x.shape) if x.trainable else None


def check_branches(layer, name, branches):
    """Raise unless these are sequences of layers, each of which is there once, at whatever depth."""
    kind = type(layer).__name__
    if not isinstance(branches, list | tuple) or not branches:
        raise TypeError(f"{kind}: {name} must be a list that is not empty, got {branches!r}.")
    for branch in branches:
        if not isinstance(branch, list | tuple):
            raise TypeError(f"{kind}: {name} must hold lists of layers, got {branch!r}.")
        for item in branch:
            if not isinstance(item, Layer):
                raise TypeError(f"{kind}: {name} must hold layers such as Dense(8) or ReLU(), got {item!r}.")
    seen = set()
    for item in _all_layers(branches):
        if id(item) in seen:
            raise ValueError(f"{kind}: {item!r} is in {name} twice; make an object for each place.")
        seen.add(id(item))


def _all_layers(branches):
    """Yield every layer of some branches, those inside of layers included."""
    for branch in branches:
        for layer in branch:
            yield layer
            yield from _all_layers(layer.branches)
