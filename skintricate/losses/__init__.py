"""What training makes small."""

from skintricate.losses.base import Loss
from skintricate.losses.classification import BinaryCrossEntropy, CategoricalCrossEntropy
from skintricate.losses.regression import Huber, MeanAbsolute, MeanBias, MeanSquared, Poisson, Quantile

BY_NAME = {
    "mean_squared": MeanSquared,
    "mean_absolute": MeanAbsolute,
    "mean_bias": MeanBias,
    "huber": Huber,
    "quantile": Quantile,
    "poisson": Poisson,
    "categorical_cross_entropy": CategoricalCrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
}

__all__ = [
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "Huber",
    "Loss",
    "MeanAbsolute",
    "MeanBias",
    "MeanSquared",
    "Poisson",
    "Quantile",
]
