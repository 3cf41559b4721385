"""Networks in float64 NumPy, written from the maths: what the engine is compared with.

Nothing is shared with the engine but the objects that describe a network. Derivatives are those of
the textbooks, in the input of each function; the softmax goes through its full Jacobian. What each
layer does is in ``reference_layers.py``.
"""

import numpy as np
from reference_layers import ACTIVATIONS, Pass, chain, kind
from scipy import special

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "OPTIMIZERS",
    "Descent",
    "Network",
    "central_differences",
    "kind",
    "one_hot",
    "train",
]


def _huber(y, t, delta):
    error = np.abs(y - t)
    return np.where(error <= delta, error**2 / 2, delta * (error - delta / 2))


def _binary_cross_entropy(logit, t):
    return -t * special.log_expit(logit) - (1 - t) * special.log_expit(-logit)


def _inside(y):
    return (y >= 1e-7) & (y <= 1)


# Class name: value and derivative for every output, as functions of output, target and parameters.
LOSSES = {
    "MeanSquared": (lambda y, t: (y - t) ** 2, lambda y, t: 2 * (y - t)),
    "MeanAbsolute": (lambda y, t: np.abs(y - t), lambda y, t: np.sign(y - t)),
    "MeanBias": (lambda y, t: y - t, lambda y, t: np.ones_like(y)),
    "Huber": (_huber, lambda y, t, delta: np.clip(y - t, -delta, delta)),
    "Quantile": (
        lambda y, t, quantile: np.maximum(quantile * (t - y), (quantile - 1) * (t - y)),
        lambda y, t, quantile: np.where(t > y, -quantile, np.where(t < y, 1 - quantile, 0)),
    ),
    "Poisson": (lambda y, t: y - special.xlogy(t, y), lambda y, t: 1 - t / y),
    "CategoricalCrossEntropy": (
        lambda y, t: -special.xlogy(t, np.clip(y, 1e-7, 1)),
        lambda y, t: np.where(_inside(y), -t / np.clip(y, 1e-7, 1), 0),
    ),
    "BinaryCrossEntropy": (_binary_cross_entropy, lambda y, t: special.expit(y) - t),
}
# These sum over a sample's outputs; the others average.
SUMMED = {"CategoricalCrossEntropy", "BinaryCrossEntropy"}


def one_hot(codes, n_classes):
    """Return class codes as rows of zeros with a one."""
    return np.eye(n_classes)[np.asarray(codes, int)]


class Network:
    """Forward pass, loss and gradients of a list of layers.

    Weights are a list of ``(I + 1, O)`` arrays whose last row is the bias (``(I, O)`` without one); those of a kernel
    of a convolution have a row for each pixel of a window and channel. A normalisation has its factors and shifts in
    one array; running means and variances are another one, whose gradient is zero. The arrays of layers inside of a
    layer come in their order. ``masks`` are the factors of each ``Dropout`` layer, in order; None leaves dropout out.
    """

    def __init__(self, layers, loss, alpha=0.0):
        self.layers, self.loss, self.alpha = list(layers), loss, alpha

    def values(self, weights, X, masks=None):
        """Return the input and the output of every layer, as a prediction has them."""
        return chain(self.layers, np.asarray(X, float), Pass(weights, masks))[0]

    def sample_losses(self, values, Y):
        """Return the loss of each sample from the values of all layers."""
        y, last = values[-1].reshape(len(Y), -1), kind(self.layers[-1])
        if kind(self.loss) == "CategoricalCrossEntropy" and last == "SoftMax":
            logits = values[-2]
            return (Y * (special.logsumexp(logits, axis=1, keepdims=True) - logits)).sum(axis=1)
        if kind(self.loss) == "BinaryCrossEntropy" and last == "Sigmoid":
            y = values[-2].reshape(len(Y), -1)
        losses = LOSSES[kind(self.loss)][0](y, Y, **self.loss.get_params())
        return losses.sum(axis=1) if kind(self.loss) in SUMMED else losses.mean(axis=1)

    def objective(self, weights, X, Y, sample_weight=None, masks=None):
        """Return the loss of a batch: weighted mean plus penalty."""
        sample_weight = np.ones(len(X)) if sample_weight is None else sample_weight
        values, _, shared = self._train(weights, X, sample_weight, masks)
        return sample_weight @ self.sample_losses(values, Y) / sample_weight.sum() + shared.penalty

    def accuracy(self, weights, X, Y, sample_weight=None):
        """Return the weighted share of right classes, or of right yes-or-no outputs, of a batch."""
        y = self._train(weights, X)[0][-1].reshape(len(Y), -1)
        if kind(self.loss) == "CategoricalCrossEntropy":
            right = y.argmax(axis=1) == Y.argmax(axis=1)
        else:
            threshold = 0.5 if kind(self.layers[-1]) == "Sigmoid" else 0.0
            right = ((y > threshold) == (Y > 0.5)).mean(axis=1)
        return np.average(right, weights=sample_weight)

    def gradients(self, weights, X, Y, sample_weight=None, masks=None):
        """Return the gradient of the objective by every weight array."""
        sample_weight = np.ones(len(X)) if sample_weight is None else sample_weight
        values, back, _ = self._train(weights, X, sample_weight, masks)
        gradient = self._output_gradient(values, Y) * sample_weight[:, None] / sample_weight.sum()
        return back(gradient.reshape(values[-1].shape))[1]

    def with_running(self, weights, X, trained):
        """Return trained weights, with the running statistics that a batch makes of those in ``weights``."""
        after = self._train(weights, X)[2].after
        return [new if kept is before else kept for before, kept, new in zip(weights, after, trained)]

    def _train(self, weights, X, sample_weight=None, masks=None):
        """Return the values of all layers as training has them, the way back, and the pass."""
        total = len(X) if sample_weight is None else sample_weight.sum()
        shared = Pass(weights, masks, training=True, alpha=self.alpha, total=total)
        return *chain(self.layers, np.asarray(X, float), shared), shared

    def _output_gradient(self, values, Y):
        """Return the derivative of each sample's loss by its outputs."""
        y, last = values[-1].reshape(len(Y), -1), kind(self.layers[-1])
        if kind(self.loss) == "CategoricalCrossEntropy" and last == "SoftMax":
            return -Y / y
        if kind(self.loss) == "BinaryCrossEntropy" and last == "Sigmoid":
            return (y - Y) / (y * (1 - y))
        gradient = LOSSES[kind(self.loss)][1](y, Y, **self.loss.get_params())
        return gradient if kind(self.loss) in SUMMED else gradient / y.shape[1]


