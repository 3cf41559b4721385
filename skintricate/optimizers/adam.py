"""Adam, and Adam with decoupled weight decay."""

import numpy as np

from skintricate.configurable import check_number
from skintricate.optimizers.base import Optimizer


class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba 2015).

    ``m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g^2;``
    ``w -= learning_rate * (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)``

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.001
    beta_1, beta_2 : float, default=0.9, 0.999
        In [0, 1).
    epsilon : float, default=1e-8
    clip_norm : float or None, default=None
    """

    states = ("m", "v")
    scalar_names = ("rate", "beta_1", "beta_2", "root_correction", "epsilon")
    update = """
        m = beta_1 * m + (1 - beta_1) * g;
        v = beta_2 * v + (1 - beta_2) * g * g;
        w -= rate * m / (sqrt(v) * root_correction + epsilon);
    """

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, clip_norm=None):
        self._store(learning_rate, clip_norm)
        check_number(self, "beta_1", beta_1, 0, 1, high_open=True)
        check_number(self, "beta_2", beta_2, 0, 1, high_open=True)
        check_number(self, "epsilon", epsilon, 0, low_open=True)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def scalars(self, step, learning_rate):
        with np.errstate(divide="ignore"):  # the logarithm of zero
            # 1 - beta^t, without the powers: tiny ones are slow to compute.
            first, second = (-np.expm1(step * np.log(beta)) for beta in (self.beta_1, self.beta_2))
        return {
            "rate": learning_rate / first,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "root_correction": 1 / np.sqrt(second),
            "epsilon": self.epsilon,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): ``w -= learning_rate * weight_decay * w`` first.

    Parameters
    ----------
    learning_rate : float or Schedule, default=0.001
    beta_1, beta_2 : float, default=0.9, 0.999
        In [0, 1).
    epsilon : float, default=1e-8
    weight_decay : float, default=0.01
        Not negative; biases decay too, as in the paper's algorithm.
    clip_norm : float or None, default=None
    """

    scalar_names = (*Adam.scalar_names, "decay")
    update = "w -= decay * w;" + Adam.update

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=0.01, clip_norm=None):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, clip_norm)
        check_number(self, "weight_decay", weight_decay, 0)
        self.weight_decay = weight_decay

    def scalars(self, step, learning_rate):
        return {**super().scalars(step, learning_rate), "decay": learning_rate * self.weight_decay}
