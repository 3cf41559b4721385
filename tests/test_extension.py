"""Classes of one's own: a few lines of OpenCL C each, fused like the built-in ones."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import reference
from contracts import (
    assert_bitwise,
    assert_close,
    check_step,
    check_step_float32,
    gradient_step,
    model_with,
    problem,
    random_weights,
)
from reference import Descent, Network, central_differences, train
from reference_layers import LAYERS, chain

from skintricate import Model
from skintricate.configurable import check_number
from skintricate.exceptions import DeviceError, KernelBuildError, ShapeError
from skintricate.layers import (
    Activation,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    GlobalAvgPool2D,
    ReLU,
    Reshape,
    SiLU,
    TanH,
)
from skintricate.losses import Loss, MeanSquared
from skintricate.optimizers import Basic, Optimizer


class SoftSign(Activation):
    value = "x / (1 + fabs(x))"
    derivative = "(1 - fabs(y)) * (1 - fabs(y))"


class Bend(Activation):
    value = "slope * x + bend * sin(x)"
    derivative = "slope + bend * cos(x)"
    needs_input = True
    hyper_parameters = ("slope", "bend")

    def __init__(self, slope=0.5, bend=0.3, note="not for the device"):
        check_number(self, "slope", slope)
        self.slope, self.bend, self.note = slope, bend, note


class Logarithm(Activation):
    """Infinite at zero, where the lanes beside the last unit are."""

    value = "log(x)"
    derivative = "exp(-y)"


class LogCosh(Loss):
    value = "sharpness * log(cosh((y - t) / sharpness))"
    gradient = "tanh((y - t) / sharpness)"
    hyper_parameters = ("sharpness",)

    def __init__(self, sharpness=0.5):
        self.sharpness = sharpness


class SignMomentum(Optimizer):
    states = ("average", "steps")
    scalar_names = ("rate", "share", "step")
    update = """
        average = share * average + (1 - share) * g;
        steps += 1;
        w -= rate * sign(average) * (steps == step ? (real)1 : (real)0);
    """

    def __init__(self, learning_rate=0.01, share=0.7, clip_norm=None):
        super().__init__(learning_rate, clip_norm)
        self.share = share

    def scalars(self, step, learning_rate):
        return {"rate": learning_rate, "share": self.share, "step": step}


class Constantly(Optimizer):
    """Has no scalars at all."""

    update = "w -= (real)0.125 * g;"

    def scalars(self, step, learning_rate):
        return {}


class BrokenLoss(Loss):
    value = "y - no_such_thing"
    gradient = "(real)1"


class BrokenOptimizer(Optimizer):
    update = "w -= g"
    scalar_names = ("rate",)

    def scalars(self, step, learning_rate):
        return {"rate": learning_rate}


@pytest.fixture(autouse=True)
def known_to_the_reference(monkeypatch):
    """Tell the reference the maths of the classes of this file."""

    def sign_momentum(w, g, memory, t, rate, share):
        memory["average"] = share * memory.get("average", 0) + (1 - share) * g
        return w - rate * np.sign(memory["average"])

    activations = {
        "SoftSign": (lambda x: x / (1 + abs(x)), lambda x: 1 / (1 + abs(x)) ** 2),
        "Bend": (
            lambda x, slope, bend, note: slope * x + bend * np.sin(x),
            lambda x, slope, bend, note: slope + bend * np.cos(x),
        ),
        "Logarithm": (np.log, lambda x: 1 / x),
    }
    log_cosh = (
        lambda y, t, sharpness: sharpness * np.log(np.cosh((y - t) / sharpness)),
        lambda y, t, sharpness: np.tanh((y - t) / sharpness),
    )
    for name, pair in activations.items():
        monkeypatch.setitem(reference.ACTIVATIONS, name, pair)
    monkeypatch.setitem(reference.LOSSES, "LogCosh", log_cosh)
    monkeypatch.setitem(reference.OPTIMIZERS, "SignMomentum", sign_momentum)


NETWORK = [Dense(6), SoftSign(), Dense(5), Bend(0.7, -0.4), Bend(), Dense(3), SoftSign()]


def test_gradients(float64):
    """The average of one gradient is the gradient."""
    X, Y = problem(MeanSquared())
    weights, network = random_weights(NETWORK, 3), Network(NETWORK, LogCosh(0.3))
    model = model_with(NETWORK, weights, float64)
    history = model.fit(X, Y, loss=LogCosh(0.3), optimizer=SignMomentum(share=0.5), max_iter=1, shuffle=False)
    gradient = [2 * states[0] for states in model.state.optimizer_states]
    np.testing.assert_allclose(history.loss[0], network.objective(weights, X, Y), rtol=1e-12)
    assert_close(gradient, central_differences(lambda w: network.objective(w, X, Y), weights), 2e-7)
    assert_close(gradient, network.gradients(weights, X, Y), 1e-11)


def test_training(float64):
    X, Y = problem(MeanSquared(), 11)
    weights, network = random_weights(NETWORK, 3), Network(NETWORK, LogCosh())
    expected, losses, _ = train(network, weights, X, Y, Descent(SignMomentum(0.02)), [np.arange(11)] * 5, 4)
    model = model_with(NETWORK, weights, float64)
    options = {"batch_size": 4, "max_iter": 5, "shuffle": False}
    history = model.fit(X, Y, loss=LogCosh(), optimizer=SignMomentum(0.02), **options)
    assert_close(model.state.weights, expected, 1e-10)
    np.testing.assert_allclose(history.step_loss, losses, rtol=1e-10)
    assert_close([model.predict(X)], [network.values(expected, X)[-1]], 1e-10)


def test_saving_needs_the_classes(float64, tmp_path):
    X, Y = problem(MeanSquared(), 11)
    model = Model(NETWORK, device=float64, dtype="float64", random_state=0)
    model.fit(X, Y, loss=LogCosh(), optimizer=SignMomentum(), max_iter=2)
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"SoftSign.*custom_objects"):
        Model.load(tmp_path / "model")
    classes = {cls.__name__: cls for cls in (SoftSign, Bend, SignMomentum)}
    loaded = Model.load(tmp_path / "model", custom_objects=classes)
    assert loaded.layers == NETWORK
    assert loaded.optimizer == SignMomentum()
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_clipping_with_a_derivative_that_is_infinite_at_zero(float64):
    X, Y = problem(MeanSquared(), 9)
    network, loss = [Dense(3), Logarithm(), Dense(3)], MeanSquared()
    weights = random_weights(network, 3)
    weights[0] = np.vstack([np.abs(weights[0][:-1]) * 0.1, np.full((1, 3), 2.0)])
    expected = Network(network, loss).gradients(weights, X, Y)
    norm = np.sqrt(sum((g**2).sum() for g in expected))
    _, gradient = gradient_step(network, weights, X, Y, loss, float64)
    assert_close(gradient, expected, 1e-11)
    _, clipped = gradient_step(network, weights, X, Y, loss, float64, optimizer=Basic(1.0, clip_norm=norm / 2))
    assert_close(clipped, [g / 2 for g in expected], 1e-11)


def test_an_optimizer_without_scalars(device):
    model = model_with([Dense(1, use_bias=False)], [np.ones((1, 1))], device, "float32")
    model.fit([[1.0]], [0.0], loss="mean_bias", optimizer=Constantly(), batch_size=1, max_iter=2)
    assert model.coefs_[0][0, 0] == 0.75


@pytest.mark.parametrize(
    ("options", "log"),
    [({"loss": BrokenLoss()}, "no_such_thing"), ({"optimizer": BrokenOptimizer()}, "expected ';'")],
    ids=["loss", "optimizer"],
)
def test_an_expression_that_does_not_compile(options, log, device):
    X, Y = problem(MeanSquared())
    model = Model([Dense(3), TanH()], device=device, random_state=0)
    with pytest.raises(KernelBuildError, match=log) as caught:
        model.fit(X, Y, **options)
    assert isinstance(caught.value, DeviceError)
    assert "-DWIDTH=" in str(caught.value)
    assert model.state is None
    model.fit(X, Y, max_iter=1)
    assert model.predict(X).shape == Y.shape


# A layer of one's own, made of the package's stages: the one of the page.


def classes_of(page):
    """Return what a page imports and defines, by name, without what it runs."""
    text = (Path(__file__).parents[1] / "docs" / page).read_text()
    nodes = ast.parse("\n".join(re.findall(r"```python\n(.*?)```", text, re.S))).body
    wanted = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef)]
    names = {}
    exec(compile(ast.Module(wanted, []), page, "exec"), names)
    return names


LayerScale = classes_of("extending.md")["LayerScale"]
SCALED = {
    "first": ([LayerScale([Dense(3), TanH()], 0.5), Dense(2)], 3),
    "between": ([Dense(5), TanH(), LayerScale([Dense(4), SiLU(), Dense(5), ReLU()]), SiLU(), Dense(2)], 3),
    "of nothing": ([LayerScale([]), Dense(4), SiLU(), LayerScale([]), Dense(2)], 3),
    "of no weights": ([Dropout(0.0), LayerScale([TanH()]), Dense(5), TanH(), LayerScale([TanH(), Dropout(0.0)])], 5),
    "inside of others": ([Concatenate([[LayerScale([LayerScale([Dense(3)])])], []]), Dense(2)], 3),
    "images": (
        [
            *[Reshape((4, 3, 2)), LayerScale([Conv2D(2, 1)]), Conv2D(17, 2, padding="same"), SiLU()],
            *[LayerScale([Conv2D(17, (1, 2), padding="same"), TanH()]), GlobalAvgPool2D(), Dense(2)],
        ],
        24,
    ),
}


@pytest.fixture
def with_layer_scale(monkeypatch):
    """Tell the reference the maths of the layer."""

    def layer_scale(layer, x, shared):
        (factor,) = shared.take()
        values, back = chain(layer.layers, x, shared)

        def both(g):
            gradient, found = back(g * factor)
            return g + gradient, [(g * values[-1]).reshape(-1, len(factor)).sum(axis=0)[None], *found]

        return x + factor * values[-1], both

    monkeypatch.setitem(LAYERS, "LayerScale", layer_scale)


@pytest.mark.parametrize("n_samples", [7, 83])
@pytest.mark.parametrize("name", SCALED)
@pytest.mark.usefixtures("with_layer_scale")
def test_a_step_of_a_layer(name, n_samples, float64):
    network, n_features = SCALED[name]
    n_outputs = network[-1].units if isinstance(network[-1], Dense) else 5
    X, Y = problem(MeanSquared(), n_samples, n_features, n_outputs)
    weights = check_step(network, X, Y, float64, sample_weight=np.arange(n_samples) % 3 / 2)
    check_step_float32(network, X, Y, float64)
    if n_samples == 7:
        _, gradient = gradient_step(network, weights, X, Y, MeanSquared(), float64)
        described = Network(network, MeanSquared())
        assert_close(gradient, central_differences(lambda w: described.objective(w, X, Y), weights), 2e-7)


def test_a_layer_with_a_wrong_branch(device):
    with pytest.raises(ShapeError, match=r"Layer 0 \(LayerScale\(\[Dense\(4\)\]\)\) cannot follow the input"):
        Model([LayerScale([Dense(4)]), Dense(1)], device=device).fit(np.ones((3, 5)), np.ones(3))


def test_a_layer_from_a_file(device, tmp_path):
    X, Y = problem(MeanSquared(), 11)
    model = Model([LayerScale([Dense(3), TanH()], 0.3), Dense(3)], device=device, random_state=0)
    model.fit(X, Y, max_iter=2)
    assert model.coefs_[0].shape == (1, 3)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model", custom_objects={"LayerScale": LayerScale})
    assert loaded.layers == model.layers
    assert_bitwise([loaded.predict(X)], [model.predict(X)])