def central_differences(function, weights, step=1e-6):
    """Return the derivative of a function of weights by each of them, from its values alone."""
    weights = [w.copy() for w in weights]
    result = [np.zeros_like(w) for w in weights]
    for w, derivative in zip(weights, result):
        for place in np.ndindex(w.shape):
            value = w[place]
            w[place] = value + step
            above = function(weights)
            w[place] = value - step
            derivative[place] = (above - function(weights)) / (2 * step)
            w[place] = value
    return result


# Optimizers: (weight, gradient, memory, number of the step from 1, rate, parameters) -> weight.


def _basic(w, g, memory, t, rate):
    return w - rate * g


def _momentum(w, g, memory, t, rate, momentum):
    memory["velocity"] = momentum * memory.get("velocity", 0) - rate * g
    return w + memory["velocity"]


def _nesterov(w, g, memory, t, rate, momentum):
    # Sutskever's form: the weights kept are those looked ahead to, theta + momentum * velocity.
    velocity = memory.get("velocity", np.zeros_like(w))
    theta = w - momentum * velocity
    velocity = momentum * velocity - rate * g
    memory["velocity"] = velocity
    return theta + velocity + momentum * velocity


def _adagrad(w, g, memory, t, rate, epsilon):
    memory["squares"] = memory.get("squares", 0) + g**2
    return w - rate * g / (np.sqrt(memory["squares"]) + epsilon)


def _rmsprop(w, g, memory, t, rate, rho, epsilon):
    memory["squares"] = rho * memory.get("squares", 0) + (1 - rho) * g**2
    return w - rate * g / (np.sqrt(memory["squares"]) + epsilon)


def _adam(w, g, memory, t, rate, beta_1, beta_2, epsilon):
    memory["m"] = beta_1 * memory.get("m", 0) + (1 - beta_1) * g
    memory["v"] = beta_2 * memory.get("v", 0) + (1 - beta_2) * g**2
    m, v = memory["m"] / (1 - beta_1**t), memory["v"] / (1 - beta_2**t)
    return w - rate * m / (np.sqrt(v) + epsilon)


def _adamw(w, g, memory, t, rate, weight_decay, **adam):
    return _adam(w - rate * weight_decay * w, g, memory, t, rate, **adam)


OPTIMIZERS = {
    "Basic": _basic,
    "Momentum": _momentum,
    "Nesterov": _nesterov,
    "Adagrad": _adagrad,
    "RMSprop": _rmsprop,
    "Adam": _adam,
    "AdamW": _adamw,
}


class Descent:
    """An optimizer's memory, and its steps; ``rates`` are the learning rates of a schedule."""

    def __init__(self, optimizer, rates=None):
        params = optimizer.get_params(deep=False)
        rate, self._clip_norm = params.pop("learning_rate"), params.pop("clip_norm")
        self._rates = rates if rates is not None else (lambda step: rate)
        self._update, self._params = OPTIMIZERS[kind(optimizer)], params
        self._memory, self._step = {}, 0

    def step(self, weights, gradients):
        """Return the weights after one step."""
        rate = self._rates(self._step)
        self._step += 1
        if self._clip_norm is not None:
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, self._clip_norm / norm) for g in gradients]
        return [
            self._update(w, g, self._memory.setdefault(place, {}), self._step, rate, **self._params)
            for place, (w, g) in enumerate(zip(weights, gradients))
        ]


def train(network, weights, X, Y, descent, orders, batch_size, sample_weight=None):
    """Train over the orders of as many epochs; return the weights, step losses and step accuracies."""
    sample_weight = np.ones(len(X)) if sample_weight is None else sample_weight
    losses, accuracies = [], []
    for order in orders:
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            batch = X[rows], Y[rows], sample_weight[rows]
            losses.append(network.objective(weights, *batch))
            accuracies.append(network.accuracy(weights, *batch))
            trained = descent.step(weights, network.gradients(weights, *batch))
            weights = network.with_running(weights, X[rows], trained)
    return weights, np.array(losses), np.array(accuracies)
