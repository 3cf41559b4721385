"""Layers of a network."""

from skintricate.layers.activation import Activation
from skintricate.layers.activations import (
    ELU,
    GELU,
    Exponential,
    Identity,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    TanH,
)
from skintricate.layers.base import Layer, Parameter
from skintricate.layers.branches import Concatenate, Residual
from skintricate.layers.convolution import Conv1D, Conv2D
from skintricate.layers.dense import Dense
from skintricate.layers.dropout import Dropout
from skintricate.layers.embedding import Embedding, EmbeddingBag
from skintricate.layers.noise import GaussianNoise
from skintricate.layers.normalization import BatchNorm, LayerNorm, Scale
from skintricate.layers.pooling import (
    AvgPool1D,
    AvgPool2D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    MaxPool1D,
    MaxPool2D,
)
from skintricate.layers.shapes import Columns, Flatten, Reshape
from skintricate.layers.softmax import SoftMax

BY_NAME = {
    "identity": Identity,
    "relu": ReLU,
    "leaky_relu": LeakyReLU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SiLU,
    "softplus": Softplus,
    "sigmoid": Sigmoid,
    "logistic": Sigmoid,
    "tanh": TanH,
    "exponential": Exponential,
    "softmax": SoftMax,
}

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNorm",
    "Columns",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Dense",
    "Dropout",
    "Embedding",
    "EmbeddingBag",
    "Exponential",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool1D",
    "MaxPool2D",
    "Parameter",
    "ReLU",
    "Reshape",
    "Residual",
    "Scale",
    "SiLU",
    "Sigmoid",
    "SoftMax",
    "Softplus",
    "TanH",
]
