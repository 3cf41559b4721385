"""Networks of layers with shapes of their own: numbers, shapes, and what is kept of them."""

import pickle

import numpy as np
import pytest
from contracts import (
    EMBEDDED,
    LAYERS,
    LOSSES,
    SHAPED,
    assert_bitwise,
    assert_close,
    check_step,
    check_step_float32,
    gradient_step,
    output_layers,
    parameters_of,
    problem,
    random_weights,
    shaped_problem,
    targets_for,
    without_randomness,
)
from reference import ACTIVATIONS, Network, central_differences
from reference_layers import LAYERS as KNOWN

from skintricate import Model, layers
from skintricate.kernels import shuffled_order
from skintricate.layers import (
    Activation,
    Concatenate,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    LayerNorm,
    Reshape,
    Residual,
    TanH,
)
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam, Basic
from skintricate.training.network import all_layers, infer_shapes

# Bases of others and what an extension builds on.
ABSTRACT = {"Layer", "Activation", "Parameter"}
NETWORKS = [*SHAPED, *EMBEDDED]
FEW_WEIGHTS = [
    *EMBEDDED,
    "convolution",
    "groups",
    "sequences",
    "pooled sequences",
    "layer normalisation",
    "batch normalisation",
    "branches",
    "scale",
]


def trained(name, device, max_iter=2, **options):
    """Return a trained model with its data."""
    network, X, Y = shaped_problem(name, 11)
    model = Model(network, device=device, random_state=3, **options)
    model.fit(X, Y, batch_size=4, max_iter=max_iter, optimizer=Adam(0.01))
    return model, X, Y


def test_no_layer_escapes():
    """A new layer belongs into one of the tables: that of layers for any number of columns, or those of networks."""
    tables = [LAYERS, *(network for network, *_ in SHAPED.values()), *(network for network, *_ in EMBEDDED.values())]
    tried = {type(layer) for network in tables for layer in all_layers(network)}
    named = {getattr(layers, name) for name in set(layers.__all__) - ABSTRACT}
    assert {cls for cls in named if issubclass(cls, Layer)} <= tried


