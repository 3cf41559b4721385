"""The tables that collect every class of the package, and problems to try them on.

The tables are read from ``BY_NAME``, so that a new class is tested without a new test.
"""

import copy

import numpy as np
from reference import Network, one_hot

from skintricate import Model, initializers, layers, losses, optimizers
from skintricate.initializers import NormalRandom
from skintricate.layers import (
    GELU,
    Activation,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Columns,
    Concatenate,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    EmbeddingBag,
    Exponential,
    Flatten,
    GaussianNoise,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    ReLU,
    Reshape,
    Residual,
    Scale,
    Sigmoid,
    SiLU,
    SoftMax,
    Softplus,
    TanH,
)
from skintricate.losses import MeanSquared
from skintricate.optimizers import Basic
from skintricate.training import NetworkState, infer_shapes
from skintricate.training.network import all_layers, matrices, walk

SEED = 11


def classes(module):
    """Return every class that a subpackage's table names, once."""
    return list(dict.fromkeys(module.BY_NAME.values()))


# Beside the defaults, values at which a forgotten hyper-parameter shows.
UNUSUAL = [
    layers.LeakyReLU(0.3),
    layers.ELU(0.4),
    losses.Huber(0.2),
    losses.Quantile(0.8),
    initializers.Constant(0.25),
    initializers.UniformRandom(-0.4, 0.1),
    initializers.LimitedRandom(0.3),
    initializers.NormalRandom(0.1, 0.3),
    optimizers.Momentum(0.05, 0.6),
    optimizers.Nesterov(0.05, 0.6),
    optimizers.Adagrad(0.2, 1e-3),
    optimizers.RMSprop(0.01, 0.7, 1e-3),
    optimizers.Adam(0.02, 0.6, 0.8, 1e-3),
    optimizers.AdamW(0.02, 0.6, 0.8, 1e-3, 0.3),
]


def instances(module):
    """Return an instance of every class of a table, and of some with unusual parameters."""
    known = classes(module)
    return [cls() for cls in known] + [thing for thing in UNUSUAL if type(thing) in known]


ACTIVATIONS = [layer for layer in instances(layers) if isinstance(layer, Activation)]
# Those that take any number of columns, behind each other too.
LAYERS = [
    *instances(layers),
    *[Dense(4), Dense(3, use_bias=False), Dense(3, l1=0.01, l2=0.1), Dropout(0.3), GaussianNoise(0.2)],
    *[Scale(), LayerNorm(), LayerNorm(0.1), BatchNorm(), BatchNorm(0.5, 0.1)],
    *[EmbeddingBag(3), Flatten(), Reshape((-1,)), Columns(0), Columns(0, 2)],
    *[Residual([TanH()]), Residual([Scale(), Dropout(0.3)])],
    *[Concatenate([[Dense(3)], [TanH()]]), Concatenate([[Columns(0, 2), Dense(3), TanH()], [Columns(1)], []])],
]
LOSSES = instances(losses)
OPTIMIZERS = instances(optimizers)
INITIALIZERS = instances(initializers)
# Those that need an image, a sequence or categories.
IMAGE_LAYERS = [
    *[Reshape((4, 3, -1)), Conv2D(3, 2), Conv2D(4, (2, 3), (1, 2), (0, 1), 2, 2, initializers.HeNormal(), l1=0.1)],
    *[Conv2D(4, 3, padding="same", use_bias=False), Conv1D(3, 2), Conv1D(4, 3, 2, 1, 2, 2, l2=0.1)],
    *[MaxPool2D(), MaxPool2D((2, 3), 1, 1), AvgPool2D(), AvgPool2D(3, (2, 1), "same"), GlobalAvgPool2D()],
    *[MaxPool1D(), MaxPool1D(3, 1, 1), AvgPool1D(), AvgPool1D(3, 2, "same"), GlobalAvgPool1D()],
    *[Embedding(5, 2), Embedding([5, 3], 2, initializers.Constant(0.5))],
]
EVERYTHING = [*LAYERS, *IMAGE_LAYERS, *LOSSES, *OPTIMIZERS, *INITIALIZERS]


