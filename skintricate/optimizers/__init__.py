"""How a step changes the parameters."""

from skintricate.optimizers.adagrad import Adagrad
from skintricate.optimizers.adam import Adam, AdamW
from skintricate.optimizers.base import Optimizer
from skintricate.optimizers.basic import Basic
from skintricate.optimizers.momentum import Momentum, Nesterov
from skintricate.optimizers.rmsprop import RMSprop
from skintricate.optimizers.schedules import ConstantRate, CosineRate, ExponentialRate, Schedule, StepRate

BY_NAME = {
    "basic": Basic,
    "sgd": Basic,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}

__all__ = [
    "Adagrad",
    "Adam",
    "AdamW",
    "Basic",
    "ConstantRate",
    "CosineRate",
    "ExponentialRate",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "StepRate",
]
