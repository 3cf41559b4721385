"""Optimizers against torch.optim, clipping, and what carries over from one fit to the next."""

import numpy as np
import pytest
from contracts import (
    OPTIMIZERS,
    assert_bitwise,
    assert_close,
    classes,
    gradient_step,
    model_with,
    problem,
    random_weights,
)
from reference import OPTIMIZERS as REFERENCE
from reference import Network

from skintricate import optimizers
from skintricate.layers import Dense, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adagrad, Adam, AdamW, Basic, Momentum, Nesterov, RMSprop

NETWORK = [Dense(5), TanH(), Dense(2)]
STEPS = 25


def test_reference_knows_every_optimizer():
    assert {cls.__name__ for cls in classes(optimizers)} == set(REFERENCE)


def torch_weights(make, weights, X, Y, clip_norm):
    """Train the network in torch, and return its weights."""
    torch = pytest.importorskip("torch")
    parameters = [torch.tensor(part, requires_grad=True) for w in weights for part in (w[:-1], w[-1])]
    optimizer = make(torch.optim, parameters)
    X, Y = torch.tensor(X), torch.tensor(Y)
    for _ in range(STEPS):
        optimizer.zero_grad()
        kernel_1, bias_1, kernel_2, bias_2 = parameters
        outputs = torch.tanh(X @ kernel_1 + bias_1) @ kernel_2 + bias_2
        ((outputs - Y) ** 2).mean().backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
    arrays = [parameter.detach().numpy() for parameter in parameters]
    return [np.vstack(arrays[:2]), np.vstack(arrays[2:])]


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        (Basic(0.1), lambda optim, p: optim.SGD(p, 0.1)),
        (Momentum(0.05, 0.8), lambda optim, p: optim.SGD(p, 0.05, momentum=0.8)),
        (Nesterov(0.05, 0.8), lambda optim, p: optim.SGD(p, 0.05, momentum=0.8, nesterov=True)),
        (Adagrad(0.1), lambda optim, p: optim.Adagrad(p, 0.1)),
        (RMSprop(0.01, 0.8), lambda optim, p: optim.RMSprop(p, 0.01, alpha=0.8)),
        (Adam(0.02), lambda optim, p: optim.Adam(p, 0.02)),
        (Adam(0.02, 0.5, 0.7, 1e-2), lambda optim, p: optim.Adam(p, 0.02, betas=(0.5, 0.7), eps=1e-2)),
        (AdamW(0.02, weight_decay=0.2), lambda optim, p: optim.AdamW(p, 0.02, weight_decay=0.2)),
    ],
    ids=lambda value: repr(value) if isinstance(value, optimizers.Optimizer) else "",
)
@pytest.mark.parametrize("clip_norm", [None, 0.1])
def test_same_as_torch(optimizer, make, clip_norm, float64):
    X, Y = problem(MeanSquared(), 12, 4, 2)
    weights = random_weights(NETWORK, 4)
    optimizer = type(optimizer)(**{**optimizer.get_params(), "clip_norm": clip_norm})
    model = model_with(NETWORK, weights, float64)
    model.fit(X, Y, optimizer=optimizer, batch_size=12, max_iter=STEPS, shuffle=False)
    # torch divides by the norm plus 1e-6.
    assert_close(
        model.state.weights, torch_weights(make, weights, X, Y, clip_norm), 1e-10 if clip_norm is None else 3e-4
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("use_bias", [True, False])
def test_clipping_scales_all_gradients_together(alpha, use_bias, float64):
    X, Y = problem(MeanSquared(), 9, 60, 50)
    network = [Dense(70, use_bias=use_bias), TanH(), Dense(50, use_bias=use_bias)]
    weights = random_weights(network, 60, scale=0.2)
    value, gradient = gradient_step(network, weights, X, Y, MeanSquared(), float64, alpha=alpha)
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    options = {"loss": MeanSquared(), "device": float64, "alpha": alpha}
    clipped_value, clipped = gradient_step(network, weights, X, Y, optimizer=Basic(1.0, clip_norm=norm / 3), **options)
    assert_close(clipped, [g / 3 for g in gradient], 1e-12)
    np.testing.assert_allclose(clipped_value, value, rtol=1e-13)
    _, untouched = gradient_step(network, weights, X, Y, optimizer=Basic(1.0, clip_norm=norm * 1.01), **options)
    assert_close(untouched, gradient, 1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_named_parameters_are_stored_and_shown(optimizer):
    assert type(optimizer)(**optimizer.get_params(deep=False)) == optimizer
    assert repr(optimizer).startswith(type(optimizer).__name__ + "(")


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_states_go_on_in_the_next_fit(optimizer, device):
    X, Y = problem(MeanSquared(), 12, 4, 2)
    weights = random_weights(NETWORK, 4)
    once, twice = (model_with(NETWORK, weights, device, "float32") for _ in range(2))
    once.fit(X, Y, optimizer=optimizer, batch_size=5, max_iter=7)
    for epochs in (3, 4):
        twice.fit(X, Y, optimizer=optimizer, batch_size=5, max_iter=epochs)
    assert_bitwise(once.state.weights, twice.state.weights)
    for a, b in zip(once.state.optimizer_states, twice.state.optimizer_states):
        assert_bitwise(a, b)
    assert [len(states) for states in once.state.optimizer_states] == [len(optimizer.states)] * 2


def test_states_are_dropped_with_another_optimizer(float64):
    X, Y = problem(MeanSquared(), 12, 4, 2)
    model = model_with(NETWORK, random_weights(NETWORK, 4), float64)
    model.fit(X, Y, optimizer=Adam(0.1), batch_size=12, max_iter=5)
    between = model.state.weights
    model.fit(X, Y, optimizer=Momentum(0.1), batch_size=12, max_iter=1)
    expected = Network(NETWORK, MeanSquared()).gradients(between, X, Y)
    assert_close(model.state.weights, [w - 0.1 * g for w, g in zip(between, expected)], 1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("units", [1, 17, 49])
def test_padding_of_the_weights_stays_out(optimizer, units, float64):
    """Lanes beside the last unit change neither the norm nor the states, whatever the optimizer."""
    network = [Dense(units), TanH(), Dense(units, use_bias=False), TanH(), Dense(1)]
    X, Y = problem(MeanSquared(), 6, 3, 1)
    model = model_with(network, random_weights(network, 3), float64)
    optimizer = type(optimizer)(**{**optimizer.get_params(), "clip_norm": 0.5})
    model.fit(X, Y, optimizer=optimizer, max_iter=5, alpha=0.1)
    again = model_with(network, random_weights(network, 3), float64)
    again.fit(X, Y, optimizer=optimizer, max_iter=2, alpha=0.1)
    again.fit(X, Y, optimizer=optimizer, max_iter=3, alpha=0.1)
    assert all(np.isfinite(w).all() for w in model.state.weights)
    assert_bitwise(model.state.weights, again.state.weights)