# Numbers.


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step(name, float64):
    network, X, Y = shaped_problem(name)
    check_step(without_randomness(network), X, Y, float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_in_float32(name, float64):
    network, X, Y = shaped_problem(name)
    check_step_float32(without_randomness(network), X, Y, float64)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_many_rows_with_weights_and_penalty(name, float64):
    """More rows than a block has, some of them without a weight."""
    network, X, Y = shaped_problem(name, 83)
    weight = np.arange(83) % 4 / 2
    check_step(without_randomness(network), X, Y, float64, sample_weight=weight, alpha=0.3)


@pytest.mark.parametrize("name", FEW_WEIGHTS)
def test_central_differences(name, float64):
    network, X, Y = shaped_problem(name, 5)
    loss, weights = MeanSquared(), random_weights(network, X.shape[1], scale=0.5)
    reference = Network(network, loss)
    _, gradient = gradient_step(network, weights, X, Y, loss, float64)
    differences = central_differences(lambda w: reference.objective(w, X, Y), weights)
    trained = [p[0].is_trained for p in parameters_of(network, X.shape[1])]
    pairs = [(found, wanted) for found, wanted, is_trained in zip(gradient, differences, trained) if is_trained]
    assert_close(*zip(*pairs), 2e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_shuffled_batches(name, float64):
    """Several batches take the rows of X that the epoch's order says, whatever reads them."""
    network, X, Y = shaped_problem(name, 11)
    order, fits = shuffled_order(11, 3, 0), []
    for shuffle, rows in ((True, np.arange(11)), (False, order)):
        model = Model(network, device=float64, dtype="float64", random_state=3)
        model.fit(X[rows], Y[rows], batch_size=4, max_iter=1, shuffle=shuffle, optimizer=Adam(0.01))
        fits.append(model.state.weights)
    assert_bitwise(*fits)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_an_image_as_output_of_every_loss(loss, float64):
    """The values of an image are the outputs, pixel by pixel."""
    network = [Reshape((3, 3, 1)), Conv2D(2, 2), TanH(), Conv2D(2, 1)]
    output = next(iter(output_layers(loss)))
    network += [Flatten(), output] if output is not None else []
    X, Y = np.random.default_rng(0).normal(size=(7, 9)), targets_for(loss, 7, 8, np.random.default_rng(1))
    check_step(network, X, Y, float64, loss=loss)


@pytest.mark.parametrize("l1", [0.0, 0.2])
@pytest.mark.parametrize("l2", [0.0, 0.5])
@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_penalties_of_layers(l1, l2, alpha, float64):
    """Those of a layer are added to the network's, for kernels and not for biases."""
    penalties = {"l1": l1, "l2": l2}
    network = [Reshape((4, 4, 2)), Conv2D(3, 2, **penalties), TanH(), Conv2D(3, 2), LayerNorm(), Dense(2, **penalties)]
    X, Y = problem(MeanSquared(), 7, 32, 2)
    check_step(network, X, Y, float64, alpha=alpha, sample_weight=np.arange(7) / 3)


def test_a_penalty_of_a_layer_is_alpha_where_all_have_it(float64):
    X, Y = problem(MeanSquared(), 7, 16, 2)
    steps = []
    for l2, alpha in ((0.4, 0.0), (0.0, 0.4)):
        network = [Reshape((4, 4, 1)), Conv2D(3, 2, l2=l2), TanH(), Dense(2, l2=l2)]
        weights = random_weights(network, 16)
        value, step = gradient_step(network, weights, X, Y, MeanSquared(), float64, alpha=alpha)
        steps.append([np.array(value), *step])
    assert_close(steps[0], steps[1], 1e-13)


@pytest.mark.parametrize("clip_norm", [1e-3, 0.5])
def test_a_clipped_step(clip_norm, float64):
    """The norm is that of all gradients together, of convolutions, normalisations and dense layers."""
    network, X, Y = shaped_problem("normalised images")
    network = without_randomness(network)
    weights, loss = random_weights(network, X.shape[1], scale=0.5), MeanSquared()
    gradients = Network(network, loss).gradients(weights, X, Y)
    _, steps = gradient_step(network, weights, X, Y, loss, float64, optimizer=Basic(1.0, clip_norm=clip_norm))
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    is_trained = [p[0].is_trained for p in parameters_of(network, X.shape[1])]
    found = [step for step, learned in zip(steps, is_trained) if learned]
    assert_close(found, [g * min(1, clip_norm / norm) for g, learned in zip(gradients, is_trained) if learned], 1e-9)


# Shapes.


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_of_every_layer(name, device):
    model, X, _ = trained(name, device)
    outputs = model.outputs(X)
    assert [output.shape for output in outputs] == [
        (11, *shape) for shape in infer_shapes(model.layers, X.shape[1])[1:]
    ]
    weights = [w.astype(float) for w in model.state.weights]
    expected = Network(model.layers, MeanSquared()).values(weights, X.astype("float32"))[1:]
    assert_close(outputs, expected, 1e-4)
    assert_bitwise([outputs[-1].reshape(11, -1)], [model.predict(X)])


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_of_coefs_and_intercepts(name, device):
    model, X, _ = trained(name, device, max_iter=1)
    first = [p[0] for p in parameters_of(model.layers, X.shape[1]) if p[0].is_trained]
    assert [c.shape for c in model.coefs_] == [p.shape for p in first]
    assert [b.shape for b in model.intercepts_] == [p.shape[-1:] for p in first]


def test_coefs_are_those_of_each_layer(device):
    model = Model([Reshape((5, 5, 4)), Conv2D(6, (2, 3), groups=2), Flatten(), Dense(2, use_bias=False)], device=device)
    model.fit(*problem(MeanSquared(), 5, 100, 2), max_iter=1)
    assert [c.shape for c in model.coefs_] == [(2, 3, 2, 6), (4 * 3 * 6, 2)]
    assert [b.shape for b in model.intercepts_] == [(6,), (2,)]
    assert not model.intercepts_[1].any()
    model = Model([Reshape((9, 2)), Conv1D(3, 4), Residual([LayerNorm()]), Dense(1)], device=device)
    model.fit(*problem(MeanSquared(), 5, 18, 1), max_iter=1)
    assert [c.shape for c in model.coefs_] == [(4, 2, 3), (1, 3), (18, 1)]


def test_layers_inside_of_layers_are_copies(device):
    inner = Dense(4)
    model = Model([Residual([inner]), Dense(2)], device=device)
    inner.units = 9
    assert model.layers[0].layers == [Dense(4)]


def test_equal_layers_in_several_branches_learn_by_themselves(float64):
    """Each has weights of its own, drawn by a generator of its own."""
    model = Model([Concatenate([[Dense(3)], [Dense(3)]]), Dense(1)], device=float64, random_state=0)
    model.fit(*problem(MeanSquared(), 7, 4, 1), max_iter=3)
    first, second, _ = model.coefs_
    assert not np.isclose(first, second).any()


# What is kept.


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", ["file", "pickle"])
def test_training_goes_on_after_a_round_trip(name, way, device, tmp_path):
    model, X, Y = trained(name, device)
    if way == "file":
        model.save(tmp_path / "model")
        other = Model.load(tmp_path / "model")
    else:
        other = pickle.loads(pickle.dumps(model))
    assert_bitwise([other.predict(X)], [model.predict(X)])
    for one in (model, other):
        one.fit(X, Y, batch_size=4, max_iter=2, optimizer=Adam(0.01))
    assert_bitwise(other.state.weights, model.state.weights)
    whole, *_ = trained(name, device, max_iter=4)
    assert_bitwise(model.state.weights, whole.state.weights)


def test_activations_are_those_of_the_tables():
    """What the reference does not know as a layer it takes for an activation."""
    named = {name for name in layers.__all__ if issubclass(getattr(layers, name), Layer)} - ABSTRACT
    assert {name for name in named if not issubclass(getattr(layers, name), Activation)} <= set(KNOWN)
    assert {name for name in named if issubclass(getattr(layers, name), Activation)} == set(ACTIVATIONS)
