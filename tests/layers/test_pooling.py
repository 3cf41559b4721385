"""Pooling of every shape against the reference and PyTorch; equal and missing values."""

import numpy as np
import pytest
from contracts import (
    assert_bitwise,
    assert_close,
    check_step,
    check_step_float32,
    gradient_step,
    model_with,
    random_weights,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from skintricate.exceptions import ShapeError
from skintricate.layers import (
    GELU,
    AvgPool1D,
    AvgPool2D,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    Identity,
    MaxPool1D,
    MaxPool2D,
    ReLU,
    Reshape,
    Scale,
    TanH,
)
from skintricate.losses import MeanBias, MeanSquared
from skintricate.training.network import infer_shapes

BOTH = st.tuples(st.integers(1, 3), st.integers(1, 3))


def random_data(n_samples, n_features, n_outputs, seed=0):
    """Return inputs and real targets."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n_samples, n_features)), generator.normal(size=(n_samples, n_outputs))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(
    cls=st.sampled_from([MaxPool2D, AvgPool2D]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from([1, 2, 5, 8, 17]),
    pool_size=st.one_of(st.integers(1, 4), BOTH),
    stride=st.one_of(st.none(), st.integers(1, 4), BOTH),
    padding=st.sampled_from(["valid", "same", 0, 1, (0, 1), (1, 0), 2]),
    activation=st.sampled_from([None, ReLU(), TanH(), GELU()]),
    n_samples=st.integers(1, 9),
)
def test_any_image(cls, size, channels, pool_size, stride, padding, activation, n_samples, float64):
    """At the input, and after a layer whose gradient goes through an activation or none."""
    try:
        layer = cls(pool_size, stride, padding)
        first = [Reshape((*size, channels))]
        infer_shapes([*first, layer], size[0] * size[1] * channels)
    except ValueError:
        assume(False)
    data = random_data(n_samples, size[0] * size[1] * channels, 2)
    before = [Conv2D(channels, 1), *([] if activation is None else [activation])]
    for network in ([*first, layer, Dense(2)], [*first, *before, layer, Dense(2)]):
        check_step(network, *data, float64)


@settings(
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(
    cls=st.sampled_from([MaxPool1D, AvgPool1D]),
    length=st.integers(1, 20),
    channels=st.sampled_from([1, 2, 5, 8, 17]),
    pool_size=st.integers(1, 5),
    stride=st.one_of(st.none(), st.integers(1, 6)),
    padding=st.sampled_from(["valid", "same", 0, 1, 3]),
    activation=st.sampled_from([None, ReLU(), TanH(), GELU()]),
    n_samples=st.integers(1, 9),
)
def test_any_sequence(cls, length, channels, pool_size, stride, padding, activation, n_samples, float64):
    """At the input, and after a layer whose gradient goes through an activation or none."""
    try:
        layer = cls(pool_size, stride, padding)
        layer.output_shape((length, channels))
    except ValueError:
        assume(False)
    first, data = [Reshape((length, channels))], random_data(n_samples, length * channels, 2)
    before = [Conv1D(channels, 1), *([] if activation is None else [activation])]
    for network in ([*first, layer, Dense(2)], [*first, *before, layer, GlobalAvgPool1D(), Dense(2)]):
        check_step(network, *data, float64)


@pytest.mark.parametrize("padding", ["valid", "same", 1])
def test_sequences_are_images_of_height_one(padding, float64):
    X, Y = random_data(7, 26, 2)
    both = (0, padding) if padding == 1 else padding
    networks = (
        [
            *[Reshape((1, 13, 2)), Conv2D(5, (1, 2)), ReLU(), MaxPool2D((1, 3), (1, 2), both)],
            *[AvgPool2D((1, 2), (1, 1), both), GlobalAvgPool2D(), Dense(2)],
        ],
        [
            *[Reshape((13, 2)), Conv1D(5, 2), ReLU(), MaxPool1D(3, 2, padding)],
            *[AvgPool1D(2, 1, padding), GlobalAvgPool1D(), Dense(2)],
        ],
    )
    weights = random_weights(networks[0], 26)
    results = [gradient_step(network, weights, X, Y, MeanSquared(), float64)[1] for network in networks]
    assert_bitwise(*results)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (MaxPool1D(), (6, 3)),
        (MaxPool1D(3, 2), (6, 3)),
        (AvgPool1D(4, padding="same"), (4, 3)),
        (AvgPool1D(3, 1, 1), (13, 3)),
        (GlobalAvgPool1D(), (3,)),
    ],
    ids=repr,
)
def test_shapes_of_sequences(layer, shape):
    assert layer.output_shape((13, 3)) == shape


@pytest.mark.parametrize("layer", [MaxPool2D(2), MaxPool2D(3, 1, 1), AvgPool2D(2, 1), GlobalAvgPool2D()], ids=repr)
@pytest.mark.parametrize("before", [ReLU(), GELU(), Identity(), Scale(), Dropout(0.0), MaxPool2D(1)], ids=repr)
def test_after_every_kind_of_layer(layer, before, float64):
    network = [Reshape((4, 5, 3)), Conv2D(5, 2, padding="same"), before, layer, TanH(), Dense(2)]
    data = random_data(7, 60, 2)
    check_step(network, *data, float64)
    check_step_float32(network, *data, float64)


def test_a_pool_at_the_end(float64):
    """Its input's activation is not the loss's business."""
    for layer, n_outputs in ((MaxPool2D(2), 12), (AvgPool2D(2), 12), (GlobalAvgPool2D(), 3)):
        network = [Reshape((4, 4, 2)), Conv2D(3, 1), ReLU(), layer]
        check_step(network, *random_data(7, 32, n_outputs), float64)


def pooled(layer, images, device, dtype="float64"):
    """Return what a layer makes of images, standing first in a network."""
    shape = images.shape[1:]
    n_outputs = int(np.prod(layer.output_shape(shape)))
    model = model_with(
        [Reshape(shape), layer, Flatten(), Dense(1)],
        [np.ones((n_outputs + 1, 1))],
        device,
        dtype,
        n_features=int(np.prod(shape)),
    )
    return model.outputs(images.reshape(len(images), -1))[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [-1.0, 0.0, -1e30])
def test_pixels_outside_are_no_zeros(value, dtype, float64):
    """Of images of one value, each window's largest and mean are that."""
    images = np.full((2, 5, 4, 3), value)
    for padding in ("same", 1, (0, 1)):
        for layer in (MaxPool2D(3, 2, padding), AvgPool2D(3, 2, padding)):
            np.testing.assert_allclose(pooled(layer, images, float64, dtype), value, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [MaxPool2D(2), MaxPool2D(2, 1), MaxPool2D(3, 2, 1), AvgPool2D(2)], ids=repr)
@pytest.mark.parametrize("channels", [1, 3, 8, 17])
def test_missing_values_stay_in_their_windows(layer, channels, dtype, float64):
    images = np.random.default_rng(0).normal(size=(3, 6, 6, channels)).astype(dtype)
    whole = pooled(layer, images, float64, dtype)
    for place in ((0, 0), (0, 1), (1, 0), (3, 3), (5, 5)):
        missing = images.copy()
        missing[(1, *place, channels // 2)] = np.nan
        found = pooled(layer, missing, float64, dtype)
        touched = pooled(AvgPool2D(layer.pool_size, layer.stride, layer.padding), missing, float64, dtype)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(touched))
        assert np.isnan(found[1]).any()
        np.testing.assert_array_equal(found[~np.isnan(found)], whole[~np.isnan(found)])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(value, device):
    images = np.zeros((1, 4, 4, 1), "float32")
    images[0, 1, 1] = value
    found = pooled(MaxPool2D(2), images, device, "float32")
    assert found[0, 0, 0, 0] == max(value, 0)
    assert (pooled(MaxPool2D(2), np.full_like(images, -np.inf), device, "float32") == -np.inf).all()


def gradient_of_factors(layer, images, device):
    """Return the gradient of the sum of all outputs by a factor of each pixel, all one."""
    shape = images.shape[1:]
    size = int(np.prod(shape))
    network = [Scale(), Reshape(shape), layer, Flatten()]
    n_outputs = int(np.prod(infer_shapes(network, size)[-1]))
    X, Y = images.reshape(len(images), -1), np.zeros((len(images), n_outputs))
    _, (step,) = gradient_step(network, [np.ones((1, size))], X, Y, MeanBias(), device)
    return step.reshape(shape) * n_outputs * len(images)


@pytest.mark.parametrize("layer", [MaxPool2D(2), MaxPool2D(2, 1), MaxPool2D(3, 3), MaxPool2D(2, 3)], ids=repr)
@pytest.mark.parametrize("channels", [1, 5, 8])
def test_the_first_of_equals_has_the_gradient(layer, channels, float64):
    images = np.ones((1, 6, 6, channels))
    found = gradient_of_factors(layer, images, float64)
    expected = np.zeros_like(images[0])
    places = range(0, 6 - layer.pool_size + 1, layer.stride or layer.pool_size)
    for row in places:
        for column in places:
            expected[row, column] += 1
    assert_close([found], [expected], 1e-12)


def test_the_first_of_equals_inside_of_the_image(float64):
    """Pixels outside are never the first."""
    found = gradient_of_factors(MaxPool2D(3, 2, 1), np.full((1, 5, 5, 2), 2.0), float64)
    expected = np.zeros((5, 5, 2))
    for row in (0, 1, 3):  # windows begin at -1, 1 and 3
        for column in (0, 1, 3):
            expected[row, column] = 2.0
    assert_close([found], [expected], 1e-12)


def test_equals_in_a_row_of_relu_zeros(float64):
    """Where all are zeros of a ReLU, none has a gradient."""
    network = [Reshape((4, 4, 1)), Conv2D(3, 1), ReLU(), MaxPool2D(2), Dense(1)]
    X, Y = random_data(5, 16, 1)
    weights = [np.array([[1.0, 1.0, 1.0], [-100.0, -100.0, 100.0]]), np.ones((13, 1))]
    _, (kernel, _) = gradient_step(network, weights, X, Y, MeanSquared(), float64)
    assert not kernel[:, :2].any()
    assert kernel[:, 2].all()


def test_a_global_mean_is_a_mean_of_all(float64):
    images = np.random.default_rng(0).normal(size=(3, 7, 5, 9))
    found = pooled(GlobalAvgPool2D(), images, float64)
    assert_close([found], [images.mean(axis=(1, 2))], 1e-13)
    assert_bitwise([found], [pooled(AvgPool2D((7, 5)), images, float64)[:, 0, 0]])


def test_the_global_mean_of_large_images(device):
    images = np.random.default_rng(0).random((2, 64, 64, 3)).astype("float32")
    found = pooled(GlobalAvgPool2D(), images, device, "float32")
    np.testing.assert_allclose(found, images.astype(float).mean(axis=(1, 2)), rtol=1e-5)


AS_TORCH = [
    (MaxPool2D(2), {}),
    (MaxPool2D(3, 2, 1), {}),
    (MaxPool2D((2, 3), (1, 2), (1, 0)), {}),
    (AvgPool2D(2), {}),
    (AvgPool2D(3, 2, 1), {"count_include_pad": False}),
    (AvgPool2D((3, 2), 1, (1, 1)), {"count_include_pad": False}),
]


@pytest.mark.parametrize(("layer", "more"), AS_TORCH, ids=str)
def test_same_as_torch(layer, more, float64):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).normal(size=(3, 7, 6, 4))
    factors = torch.ones(7, 6, 4, dtype=torch.float64, requires_grad=True)
    name = "max_pool2d" if isinstance(layer, MaxPool2D) else "avg_pool2d"
    stride = layer.stride or layer.pool_size
    padding = 0 if layer.padding == "valid" else layer.padding
    inputs = (torch.tensor(images) * factors).movedim(-1, 1)
    outputs = getattr(torch.nn.functional, name)(inputs, layer.pool_size, stride, padding, **more)
    outputs.sum().backward()
    assert_close([pooled(layer, images, float64)], [outputs.movedim(1, -1).detach().numpy()], 1e-13)
    assert_close([gradient_of_factors(layer, images, float64)], [factors.grad.numpy()], 1e-11)


def test_windows_smaller_than_the_image_are_needed():
    with pytest.raises(ShapeError, match="a window of height 5 is larger than the input's height of 4"):
        MaxPool2D(5).output_shape((4, 9, 1))
    with pytest.raises(ShapeError, match="a window of length 5 is larger than the input's length of 4"):
        MaxPool1D(5).output_shape((4, 9))


@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize("cls", [MaxPool1D, AvgPool1D])
def test_sequences_same_as_torch(cls, padding, float64):
    torch = pytest.importorskip("torch")
    sequences = np.random.default_rng(0).normal(size=(3, 9, 4))
    inputs = torch.tensor(sequences).movedim(-1, 1)
    # Three windows of three need no padding.
    layer, number = cls(3, padding=padding), padding if padding == 1 else 0
    if cls is MaxPool1D:
        outputs = torch.nn.functional.max_pool1d(inputs, 3, padding=number)
    else:
        outputs = torch.nn.functional.avg_pool1d(inputs, 3, padding=number, count_include_pad=False)
    assert_close([pooled(layer, sequences, float64)], [outputs.movedim(1, -1).numpy()], 1e-13)
