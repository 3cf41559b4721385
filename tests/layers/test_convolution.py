"""Convolutions of every shape against the reference, and against PyTorch."""

import numpy as np
import pytest
from contracts import assert_bitwise, assert_close, check_step, check_step_float32, gradient_step, random_weights
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from skintricate import Model
from skintricate.exceptions import ShapeError
from skintricate.initializers import Constant, HeNormal
from skintricate.layers import Conv1D, Conv2D, Dense, Embedding, Flatten, ReLU, Reshape, Scale, SiLU, TanH
from skintricate.losses import MeanSquared
from skintricate.training.network import infer_shapes

EXAMPLES = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
BOTH = st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDINGS = st.sampled_from(["valid", "same", 0, 1, 3, (0, 2), (2, 1)])
ACTIVATIONS = st.sampled_from([None, TanH(), SiLU()])


def random_data(n_samples, n_features, n_outputs, seed=0):
    """Return inputs and real targets."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_samples, n_features)), generator.normal(size=(n_samples, n_outputs))


def check(layer, input_shape, n_samples, device, activation=None, before=()):
    """Compare a layer after another one, so that its input needs a gradient, and one at the input; skip bad shapes."""
    size = int(np.prod(input_shape))
    own = [layer] if activation is None else [layer, activation]
    for first in (Reshape(input_shape), Scale()), (Reshape(input_shape),):
        network = [*first, *own, Dense(2)]
        try:
            infer_shapes(network, size)
        except ShapeError:
            assume(False)
        check_step(network, *random_data(n_samples, size, 2), device)


@EXAMPLES
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.integers(1, 5),
    filters=st.integers(1, 6),
    groups=st.sampled_from([1, 1, 2, 3]),
    kernel_size=st.one_of(st.integers(1, 4), BOTH),
    stride=st.one_of(st.integers(1, 3), BOTH),
    padding=PADDINGS,
    dilation=st.one_of(st.just(1), BOTH),
    use_bias=st.booleans(),
    activation=ACTIVATIONS,
    n_samples=st.integers(1, 9),
)
def test_any_image(
    size, channels, filters, groups, kernel_size, stride, padding, dilation, use_bias, activation, n_samples, float64
):
    layer = Conv2D(filters * groups, kernel_size, stride, padding, dilation, groups, use_bias=use_bias)
    check(layer, (*size, channels * groups), n_samples, float64, activation)


@EXAMPLES
@given(
    length=st.integers(1, 20),
    channels=st.integers(1, 5),
    filters=st.integers(1, 6),
    groups=st.sampled_from([1, 1, 2, 3]),
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["valid", "same", 0, 1, 4]),
    dilation=st.integers(1, 3),
    n_samples=st.integers(1, 9),
)
def test_any_sequence(length, channels, filters, groups, kernel_size, stride, padding, dilation, n_samples, float64):
    layer = Conv1D(filters * groups, kernel_size, stride, padding, dilation, groups)
    check(layer, (length, channels * groups), n_samples, float64)


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 16, 17, 33, 49])
@pytest.mark.parametrize("filters", [1, 8, 15, 17, 49])
def test_channels_around_panels(channels, filters, float64):
    network = [Reshape((4, 3, channels)), Conv2D(channels, 1), TanH(), Conv2D(filters, 2, padding="same"), Dense(1)]
    data = random_data(5, 12 * channels, 1)
    check_step(network, *data, float64, scale=0.3)
    check_step_float32(network, *data, float64, scale=0.1)


@pytest.mark.parametrize("groups", [1, 2, 3, 6, 18])
def test_groups(groups, float64):
    network = [Reshape((4, 4, 18)), Scale(), Conv2D(36, 3, padding=1, groups=groups), TanH(), Flatten(), Dense(2)]
    data = random_data(6, 288, 2)
    check_step(network, *data, float64, scale=0.3)
    check_step_float32(network, *data, float64)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (16, 16), (23, 29)])
def test_sizes_of_images(size, float64):
    network = [Reshape((*size, 2)), Conv2D(3, 3, padding="same"), TanH(), Conv2D(5, (3, 1), padding=(1, 0)), Dense(2)]
    check_step(network, *random_data(3, 2 * size[0] * size[1], 2), float64)


def test_a_window_of_the_whole_image_is_a_dense_layer(float64):
    X, Y = random_data(7, 24, 5)
    weights = random_weights([Dense(5)], 24)
    _, dense = gradient_step([Dense(5)], weights, X, Y, MeanSquared(), float64)
    _, window = gradient_step([Reshape((3, 4, 2)), Conv2D(5, (3, 4))], weights, X, Y, MeanSquared(), float64)
    assert_close(window, dense, 1e-12)


def test_sequences_are_images_of_height_one(float64):
    X, Y = random_data(7, 24, 2)
    networks = (
        [Reshape((1, 12, 2)), Conv2D(3, (1, 3), (1, 2), (0, 1)), TanH(), Conv2D(4, (1, 2)), Dense(2)],
        [Reshape((12, 2)), Conv1D(3, 3, 2, 1), TanH(), Conv1D(4, 2), Dense(2)],
    )
    weights = random_weights(networks[0], 24)
    results = [gradient_step(network, weights, X, Y, MeanSquared(), float64)[1] for network in networks]
    assert_bitwise(*results)


def test_parameters_are_described():
    kernel, bias = Conv2D(
        6, (2, 3), groups=2, kernel_initializer=HeNormal(), bias_initializer=Constant(2.0)
    ).parameters((5, 5, 4))
    assert (kernel.name, kernel.shape, kernel.rows, kernel.initializer) == ("kernel", (2, 3, 2, 6), 12, HeNormal())
    assert (bias.name, bias.shape, bias.initializer) == ("bias", (1, 6), Constant(2.0))
    (kernel,) = Conv1D(6, 3, use_bias=False).parameters((9, 4))
    assert kernel.shape == (3, 4, 6)


def test_first_values_have_the_scale_of_what_a_filter_sees():
    """The fan of a kernel is that of a window, channels of its group included."""
    n = 64
    (kernel, _) = Conv2D(n, 3, groups=4, kernel_initializer=HeNormal()).parameters((9, 9, 4 * n))
    drawn = kernel.initializer.draw(np.random.default_rng(0), kernel.shape)
    assert drawn.std() == pytest.approx(np.sqrt(2 / (9 * n)), rel=0.05)


def test_it_learns_where_a_pattern_is(device):
    """Three patterns, each anywhere in an image."""
    generator = np.random.default_rng(0)
    patterns, codes = generator.normal(0, 2, (3, 3, 3)), generator.integers(0, 3, 200)
    images = generator.normal(0, 0.3, (200, 8, 8))
    for image, code, (row, column) in zip(images, codes, generator.integers(0, 6, (200, 2))):
        image[row : row + 3, column : column + 3] += patterns[code]
    network = [Reshape((8, 8, 1)), Conv2D(6, 3), ReLU(), Conv2D(6, 3), ReLU(), Dense(3), "softmax"]
    model = Model(network, device=device, random_state=0)
    options = {"loss": "categorical_cross_entropy", "learning_rate": 0.01, "batch_size": 20, "max_iter": 25}
    history = model.fit(images.reshape(200, -1), codes, **options)
    assert history.loss[-1] < 0.1
    assert (model.predict(images.reshape(200, -1)).argmax(axis=1) == codes).mean() > 0.95


def test_convolution_of_embeddings(float64):
    generator = np.random.default_rng(0)
    words, Y = generator.integers(0, 6, (7, 9)).astype(float), generator.normal(size=(7, 2))
    check_step([Embedding(6, 3), Conv1D(4, 3, padding="same"), TanH(), Dense(2)], words, Y, float64)


# PyTorch: images are (N, C, height, width), kernels (O, C / groups, height, width).

AS_TORCH = [
    ((7, 6, 4), {"filters": 6, "kernel_size": 3}),
    ((7, 6, 4), {"filters": 6, "kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2)}),
    ((9, 9, 4), {"filters": 6, "kernel_size": 3, "dilation": (2, 3), "padding": 2, "groups": 2}),
    ((8, 7, 6), {"filters": 12, "kernel_size": 2, "stride": 3, "groups": 6, "padding": 1}),
    ((6, 6, 3), {"filters": 5, "kernel_size": 3, "padding": "same", "dilation": 2}),
    ((13, 4), {"filters": 6, "kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2, "groups": 2}),
    ((13, 3), {"filters": 5, "kernel_size": 4, "use_bias": False}),
]


@pytest.mark.parametrize(("shape", "parameters"), AS_TORCH, ids=str)
def test_same_as_torch(shape, parameters, float64):
    """Outputs, and the gradients of kernel, bias and, through the factors of a ``Scale``, of the images."""
    torch = pytest.importorskip("torch")
    cls, is_image = (Conv2D, True) if len(shape) == 3 else (Conv1D, False)
    layer, size = cls(**parameters), int(np.prod(shape))
    network = [Scale(), Reshape(shape), layer]
    n_outputs = int(np.prod(infer_shapes(network, size)[-1]))
    X, Y = random_data(4, size, n_outputs)
    weights = random_weights(network, size)
    factors, (kernel, *bias) = weights[0], np.split(weights[1], [len(weights[1]) - layer.use_bias])
    value, steps = gradient_step(network, weights, X, Y, MeanSquared(), float64)

    factors = torch.tensor(factors, requires_grad=True)
    shaped = kernel.reshape(layer.parameters(shape)[0].shape)
    kernel = torch.tensor(np.moveaxis(shaped, (-1, -2), (0, 1)).copy(), requires_grad=True)
    bias = torch.tensor(bias[0][0], requires_grad=True) if layer.use_bias else None
    images = (torch.tensor(X) * factors).reshape(-1, *shape).movedim(-1, 1)
    convolve = torch.nn.functional.conv2d if is_image else torch.nn.functional.conv1d
    names = ("stride", "padding", "dilation", "groups")
    outputs = convolve(images, kernel, bias, **{name: getattr(layer, name) for name in names})
    loss = ((outputs.movedim(1, -1).reshape(4, -1) - torch.tensor(Y)) ** 2).mean()
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    found = np.moveaxis(kernel.grad.numpy(), (0, 1), (-1, -2)).reshape(-1, layer.filters)
    expected = np.vstack([found, bias.grad.numpy()]) if layer.use_bias else found
    assert_close(steps, [factors.grad.numpy(), expected], 1e-11)
