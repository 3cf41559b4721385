"""Random values scaled so that signals keep their variance through a layer.

Each draws with standard deviation ``sqrt(gain / fan)``, where ``fan`` is the number of a layer's inputs I or the mean
of inputs and outputs O; uniform ones on ``[-limit, limit)`` with ``limit = sqrt(3 gain / fan)``. In a convolution I and
O are those of all pixels of a window: ``height * width * channels`` and ``height * width * filters``.
"""

import math

from skintricate.initializers.base import Initializer, fans


class Scaled(Initializer):
    """Base class; a subclass sets ``gain``, ``average`` (of both fans) and ``uniform``."""

    gain = 1.0
    average = False
    uniform = False

    def draw(self, generator, shape):
        n_inputs, n_outputs = fans(shape)
        fan = (n_inputs + n_outputs) / 2 if self.average else n_inputs
        scale = math.sqrt(self.gain / max(fan, 1))
        if self.uniform:
            limit = math.sqrt(3) * scale
            return generator.uniform(-limit, limit, shape)
        return generator.normal(0.0, scale, shape)


class GlorotUniform(Scaled):
    """Uniform, variance ``2 / (I + O)`` (Glorot and Bengio 2010): for tanh, sigmoid and softmax."""

    average = True
    uniform = True


class GlorotNormal(Scaled):
    """Normal, variance ``2 / (I + O)`` (Glorot and Bengio 2010)."""

    average = True


class HeUniform(Scaled):
    """Uniform, variance ``2 / I`` (He et al. 2015): for ReLU and its kin."""

    gain = 2.0
    uniform = True


class HeNormal(Scaled):
    """Normal, variance ``2 / I`` (He et al. 2015)."""

    gain = 2.0


class LeCunNormal(Scaled):
    """Normal, variance ``1 / I`` (LeCun et al. 1998): for self-normalising networks."""
