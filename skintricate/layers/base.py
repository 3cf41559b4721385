"""What every layer is."""

import math
from dataclasses import dataclass

from skintricate.configurable import Configurable
from skintricate.exceptions import ShapeError


@dataclass(frozen=True)
class Parameter:
    """One array that a layer learns, or keeps.

    Parameters
    ----------
    name : str
        What the array is to its layer, such as ``"kernel"``; unique there. Nothing is looked up by it.
    shape : tuple of int
        Its last number is that of outputs; the device has a row for each of the others' combinations.
    initializer : Initializer
        Draws the first values, an array of this shape, by ``initializer.draw(generator, shape)`` from a generator that
        the model's seed gives each parameter.
    is_trained : bool, default=True
        Whether an optimizer changes it; else it is only kept, saved and loaded.

    Examples
    --------
    >>> from skintricate.layers import Dense
    >>> [(parameter.name, parameter.shape) for parameter in Dense(3).parameters((2,))]
    [('kernel', (2, 3)), ('bias', (1, 3))]
    """

    name: str
    shape: tuple
    initializer: object
    is_trained: bool = True

    @property
    def rows(self):
        """The rows of the matrix in which it lies."""
        return math.prod(self.shape[:-1])


class Layer(Configurable):
    """Base class: shapes, parameters, and the stages of its forward and backward pass.

    ``lowering`` is the plan under construction (``skintricate.training.lowering``), ``x`` and ``y`` the tensors of
    the layer's input and output there. A gradient of a tensor is the derivative of the loss with respect to its
    values *before* the activation that was fused into making it.

    Attributes
    ----------
    takes_activation : bool
        Whether ``forward`` computes an activation that follows, given as its third argument.
    takes_sparse : bool
        Whether it reads a sparse X as it is, where it is the first layer.
    sources : tuple of str
        Kernel sources that its stages need and not every network has; see ``skintricate.kernels.program``.
    branches : sequence of sequence of Layer
        The layers inside of it.
    """

    takes_activation = False
    takes_sparse = False
    sources = ()
    branches = ()

    def output_shape(self, input_shape):
        """Return the shape of one sample after the layer.

        Parameters
        ----------
        input_shape : tuple of int

        Returns
        -------
        shape : tuple of int

        Raises
        ------
        ShapeError
            If the layer cannot take this shape.
        """
        return input_shape

    def parameters(self, input_shape):
        """Return the ``Parameter`` descriptions of the layer on this input."""
        return ()

    def forward(self, lowering, x):
        """Emit the forward stages and return the output tensor."""
        raise NotImplementedError

    def backward(self, lowering, x, y, gradient):
        """Emit the backward stages from the gradient of ``y``; return that of ``x``, or None if nothing needs it."""
        raise NotImplementedError


def shapes_through(layers, input_shape):
    """Return the shape of one sample before each layer, and after the last, or raise ``ShapeError``."""
    shapes = [tuple(input_shape)]
    for position, layer in enumerate(layers):
        try:
            shapes.append(tuple(map(int, layer.output_shape(shapes[-1]))))
        except ShapeError as error:
            before = f"layer {position - 1} ({layers[position - 1]!r})" if position else "the input"
            raise ShapeError(
                f"Layer {position} ({layer!r}) cannot follow {before}, whose output has shape {shapes[-1]}: {error}"
            ) from None
    return shapes


def require_flat(input_shape):
    """Raise ``ShapeError`` where a sample is an image or a sequence, for a layer that cannot take one."""
    if len(input_shape) != 1:
        means = {2: " or GlobalAvgPool1D()", 3: " or GlobalAvgPool2D()"}.get(len(input_shape), "")
        raise ShapeError(f"it needs one number after the other; put Flatten(){means} before it.")
