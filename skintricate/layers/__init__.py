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
from skintricate.layers.dense import Dense
from skintricate.layers.dropout import Dropout
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
    "Dense",
    "Dropout",
    "Exponential",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Parameter",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "SoftMax",
    "Softplus",
    "TanH",
]
