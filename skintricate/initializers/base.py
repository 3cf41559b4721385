"""What every initializer is."""

import numpy as np

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
            ``(I, O)`` for weights, ``(1, O)`` for a bias.

        Returns
        -------
        values : ndarray of that shape
        """
        raise NotImplementedError


def fans(shape):
    """Return the number of inputs and outputs of a parameter of this shape."""
    return int(np.prod(shape[:-1])), int(shape[-1])
