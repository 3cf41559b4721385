"""What every layer is."""

from dataclasses import dataclass

from skintricate.configurable import Configurable


@dataclass(frozen=True)
class Parameter:
    """One array that a layer learns.

    Parameters
    ----------
    name : str
    shape : tuple of int
    initializer : Initializer
    """

    name: str
    shape: tuple
    initializer: object


class Layer(Configurable):
    """Base class: shapes, parameters, and the stages of its forward and backward pass.

    ``lowering`` is the plan under construction (``skintricate.training.lowering``), ``x`` and ``y`` the tensors of
    the layer's input and output there. A gradient of a tensor is the derivative of the loss with respect to its
    values *before* the activation that was fused into making it.

    Attributes
    ----------
    takes_activation : bool
        Whether ``forward`` computes an activation that follows, given as its third argument.
    """

    takes_activation = False

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
