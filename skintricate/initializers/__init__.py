"""First values of a layer's parameters."""

from skintricate.initializers.base import Initializer
from skintricate.initializers.constant import Constant
from skintricate.initializers.random import LimitedRandom, NormalRandom, UniformRandom
from skintricate.initializers.scaled import GlorotNormal, GlorotUniform, HeNormal, HeUniform, LeCunNormal

BY_NAME = {
    "constant": Constant,
    "limited_random": LimitedRandom,
    "normal_random": NormalRandom,
    "uniform_random": UniformRandom,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_normal": LeCunNormal,
}

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LeCunNormal",
    "LimitedRandom",
    "NormalRandom",
    "UniformRandom",
]
