"""A network as a tree: layers, those inside of layers, and what each of them learns."""

from typing import NamedTuple

from skintricate.layers.base import shapes_through


class Node(NamedTuple):
    """A layer in its network.

    Attributes
    ----------
    path : tuple of int
        Its position; inside of a layer that layer's, the branch, and the position there.
    layer : Layer
    input_shape : tuple of int
    """

    path: tuple
    layer: object
    input_shape: tuple


def infer_shapes(layers, n_features):
    """Return the shape of one sample before each layer, and after the last.

    Parameters
    ----------
    layers : sequence of Layer
    n_features : int

    Raises
    ------
    ShapeError
        Naming the layer, the layer before it, both shapes and the remedy.
    """
    return shapes_through(layers, (int(n_features),))


def walk(layers, input_shape, path=()):
    """Yield a ``Node`` for each layer, those inside of it after it."""
    shapes = shapes_through(layers, input_shape)
    for position, (layer, shape) in enumerate(zip(layers, shapes)):
        here = (*path, position)
        yield Node(here, layer, shape)
        for number, branch in enumerate(layer.branches):
            yield from walk(branch, shape, (*here, number))


def all_layers(layers):
    """Yield every layer, those inside of layers included."""
    for layer in layers:
        yield layer
        for branch in layer.branches:
            yield from all_layers(branch)


def matrices(layer, input_shape):
    """Return the parameters of a layer in the matrices in which they lie, a list of lists of ``Parameter``.

    What is trained is one matrix, one parameter's rows after another's; what is only kept is a second one.
    """
    parameters = layer.parameters(input_shape)
    parts = ([p for p in parameters if p.is_trained is wanted] for wanted in (True, False))
    return [part for part in parts if part]