# Networks of layers with shapes of their own: layers, features, outputs. Channels and sizes that divide nothing, some
# wider than a panel.
SHAPED = {
    "convolution": ([Reshape((6, 5, 1)), Conv2D(3, 3), TanH(), Dense(2)], 30, 2),
    "two convolutions": (
        [Reshape((6, 5, 2)), Conv2D(3, 3, padding="same"), TanH(), Conv2D(4, 2, stride=2), SiLU(), Dense(2)],
        60,
        2,
    ),
    "strides and dilation": (
        [
            *[Reshape((7, 6, 2)), Conv2D(20, 3, stride=2, padding="same"), TanH()],
            *[Conv2D(52, (2, 3), padding=1, dilation=2, l2=0.1, l1=0.01), TanH(), Conv2D(3, 1), Flatten(), Dense(2)],
        ],
        84,
        2,
    ),
    "strides beyond the window": (
        [Reshape((9, 7, 2)), Conv2D(5, 2, stride=3), GELU(), Conv2D(3, 2, stride=(2, 1), padding=(1, 0)), Dense(2)],
        126,
        2,
    ),
    "groups": (
        [
            *[Reshape((6, 6, 4)), Conv2D(8, 3, groups=4), TanH(), Conv2D(8, 3, groups=8, padding=1), TanH()],
            *[Conv2D(4, 2, groups=2, use_bias=False), Dense(2)],
        ],
        144,
        2,
    ),
    "more padding than windows": (
        [
            *[Reshape((2, 2, 1)), Conv2D(3, 7, padding="same"), TanH(), Reshape((4, 3)), Conv1D(2, 5, padding="same")],
            *[Reshape((4, 2)), Conv1D(3, 3, padding="same", dilation=4), TanH(), Reshape((3, 4))],
            *[Conv1D(3, 9, padding=3), Dense(2)],
        ],
        4,
        2,
    ),
    "sequences": ([Reshape((12, 2)), Conv1D(5, 3, stride=2, padding=1), TanH(), Conv1D(3, 3), Dense(2)], 24, 2),
    "pooled sequences": (
        [
            *[Reshape((13, 2)), MaxPool1D(2, 1), Conv1D(5, 3, padding="same"), ReLU(), MaxPool1D(2), Conv1D(4, 2)],
            *[TanH(), MaxPool1D(3, 1, 1), AvgPool1D(2, padding="same"), Scale(), GlobalAvgPool1D(), Dense(2)],
        ],
        26,
        2,
    ),
    "pooling": (
        [
            Reshape((6, 6, 2)),
            Conv2D(5, 3, padding=1),
            ReLU(),
            MaxPool2D(2),
            Conv2D(3, 2),
            MaxPool2D(2, stride=1),
            Dense(2),
        ],
        72,
        2,
    ),
    "pooling X": (
        [Reshape((5, 5, 2)), MaxPool2D(3, 2, 1), Conv2D(5, 2), TanH(), AvgPool2D(2, padding="same"), Dense(2)],
        50,
        2,
    ),
    "means": (
        [
            *[Reshape((7, 7, 2)), Conv2D(5, 2), TanH(), AvgPool2D(3, stride=2, padding=1), Conv2D(4, 2), TanH()],
            *[GlobalAvgPool2D(), Dense(2)],
        ],
        98,
        2,
    ),
    "windows with gaps": (
        [Reshape((7, 7, 2)), Conv2D(5, 2), TanH(), MaxPool2D(2, 3), AvgPool2D(1, 2), Dense(2)],
        98,
        2,
    ),
    "images of numbers": (
        [Dense(9), TanH(), Reshape((3, 3, 1)), Conv2D(4, 2), TanH(), Reshape((4, 4)), TanH(), Dense(2)],
        3,
        2,
    ),
    "scale": ([Scale(), Dense(4), TanH(), Scale(), Dense(2)], 3, 2),
    "layer normalisation": ([LayerNorm(), Dense(20), TanH(), LayerNorm(1e-3), Dense(2)], 6, 2),
    "batch normalisation": ([BatchNorm(), Dense(20), TanH(), BatchNorm(0.7, 1e-3), ReLU(), Dense(2)], 6, 2),
    "normalised images": (
        [
            Reshape((4, 4, 2)),
            BatchNorm(),
            Conv2D(17, 2),
            TanH(),
            BatchNorm(),
            LayerNorm(),
            Dropout(0.2),
            Scale(),
            Dense(2),
        ],
        32,
        2,
    ),
    "residual": (
        [
            *[Residual([Dense(6), TanH(), Dense(6)]), Dense(6), TanH(), Residual([Dense(6), TanH(), Dense(6), TanH()])],
            *[GaussianNoise(0.1), Residual([Dropout(0.1)]), Dense(2)],
        ],
        6,
        2,
    ),
    "branches": (
        [
            *[Concatenate([[Columns(0, 2), Dense(3), TanH()], [Columns(2)], []]), Dense(5), TanH()],
            *[Concatenate([[Dense(3), TanH()], [Columns(1, 3)], [], [Residual([Dense(5)])]]), Dense(2)],
        ],
        6,
        2,
    ),
    "branches of X in other shapes": (
        [
            Concatenate([[Reshape((3, 2))], [Reshape((3, 2)), Dropout(0.2)], [Reshape((3, 2)), Conv1D(3, 1)]]),
            *[TanH(), Concatenate([[Reshape((7, 3))], [Flatten(), Dense(7), Reshape((7, 1))]]), Dense(2)],
        ],
        6,
        2,
    ),
    "branches of images": (
        [
            *[Reshape((4, 4, 2)), Conv2D(3, 2, padding="same"), TanH()],
            Concatenate([[Conv2D(2, 1)], [Conv2D(3, 3, padding=1), SiLU()], []]),
            *[Residual([Conv2D(8, 3, padding="same"), TanH()]), GlobalAvgPool2D()],
        ],
        32,
        8,
    ),
    "an image at the end": ([Reshape((4, 4, 1)), Conv2D(2, 3), TanH()], 16, 8),
}


