"""Everyone that trains a case: the same data (float32), network, batches, epochs, Adam and threads.

Each function returns ``fit(X, y)``, which trains and returns the loss of the last epoch.
"""

import math
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skintricate import IntricateClassifier, IntricateRegressor

try:
    import torch
except ImportError:
    torch = None
try:
    import skorch
except ImportError:
    skorch = None
try:
    import jax
except ImportError:
    jax = None


def ours(case, epochs, device, **options):
    """Return a fit of skintricate on a device."""
    cls = IntricateRegressor if case.is_regression else IntricateClassifier
    options = {"n_iter_no_change": None, **options}

    def fit(X, y, **validation):
        network = cls(
            case.hidden,
            activation=case.activation,
            learning_rate=case.rate,
            batch_size=case.batch,
            max_iter=epochs,
            random_state=0,
            device=device,
            **options,
        )
        return network.fit(X, y, **validation).loss_

    return fit


def scikit_learn(case, epochs):
    """Return a fit of MLPClassifier or MLPRegressor."""
    cls = MLPRegressor if case.is_regression else MLPClassifier

    def fit(X, y):
        network = cls(
            hidden_layer_sizes=case.hidden,
            activation=case.activation,
            learning_rate_init=case.rate,
            batch_size=case.batch,
            max_iter=epochs,
            n_iter_no_change=epochs,
            tol=0.0,
            alpha=0.0,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed
            network.fit(X, y)
        # MLPRegressor's loss is half the mean of the squares.
        return network.loss_curve_[-1] * (2 if case.is_regression else 1)

    return fit


def torch_network(case):
    """Return the network and the loss in torch."""
    torch.manual_seed(0)
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[case.activation]
    layers = []
    for n_inputs, units in zip(case.sizes, case.sizes[1:]):
        dense = torch.nn.Linear(n_inputs, units)
        torch.nn.init.xavier_uniform_(dense.weight)
        torch.nn.init.zeros_(dense.bias)
        layers += [dense, activation()]
    if case.is_regression:
        criterion = torch.nn.MSELoss
    else:
        criterion = torch.nn.BCEWithLogitsLoss if case.sizes[-1] == 1 else torch.nn.CrossEntropyLoss
    return torch.nn.Sequential(*layers[:-1]), criterion


def plain_torch(case, epochs):
    """Return a plain loop with fused Adam."""

    def fit(X, y):
        network, criterion = torch_network(case)
        criterion = criterion()
        X, y = torch.from_numpy(X), torch.from_numpy(y)
        y = y.float()[:, None] if case.sizes[-1] == 1 else y
        adam = torch.optim.Adam(network.parameters(), lr=case.rate, fused=True)
        for _ in range(epochs):
            total = torch.zeros(())
            order = torch.randperm(len(X))
            for begin in range(0, len(X), case.batch):
                rows = order[begin : begin + case.batch]
                adam.zero_grad()
                loss = criterion(network(X[rows]), y[rows])
                loss.backward()
                adam.step()
                total += loss.detach() * len(rows)
            last = total.item() / len(X)
        return last

    return fit


def skorch_net(case, epochs):
    """Return a fit of skorch's NeuralNet around the same torch network."""

    def fit(X, y):
        network, criterion = torch_network(case)
        net = skorch.NeuralNet(
            network,
            criterion,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            lr=case.rate,
            batch_size=case.batch,
            max_epochs=epochs,
            train_split=None,
            iterator_train__shuffle=True,
            callbacks__print_log=None,
        )
        net.fit(X, y.astype(np.float32)[:, None] if case.sizes[-1] == 1 else y)
        return net.history[-1]["train_loss"]

    return fit


class JaxScan:
    """The whole training as one compiled scan over epochs and steps; rows that fill no batch sit an epoch out.

    Attributes
    ----------
    compile_seconds : float
        Of the last ``compile``; not part of a fit's time.
    """

    def __init__(self, case, epochs):
        self.case, self.epochs = case, epochs

    def compile(self, X, y):
        """Compile the training for these shapes."""
        started = time.perf_counter()
        self._run = jax.jit(self._train).lower(self._start(), X, y, jax.random.key(0)).compile()
        self.compile_seconds = time.perf_counter() - started

    def __call__(self, X, y):
        losses = self._run(self._start(), X, y, jax.random.key(0))[1]
        return float(losses[-1].mean())

    def _start(self):
        generator = np.random.default_rng(0)
        return [
            (
                generator.uniform(-1, 1, (i, o)).astype(np.float32) * np.float32(math.sqrt(6 / (i + o))),
                np.zeros(o, np.float32),
            )
            for i, o in zip(self.case.sizes, self.case.sizes[1:])
        ]

    def _loss(self, parameters, X, y):
        numpy = jax.numpy
        activation = {"relu": jax.nn.relu, "tanh": numpy.tanh}[self.case.activation]
        for weights, bias in parameters[:-1]:
            X = activation(X @ weights + bias)
        weights, bias = parameters[-1]
        z = X @ weights + bias
        if self.case.is_regression:
            return numpy.mean((z[:, 0] - y) ** 2)
        if self.case.sizes[-1] == 1:
            return numpy.mean(numpy.logaddexp(0, z[:, 0]) - y * z[:, 0])
        return -numpy.mean(numpy.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1))

    def _train(self, parameters, X, y, key):
        numpy, tree = jax.numpy, jax.tree
        n, batch, rate = len(X), self.case.batch, self.case.rate
        steps = n // batch

        def step(state, rows):
            parameters, m, v, t = state
            t = t + 1
            loss, gradient = jax.value_and_grad(self._loss)(parameters, X[rows], y[rows])
            m = tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
            v = tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
            first, second = 1 - 0.9**t, 1 - 0.999**t
            parameters = tree.map(
                lambda p, m, v: p - rate * (m / first) / (numpy.sqrt(v / second) + 1e-8), parameters, m, v
            )
            return (parameters, m, v, t), loss

        def epoch(state, key):
            order = jax.random.permutation(key, n) if steps > 1 else numpy.arange(n)
            return jax.lax.scan(step, state, order[: steps * batch].reshape(steps, batch))

        zeros = tree.map(numpy.zeros_like, parameters)
        state = (parameters, zeros, zeros, numpy.float32(0))
        state, losses = jax.lax.scan(epoch, state, jax.random.split(key, self.epochs))
        return state[0], losses
