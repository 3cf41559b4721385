"""Shapes that do not fit, and parameters that cannot be: what the messages say."""

import re

import numpy as np
import pytest

from skintricate import Model
from skintricate.exceptions import ShapeError
from skintricate.layers import (
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Columns,
    Concatenate,
    Conv1D,
    Conv2D,
    Dense,
    Embedding,
    Flatten,
    GaussianNoise,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    Reshape,
    Residual,
    SoftMax,
    TanH,
)

IMAGE, SEQUENCE = Reshape((6, 4, 2)), Reshape((24, 2))
# Layers before, the one that does not fit (its samples have 48 values), its input's shape, and the remedy.
SHAPES = [
    ([IMAGE], Conv2D(3, 7), (6, 4, 2), "use a smaller window or padding='same'"),
    (
        [IMAGE],
        Conv2D(3, (2, 3), dilation=(1, 2)),
        (6, 4, 2),
        "a window of width 5 is larger than the input's width of 4",
    ),
    ([IMAGE], Conv2D(3, 9, padding=1), (6, 4, 2), "with its padding of 1"),
    ([IMAGE], MaxPool2D(5), (6, 4, 2), "use a smaller window or padding='same'"),
    ([IMAGE], AvgPool2D((7, 1)), (6, 4, 2), "use a smaller window or padding='same'"),
    ([Reshape((24, 2))], Conv1D(3, 25), (24, 2), "a window of length 25 is larger than the input's length of 24"),
    ([IMAGE], Conv2D(4, 2, groups=4), (6, 4, 2), "groups=4 must divide the input's 2 channels and filters=4; choose"),
    ([IMAGE], Conv2D(3, 2, groups=2), (6, 4, 2), "groups=2 must divide the input's 2 channels and filters=3; choose"),
    ([], Conv2D(3, 2), (48,), "put a Reshape before it"),
    ([], Conv1D(3, 2), (48,), "put a Reshape before it"),
    ([], MaxPool2D(), (48,), r"channels\); put a Reshape before it"),
    ([], GlobalAvgPool2D(), (48,), r"channels\); put a Reshape before it"),
    ([], AvgPool1D(), (48,), r"channels\); put a Reshape before it, such as Reshape\(\(100, 1\)\)"),
    ([SEQUENCE], MaxPool2D(), (24, 2), "for sequences take Conv1D, MaxPool1D, AvgPool1D or GlobalAvgPool1D"),
    ([SEQUENCE], GlobalAvgPool2D(), (24, 2), "for sequences take Conv1D, MaxPool1D, AvgPool1D or GlobalAvgPool1D"),
    ([IMAGE], MaxPool1D(), (6, 4, 2), "for images take Conv2D, MaxPool2D, AvgPool2D or GlobalAvgPool2D"),
    ([IMAGE], GlobalAvgPool1D(), (6, 4, 2), "for images take Conv2D, MaxPool2D, AvgPool2D or GlobalAvgPool2D"),
    ([SEQUENCE], MaxPool1D(25), (24, 2), "a window of length 25 is larger than the input's length of 24"),
    ([SEQUENCE], Columns(0, 2), (24, 2), r"put Flatten\(\) or GlobalAvgPool1D\(\) before it"),
    ([SEQUENCE], Embedding(3, 2), (24, 2), r"put Flatten\(\) or GlobalAvgPool1D\(\) before it"),
    ([Reshape((4, 3, 2, 2))], Columns(0, 2), (4, 3, 2, 2), r"put Flatten\(\) before it"),
    ([Reshape((24, 2))], Conv2D(3, 2), (24, 2), r"samples of shape \(height, width, channels\)"),
    ([IMAGE], Conv1D(3, 2), (6, 4, 2), r"samples of shape \(length, channels\)"),
    ([], Residual([Dense(5)]), (48,), "end them in a layer with 48 outputs a sample"),
    ([IMAGE], Residual([Conv2D(2, 3)]), (6, 4, 2), "end them in a layer with 2 outputs a pixel, and use padding"),
    ([IMAGE], Concatenate([[Conv2D(2, 3)], []]), (6, 4, 2), "which differ in more than their last numbers"),
    ([IMAGE], Concatenate([[Flatten()], []]), (6, 4, 2), "which differ in more than their last numbers"),
    ([], Residual([Dense(5), Conv2D(2, 2)]), (48,), "put a Reshape before it"),
    ([], Columns(3, 49), (48,), "it takes columns 3 to 49 of 48; choose some of those"),
    ([], Columns(48), (48,), "choose some of those"),
    ([IMAGE], Columns(0, 2), (6, 4, 2), r"put Flatten\(\) or GlobalAvgPool2D\(\) before it"),
    ([], Embedding([3, 4], 2), (48,), r"vocabulary_size has 2 numbers for 48 columns; give one for each.*Columns\("),
    ([IMAGE], Embedding(3, 2), (6, 4, 2), r"put Flatten\(\)"),
    ([IMAGE], SoftMax(), (6, 4, 2), r"put Flatten\(\) or GlobalAvgPool2D\(\) before it"),
    (
        [],
        Reshape((5, 5, 2)),
        (48,),
        r"the 48 values of a sample do not make the shape \(5, 5, 2\); choose a target_shape",
    ),
    ([], Reshape((5, -1)), (48,), "choose a target_shape whose numbers multiply to that"),
]