# Networks on categories: layers, the vocabulary of each column of X (None for one of numbers), outputs.
EMBEDDED = {
    "one vocabulary": ([Embedding(5, 3), TanH(), Dense(2)], (5, 5, 5), 2),
    "vocabularies": ([Embedding([7, 3, 4], 20, NormalRandom(0.0, 0.5)), Flatten(), Dense(2)], (7, 3, 4), 2),
    "categories and numbers": (
        [
            Concatenate([[Columns(0, 2), Embedding([7, 3], 4), Flatten()], [Columns(2), LayerNorm()]]),
            *[Dense(5), TanH(), Dense(2)],
        ],
        (7, 3, None, None, None),
        2,
    ),
    "words": ([Embedding(9, 4), Conv1D(5, 3), TanH(), Residual([Conv1D(5, 1)]), Dense(2)], 6 * (9,), 2),
}


def shaped_problem(name, n_samples=7, seed=0):
    """Return layers of one of the two tables, inputs that suit them, and real targets."""
    if name in SHAPED:
        network, n_features, n_outputs = SHAPED[name]
        X, Y = problem(losses.MeanSquared(), n_samples, n_features, n_outputs, seed)
        return network, 0.7 * X, Y
    network, vocabularies, n_outputs = EMBEDDED[name]
    X, Y = problem(losses.MeanSquared(), n_samples, len(vocabularies), n_outputs, seed)
    generator = np.random.default_rng(seed)
    for column, size in enumerate(vocabularies):
        if size is not None:
            X[:, column] = generator.integers(-1, size + 1, n_samples)  # the first and the last are not in it
    return network, X, Y


def output_layers(loss):
    """Return the output activations after which a loss has a meaning; None is a linear output."""
    positive = [Exponential(), Softplus(), Sigmoid(), SoftMax()]
    if isinstance(loss, losses.BinaryCrossEntropy):
        return [Sigmoid(), None, *ACTIVATIONS]
    return {"real": [None, SoftMax(), *ACTIVATIONS], "count": positive, "probability": [SoftMax(), Sigmoid()]}[
        loss.targets
    ]


def targets_for(loss, n_samples, n_outputs, generator):
    """Return a matrix of targets that suit a loss."""
    if isinstance(loss, losses.CategoricalCrossEntropy):
        return one_hot(generator.integers(n_outputs, size=n_samples), n_outputs)
    if loss.targets == "probability":
        return generator.integers(2, size=(n_samples, n_outputs)).astype(float)
    if loss.targets == "count":
        return generator.poisson(2.0, (n_samples, n_outputs)).astype(float)
    return generator.normal(size=(n_samples, n_outputs))


