"""Everyone that trains a case: the same data (float32), network, batches, epochs, Adam and threads.

Each function returns ``fit(X, y)``, which trains and returns the loss of the last epoch. Peers take a device of torch's
or JAX's own; the CPU if not given.
"""

import math
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skintricate import IntricateClassifier, IntricateRegressor, Model
from skintricate.layers import Dense, ReLU, Sigmoid, SoftMax, TanH
from skintricate.training import NetworkState, infer_shapes

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


def our_layers(case):
    """Return the layers of a case's classifier: a sigmoid for one output, softmax for several."""
    activation = {"relu": ReLU, "tanh": TanH}[case.activation]
    layers = []
    for units in case.sizes[1:]:
        layers += [Dense(units), activation()]
    return [*layers[:-1], Sigmoid() if case.sizes[-1] == 1 else SoftMax()]


def our_first_weights(case):
    """Return what ``our_model`` begins with: a matrix a layer, its bias the last row."""
    layers = our_layers(case)
    return NetworkState.initial(layers, infer_shapes(layers, case.sizes[0]), 0, np.float32).weights


def our_model(case, epochs, device, precision="highest"):
    """Return ``fit(X, y)`` of a bare ``Model``, which trains a new one and returns it."""
    options = {} if precision == "highest" else {"precision": precision}

    def fit(X, y):
        model = Model(our_layers(case), device=device, random_state=0, **options)
        model.fit(
            X,
            y,
            loss="binary_cross_entropy" if case.sizes[-1] == 1 else "categorical_cross_entropy",
            optimizer="adam",
            learning_rate=case.rate,
            batch_size=case.batch,
            max_iter=epochs,
            tol=0,
        )
        return model

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


def torch_data(case, X, y, device):
    """Return the data as tensors on a device, the targets as the loss takes them."""
    X, y = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
    return X, y.float()[:, None] if case.sizes[-1] == 1 else y


def torch_order(n_samples, steps, device):
    """Return the order of an epoch; that of a single step does not matter."""
    return torch.randperm(n_samples, device=device) if steps > 1 else torch.arange(n_samples, device=device)


def plain_torch(case, epochs, device="cpu"):
    """Return a plain loop with fused Adam."""

    def fit(X, y):
        network, criterion = torch_network(case)
        network, criterion = network.to(device), criterion()
        X, y = torch_data(case, X, y, device)
        adam = torch.optim.Adam(network.parameters(), lr=case.rate, fused=True)
        for _ in range(epochs):
            total = torch.zeros((), device=device)
            order = torch_order(len(X), case.steps, device)
            for begin in range(0, len(X), case.batch):
                rows = order[begin : begin + case.batch]
                adam.zero_grad()
                loss = criterion(network(X[rows]), y[rows])
                loss.backward()
                adam.step()
                total += loss.detach() * len(rows)
        return total.item() / len(X)

    return fit


class TorchGraph:
    """A training step as one CUDA graph, replayed on batches that are gathered on the GPU.

    Rows that fill no batch sit an epoch out. Fits go on from the weights of the one before.

    Parameters
    ----------
    case : Case
    device : str
        ``"cuda"`` or ``"cuda:1"``.
    """

    def __init__(self, case, device):
        self.case, self.device = case, device

    def compile(self, X, y):
        """Copy the data to the GPU and capture the step: after three on a side stream, as torch's manual has it."""
        with torch.cuda.device(self.device):
            self._X, self._y = torch_data(self.case, X, y, self.device)
            self._batch_X, self._batch_y = self._X[: self.case.batch].clone(), self._y[: self.case.batch].clone()
            self._total = torch.zeros((), device=self.device)
            network, criterion = torch_network(self.case)
            self._network, self._criterion = network.to(self.device), criterion()
            self._adam = torch.optim.Adam(network.parameters(), lr=self.case.rate, fused=True, capturable=True)
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self._adam.zero_grad(set_to_none=True)
                    self._step()
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            # Gradients that are None get memory of the graph's own, which each replay overwrites.
            self._adam.zero_grad(set_to_none=True)
            # Other libraries' threads may call CUDA meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._step()

    def __call__(self, epochs):
        """Train and return the loss of the last epoch."""
        batch, steps = self.case.batch, len(self._X) // self.case.batch
        with torch.cuda.device(self.device):
            for _ in range(epochs):
                self._total.zero_()
                order = torch_order(len(self._X), steps, self.device)
                for begin in range(0, steps * batch, batch):
                    rows = order[begin : begin + batch]
                    torch.index_select(self._X, 0, rows, out=self._batch_X)
                    torch.index_select(self._y, 0, rows, out=self._batch_y)
                    self._graph.replay()
            return self._total.item() / steps

    def _step(self):
        loss = self._criterion(self._network(self._batch_X), self._batch_y)
        loss.backward()
        self._adam.step()
        self._total.add_(loss.detach())


def skorch_net(case, epochs, device="cpu"):
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
            device=device,
        )
        net.fit(X, y.astype(np.float32)[:, None] if case.sizes[-1] == 1 else y)
        return net.history[-1]["train_loss"]

    return fit


class JaxScan:
    """The whole training as one compiled scan over epochs and steps; rows that fill no batch sit an epoch out.

    Parameters
    ----------
    case : Case
    epochs : int
        Of one scan.
    precision : str, default=None
        Of the products; JAX's own choice (tf32 on a GPU that has it) if None.
    models : int, default=None
        Networks that are trained at once, each with weights and orders of its own; one if None.

    Attributes
    ----------
    compile_seconds : float
        Of the last ``compile``; not part of a fit's time.
    """

    def __init__(self, case, epochs, precision=None, models=None):
        self.case, self.epochs, self.precision = case, epochs, precision
        self._lead = () if models is None else (models,)

    def compile(self, X, y):
        """Compile the training for these shapes."""
        started = time.perf_counter()
        train = jax.vmap(self._train, in_axes=(0, None, None, 0)) if self._lead else self._train
        self._first = self._start()
        with jax.default_matmul_precision(self.precision):
            lowered = jax.jit(train).lower(self._first, X, self._targets(y), self._key())
            self._run = lowered.compile()
        self.compile_seconds = time.perf_counter() - started

    def __call__(self, X, y, scans=1):
        """Train for so many scans and return the loss of the last epoch."""
        X, y = jax.device_put((X, self._targets(y)))
        state, key = self._first, self._key()
        for _ in range(scans):
            state, losses, key = self._run(state, X, y, key)
        return float(losses[..., -1, :].mean())

    def _targets(self, y):
        return y.astype(np.float32 if self.case.sizes[-1] == 1 else np.int32)

    def _key(self):
        key = jax.random.key(0)
        return jax.random.split(key, self._lead) if self._lead else key

    def _start(self):
        """Return parameters, both moments and the number of steps."""
        generator = np.random.default_rng(0)
        parameters = [
            (
                generator.uniform(-1, 1, (*self._lead, i, o)).astype(np.float32) * np.float32(math.sqrt(6 / (i + o))),
                np.zeros((*self._lead, o), np.float32),
            )
            for i, o in zip(self.case.sizes, self.case.sizes[1:])
        ]
        zeros = jax.tree.map(np.zeros_like, parameters)
        return parameters, zeros, zeros, np.zeros(self._lead, np.float32)

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

    def _train(self, state, X, y, key):
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

        keys = jax.random.split(key, self.epochs + 1)
        state, losses = jax.lax.scan(epoch, state, keys[1:])
        return state, losses, keys[0]