@pytest.mark.parametrize(("before", "layer", "shape", "remedy"), SHAPES, ids=lambda value: repr(value)[:50])
def test_shapes(before, layer, shape, remedy, device):
    """The message names the layer, its input's shape, and what to do; nothing is trained."""
    model = Model([*before, layer, Dense(1)], device=device)
    with pytest.raises(ShapeError, match=remedy) as caught:
        model.fit(np.ones((3, 48)), np.ones(3))
    message = str(caught.value)
    assert message.startswith(f"Layer {len(before)} ({layer!r}) cannot follow ")
    assert f"whose output has shape {shape}" in message
    assert (repr(before[-1]) if before else "the input") in message
    assert message.count("\n") == 0
    assert model.state is None


def test_the_layer_inside_of_a_branch_is_named(device):
    network = [Concatenate([[Dense(4)], [Reshape((6, 8)), Residual([Conv2D(1, 1)]), Flatten()]]), Dense(1)]
    with pytest.raises(ShapeError, match=re.escape("Conv2D(1, 1)) cannot follow the input")):
        Model(network, device=device).fit(np.ones((3, 48)), np.ones(3))


@pytest.mark.parametrize(
    "network", [[Reshape((2, 2)), Flatten()], [Residual([TanH()]), Concatenate([[], []])]], ids=repr
)
def test_networks_without_parameters(network, device):
    with pytest.raises(ShapeError, match="no parameters to train; add a Dense layer"):
        Model(network, device=device).fit(np.ones((3, 4)), np.ones((3, 4)))


def test_the_targets_of_an_image(device):
    with pytest.raises(ShapeError, match=r"y has 1 columns, but the last layer .* has 12 outputs"):
        Model([IMAGE, Conv2D(1, (3, 2), (1, 1), (0, 0))], device=device).fit(np.ones((3, 48)), np.ones(3))