def problem(loss, n_samples=7, n_features=3, n_outputs=3, seed=0):
    """Return inputs and targets that suit a loss."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_samples, n_features)), targets_for(loss, n_samples, n_outputs, generator)


def initial_weights(network, n_features, seed=SEED, dtype="float64"):
    """Return the weights that a model of this seed starts from."""
    return NetworkState.initial(network, infer_shapes(network, n_features), seed, dtype).weights


def parameters_of(network, n_features):
    """Return what each array of weights holds, a list of ``Parameter`` for each."""
    nodes = walk(network, (n_features,))
    return [parameters for node in nodes for parameters in matrices(node.layer, node.input_shape)]


def random_weights(network, n_features, seed=0, scale=0.7):
    """Return weights and biases that are all different from zero; what is only kept may be a variance."""
    generator = np.random.default_rng(seed)
    weights = [generator.normal(0, scale, w.shape) for w in initial_weights(network, n_features)]
    trained = [parameters[0].is_trained for parameters in parameters_of(network, n_features)]
    return [w if is_trained else np.abs(w) + 0.3 for w, is_trained in zip(weights, trained)]


def model_with(network, weights, device, dtype="float64", seed=SEED, n_features=None):
    """Return a model that starts from given weights; ``n_features`` is told by them where a dense layer comes first."""
    model = Model(network, device=device, dtype=dtype, random_state=seed)
    model.state = NetworkState([np.asarray(w, dtype) for w in weights], seed=seed)
    if n_features is None:
        n_features = len(weights[0]) - getattr(first_dense(network), "use_bias", True)
    model.n_features_in_ = n_features
    return model


def first_dense(network):
    """Return the first dense layer."""
    return next(layer for layer in network if isinstance(layer, Dense))


def gradient_step(network, weights, X, y, loss, device, **options):
    """Return the loss at the weights and its gradient, as one step of plain descent of rate 1 reveals them."""
    model = model_with(network, weights, device, n_features=np.shape(X)[1])
    options = {"optimizer": Basic(1.0), "batch_size": len(X), "max_iter": 1, "shuffle": False, **options}
    history = model.fit(X, y, loss=loss, **options)
    return history.loss[0], [before - after for before, after in zip(weights, model.state.weights)]


def without_randomness(network):
    """Return copies of layers that drop nothing and add no noise, as a reference without masks computes them."""
    network = copy.deepcopy(network)
    for layer in all_layers(network):
        if isinstance(layer, Dropout):
            layer.rate = 0.0
        elif isinstance(layer, GaussianNoise):
            layer.stddev = 0.0
    return network


def check_step(network, X, Y, device, *, loss=None, seed=0, scale=0.5, tolerance=1e-9, **options):
    """Compare prediction, loss and one step of a network in float64 with the reference; return the weights."""
    loss, weights = loss or MeanSquared(), random_weights(network, X.shape[1], seed, scale)
    reference, sample_weight = Network(network, loss, options.get("alpha", 0.0)), options.get("sample_weight")
    value, steps = gradient_step(network, weights, X, Y, loss, device, **options)
    np.testing.assert_allclose(value, reference.objective(weights, X, Y, sample_weight), rtol=1e-11)
    assert_close(steps, expected_steps(reference, weights, X, Y, sample_weight), tolerance)
    predicted = model_with(network, weights, device, n_features=X.shape[1]).predict(X)
    assert_close([predicted], [reference.values(weights, X)[-1].reshape(len(X), -1)], tolerance)
    return weights


def check_step_float32(network, X, Y, device, *, seed=0, scale=0.3, tolerance=1e-4):
    """Compare prediction and one step of a network in float32 with the reference."""
    X, Y = (a.astype("float32").astype(float) for a in (X, Y))
    weights = [w.astype("float32").astype(float) for w in random_weights(network, X.shape[1], seed, scale)]
    reference = Network(network, MeanSquared())
    model = model_with(network, weights, device, "float32", n_features=X.shape[1])
    assert_close([model.predict(X)], [reference.values(weights, X)[-1].reshape(len(X), -1)], tolerance)
    model.fit(X, Y, optimizer=Basic(1.0), batch_size=len(X), max_iter=1, shuffle=False)
    expected = [w - step for w, step in zip(weights, expected_steps(reference, weights, X, Y))]
    assert_close(model.state.weights, expected, tolerance)


def expected_steps(reference, weights, X, Y, sample_weight=None):
    """Return what a step of plain descent of rate 1 takes from each array, running statistics included."""
    trained = [w - g for w, g in zip(weights, reference.gradients(weights, X, Y, sample_weight))]
    return [before - after for before, after in zip(weights, reference.with_running(weights, X, trained))]


def assert_close(found, expected, relative=1e-10):
    """Assert that two lists of arrays are equal to a tolerance relative to each array's largest value."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        scale = max(np.abs(b).max(initial=0), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=relative * scale)


def flat(lists):
    """Return the arrays of several lists in one."""
    return [array for arrays in lists for array in arrays]


def assert_bitwise(found, expected):
    """Assert that two lists of arrays are the same in every bit."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b, strict=True)
