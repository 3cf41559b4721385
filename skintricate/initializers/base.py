"""What every initializer is."""

import math

from skintricate.configurable import Configurable


class Initializer(Configurable):
    """Base class: draws the first values of one parameter of a layer.

    A subclass implements ``draw``. It is called with a generator of its own, so that the values
    depend on the model's seed and the parameter's place alone.
    """

    def draw(self, generator, shape):
        """Return the values.

        Parameters
        ----------
        generator : numpy.random.Generator
        shape : tuple of int
            ``(I, O)`` for weights, ``(1, O)`` for a bias, ``(height, width, channels, filters)`` for a convolution:
            outputs are always the last, see ``fans``.

        Returns
        -------
        values : ndarray of that shape
        """
        raise NotImplementedError


def fans(shape):
    """Return the number of inputs and outputs of a parameter of this shape, those of a convolution for each pixel."""
    taps = math.prod(shape[:-2])
    return taps * math.prod(shape[-2:-1]), taps * shape[-1]