LAYER = Dense(4)
PARAMETERS = [
    (lambda: Conv2D(0, 3), "filters", ValueError),
    (lambda: Conv2D(2.0, 3), "filters", TypeError),
    (lambda: Conv2D(2, 0), "kernel_size", ValueError),
    (lambda: Conv2D(2, "3"), "kernel_size", TypeError),
    (lambda: Conv2D(2, None), "kernel_size", TypeError),
    (lambda: Conv2D(2, (3, 0)), "kernel_size", ValueError),
    (lambda: Conv2D(2, (3, 2.5)), "kernel_size", TypeError),
    (lambda: Conv2D(2, (3, 3, 3)), "kernel_size", ValueError),
    (lambda: Conv2D(2, (3,)), "kernel_size", ValueError),
    (lambda: Conv2D(2, 3, stride=0), "stride", ValueError),
    (lambda: Conv2D(2, 3, stride=(1, -1)), "stride", ValueError),
    (lambda: Conv2D(2, 3, padding=-1), "padding", ValueError),
    (lambda: Conv2D(2, 3, padding="full"), "padding", ValueError),
    (lambda: Conv2D(2, 3, padding=1.5), "padding", TypeError),
    (lambda: Conv2D(2, 3, padding=None), "padding", TypeError),
    (lambda: Conv2D(2, 3, padding=(1, 2, 3)), "padding", ValueError),
    (lambda: Conv2D(2, 3, dilation=0), "dilation", ValueError),
    (lambda: Conv2D(2, 3, groups=0), "groups", ValueError),
    (lambda: Conv2D(2, 3, groups=(1, 1)), "groups", TypeError),
    (lambda: Conv2D(2, 3, kernel_initializer="he_normal"), "kernel_initializer", TypeError),
    (lambda: Conv2D(2, 3, bias_initializer=0.0), "bias_initializer", TypeError),
    (lambda: Conv2D(2, 3, l1=-0.1), "l1", ValueError),
    (lambda: Conv2D(2, 3, use_bias="no"), "use_bias", TypeError),
    (lambda: Dense(2, use_bias=None), "use_bias", TypeError),
    (lambda: Conv2D(2, 3, l2="1"), "l2", TypeError),
    (lambda: Dense(2, l1=-0.1), "l1", ValueError),
    (lambda: Dense(2, l2=float("nan")), "l2", ValueError),
    (lambda: Conv1D(0, 3), "filters", ValueError),
    (lambda: Conv1D(2, (3, 3)), "kernel_size", (TypeError, ValueError)),
    (lambda: Conv1D(2, 3, stride=(1, 2)), "stride", (TypeError, ValueError)),
    (lambda: Conv1D(2, 3, padding=(0, 1)), "padding", (TypeError, ValueError)),
    (lambda: Conv1D(2, 3, dilation=(1, 2)), "dilation", (TypeError, ValueError)),
    (lambda: MaxPool2D(0), "pool_size", ValueError),
    (lambda: MaxPool2D((2, 2, 2)), "pool_size", ValueError),
    (lambda: MaxPool2D(2, 0), "stride", ValueError),
    (lambda: MaxPool2D(2, 1.0), "stride", TypeError),
    (lambda: MaxPool2D(2, padding=2), "padding", ValueError),
    (lambda: AvgPool2D((3, 1), padding=1), "padding", ValueError),
    (lambda: MaxPool1D(0), "pool_size", ValueError),
    (lambda: MaxPool1D((2, 2)), "pool_size", TypeError),
    (lambda: MaxPool1D(2, (1, 1)), "stride", TypeError),
    (lambda: MaxPool1D(2, 1.0), "stride", TypeError),
    (lambda: MaxPool1D(2, padding=2), "padding", ValueError),
    (lambda: AvgPool1D(3, padding=(1, 1)), "padding", TypeError),
    (lambda: AvgPool1D(2, padding="full"), "padding", ValueError),
    (lambda: AvgPool2D(2, padding="full"), "padding", ValueError),
    (lambda: Reshape(4), "target_shape", TypeError),
    (lambda: Reshape(()), "target_shape", TypeError),
    (lambda: Reshape((2, 0)), "target_shape", ValueError),
    (lambda: Reshape((-1, -1)), "target_shape", ValueError),
    (lambda: Reshape((2, -2)), "target_shape", ValueError),
    (lambda: Reshape((2.0, 3)), "target_shape", TypeError),
    (lambda: Columns(-1), "start", ValueError),
    (lambda: Columns("first"), "start", TypeError),
    (lambda: Columns(2, 2), "stop", ValueError),
    (lambda: Columns(0, -1), "stop", ValueError),
    (lambda: LayerNorm(0.0), "epsilon", ValueError),
    (lambda: LayerNorm("small"), "epsilon", TypeError),
    (lambda: BatchNorm(1.0), "momentum", ValueError),
    (lambda: BatchNorm(-0.1), "momentum", ValueError),
    (lambda: BatchNorm(0.9, 0.0), "epsilon", ValueError),
    (lambda: GaussianNoise(-1.0), "stddev", ValueError),
    (lambda: GaussianNoise(None), "stddev", TypeError),
    (lambda: Embedding(0, 2), "vocabulary_size", ValueError),
    (lambda: Embedding(2**24 + 1, 2), "vocabulary_size", ValueError),
    (lambda: Embedding(2.0, 2), "vocabulary_size", TypeError),
    (lambda: Embedding([], 2), "vocabulary_size", ValueError),
    (lambda: Embedding([3, 0], 2), "vocabulary_size", ValueError),
    (lambda: Embedding(np.array([7, 3]), 2), "vocabulary_size", TypeError),
    (lambda: Embedding(3, 0), "dimension", ValueError),
    (lambda: Embedding(3, 2, "normal"), "initializer", TypeError),
    (lambda: Residual(Dense(3)), "layers", TypeError),
    (lambda: Residual("relu"), "layers", TypeError),
    (lambda: Residual(["relu"]), "layers", TypeError),
    (lambda: Residual(None), "layers", TypeError),
    (lambda: Residual([Dense]), "layers", TypeError),
    (lambda: Concatenate([]), "branches", TypeError),
    (lambda: Concatenate([Dense(3)]), "branches", TypeError),
    (lambda: Concatenate(Dense(3)), "branches", TypeError),
    (lambda: Concatenate([["relu"]]), "branches", TypeError),
]


@pytest.mark.parametrize(("make", "name", "error"), PARAMETERS)
def test_parameters(make, name, error):
    with pytest.raises(error, match=rf"\b{name} must\b"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Residual([LAYER, LAYER]),
        lambda: Concatenate([[LAYER], [LAYER]]),
        lambda: Residual([LAYER, Residual([LAYER])]),
        lambda: Concatenate([[LAYER], [TanH(), Concatenate([[LAYER], []])]]),
    ],
)
def test_a_layer_in_two_places(make):
    with pytest.raises(ValueError, match=r"Dense\(4\) is in (layers|branches) twice; make an object for each place"):
        make()


def test_numpy_numbers_are_numbers(device):
    three, two = np.int64(3), np.int32(2)
    network = [Reshape((three, three, two)), Conv2D(three, (two, two)), MaxPool2D(two), Residual([Dense(three)])]
    network = [*network[:3], Flatten(), *network[3:], Dense(1)]
    X = np.random.default_rng(0).normal(size=(5, 18))
    assert Model(network, device=device, random_state=0).fit(X, X[:, 0], max_iter=2)
