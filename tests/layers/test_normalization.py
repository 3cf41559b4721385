"""Normalisations against the reference and PyTorch; what a batch norm keeps, and where it uses it."""

import numpy as np
import pytest
from contracts import (
    assert_bitwise,
    assert_close,
    check_step,
    check_step_float32,
    initial_weights,
    model_with,
    random_weights,
)
from reference import Descent, Network, train
from sklearn.metrics import r2_score

from skintricate import Model
from skintricate.layers import BatchNorm, Conv2D, Dense, Flatten, LayerNorm, ReLU, Reshape, Scale, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Basic
from skintricate.training import resident

LAYERS = [Scale(), LayerNorm(), BatchNorm(), LayerNorm(0.3), BatchNorm(0.0, 0.3)]


def random_data(n_samples, n_features, n_outputs, seed=0):
    """Return inputs with means and deviations of their own, and real targets."""
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n_samples, n_features)) * generator.uniform(0.5, 3, n_features)
    return X + generator.normal(size=n_features), generator.normal(size=(n_samples, n_outputs))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("columns", [1, 2, 5, 8, 16, 17, 33, 97])
def test_columns(layer, columns, float64):
    """First, behind a dense layer, twice, and at the end."""
    network = [layer, Dense(columns), TanH(), layer, layer, Dense(3), layer]
    data = random_data(9, columns, 3)
    check_step(network, *data, float64, scale=0.3, tolerance=1e-8)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("n_samples", [2, 3, 17, 64, 211])
def test_samples(layer, n_samples, float64):
    data = random_data(n_samples, 5, 2)
    check_step([layer, Dense(6), ReLU(), layer, Dense(2)], *data, float64, tolerance=1e-8)
    check_step_float32([layer, Dense(6), TanH(), layer, Dense(2)], *data, float64, tolerance=3e-4)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize("channels", [1, 3, 8, 17])
def test_images(layer, channels, float64):
    """Channels are normalised over all pixels of all samples, or pixel by pixel."""
    network = [Reshape((4, 3, channels)), layer, Conv2D(channels, 2), TanH(), layer, Flatten(), Dense(2)]
    check_step(network, *random_data(7, 12 * channels, 2), float64, tolerance=1e-8)


@pytest.mark.parametrize("layer", [LayerNorm(), BatchNorm()], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_far_from_zero(layer, dtype, float64):
    """The variance is not a difference of large squares."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(40, 6)) + 1e3
    X = (rows if isinstance(layer, BatchNorm) else rows - rows.mean(axis=1, keepdims=True) + 1e3).astype(dtype)
    network = [layer, Dense(2)]
    weights = random_weights(network, 6)
    model, reference = model_with(network, weights, float64, dtype, n_features=6), Network(network, MeanSquared())
    Y = generator.normal(size=(40, 2))
    history = model.fit(X, Y, optimizer=Basic(1e-3), batch_size=40, max_iter=1)
    expected = reference.objective([w.astype(dtype).astype(float) for w in weights], X.astype(float), Y)
    assert history.loss[0] == pytest.approx(expected, rel=1e-3 if dtype == "float32" else 1e-9)


# What a batch norm keeps.


def test_first_statistics(float64):
    model = Model([BatchNorm(), Dense(1)], device=float64, dtype="float64", random_state=0)
    assert_bitwise(
        initial_weights(model.layers, 3)[:2], [np.array([[1.0] * 3, [0.0] * 3]), np.array([[0.0] * 3, [1.0] * 3])]
    )


@pytest.mark.parametrize("momentum", [0.0, 0.6, 0.99])
@pytest.mark.parametrize("batch_size", [10, 23])
def test_statistics_over_many_steps(momentum, batch_size, float64):
    """Batches in their order, the last one short, weights that change meanwhile."""
    X, Y = random_data(23, 4, 2)
    network = [BatchNorm(momentum), Dense(9), TanH(), BatchNorm(momentum, 1e-3), Dense(2)]
    start, orders = initial_weights(network, 4), [np.arange(23)] * 3
    expected, losses, _ = train(Network(network, MeanSquared()), start, X, Y, Descent(Basic(0.1)), orders, batch_size)
    model = model_with(network, start, float64, n_features=4)
    history = model.fit(X, Y, optimizer=Basic(0.1), batch_size=batch_size, max_iter=3, shuffle=False)
    assert_close(model.state.weights, expected, 1e-9)
    np.testing.assert_allclose(history.step_loss.ravel(), losses, rtol=1e-9)


def test_a_batch_norm_goes_on_from_its_statistics(float64):
    """Fitted twice, with no other batch than one: the running mean comes closer to the batch's each time."""
    X, Y = random_data(23, 4, 1)
    model = Model([BatchNorm(0.5), Dense(1)], device=float64, dtype="float64", random_state=0)
    for fits in (1, 2, 3):
        model.fit(X, Y, batch_size=23, max_iter=1)
        mean, variance = model.state.weights[1]
        share = 1 - 0.5**fits
        np.testing.assert_allclose(mean, share * X.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(variance, share * X.var(axis=0, ddof=1) + (1 - share), rtol=1e-12)


def test_predictions_use_the_statistics_kept(float64):
    """A row has the same prediction whatever rows are beside it; a shift of all rows is not taken away."""
    X, Y = random_data(23, 4, 2)
    model = Model([BatchNorm(), Dense(5), BatchNorm(), Dense(2)], device=float64, dtype="float64", random_state=0)
    model.fit(X, Y, batch_size=7, max_iter=4)
    whole = model.predict(X)
    assert_bitwise([np.concatenate([model.predict(X[k : k + 1]) for k in range(23)])], [whole])
    assert not np.allclose(model.predict(X + 1), whole)
    assert_close([whole], [Network(model.layers, MeanSquared()).values(model.state.weights, X)[-1]], 1e-11)


def test_predictions_do_not_change_the_statistics(float64):
    X, Y = random_data(23, 4, 2)
    model = Model([BatchNorm(), Dense(2)], device=float64, random_state=0)
    model.fit(X, Y, max_iter=1)
    before = [w.copy() for w in model.state.weights]
    first = model.predict(X)
    model.predict(X + 5)
    assert_bitwise(model.state.weights, before)
    assert_bitwise([model.predict(X)], [first])


@pytest.mark.parametrize("scored_by", ["device", "host"])
def test_validation_scores_use_the_statistics_kept(scored_by, float64, monkeypatch):
    """Of each epoch: training goes on by fits of one epoch, after which the model predicts the same rows."""
    if scored_by == "host":
        monkeypatch.setattr(resident, "suits", lambda *_: False)
    X, Y = random_data(40, 4, 2)
    X_val, Y_val = random_data(17, 4, 2, seed=1)
    layers = [BatchNorm(0.5), Dense(5), TanH(), BatchNorm(0.5), Dense(2)]
    options = {"batch_size": 16, "validation_data": (X_val, Y_val)}
    whole, step = (Model(layers, device=float64, dtype="float64", random_state=0) for _ in range(2))
    history, expected = whole.fit(X, Y, max_iter=4, **options), []
    for _ in range(4):
        step.fit(X, Y, max_iter=1, **options)
        expected.append(r2_score(Y_val, step.predict(X_val)))
    np.testing.assert_allclose(history.validation_score, expected, rtol=1e-9)
    assert_bitwise(whole.state.weights, step.state.weights)


@pytest.mark.parametrize("host", [False, True])
def test_early_stopping_keeps_the_statistics_of_the_best_epoch(host, float64, monkeypatch):
    if host:
        monkeypatch.setattr(resident, "suits", lambda *_: False)
    X, Y = random_data(40, 4, 1)
    X_val, Y_val = random_data(17, 4, 1, seed=1)
    model = Model([BatchNorm(0.5), Dense(8), TanH(), BatchNorm(0.5), Dense(1)], device=float64, random_state=0)
    history = model.fit(
        X, Y, batch_size=16, max_iter=30, learning_rate=0.05, early_stopping=True, validation_data=(X_val, Y_val)
    )
    assert np.argmax(history.validation_score) < len(history) - 1
    assert r2_score(Y_val, model.predict(X_val)) == pytest.approx(history.validation_score.max(), rel=1e-4)


def test_sample_weights_do_not_change_the_statistics(float64):
    X, Y = random_data(23, 4, 2)
    kept = []
    for weight in (None, np.arange(23) % 3 / 2):
        model = Model([BatchNorm(), Dense(2)], device=float64, dtype="float64", random_state=0)
        model.fit(X, Y, max_iter=1, sample_weight=weight)
        kept.append(model.state.weights[1])
    assert_bitwise([kept[0]], [kept[1]])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "momentum"])
def test_optimizers_leave_the_statistics(optimizer, float64):
    """No step and no decay: they are those of the batch alone."""
    X, Y = random_data(23, 4, 2)
    model = Model([BatchNorm(0.0), Dense(2)], device=float64, dtype="float64", random_state=0)
    model.fit(X, Y, optimizer=optimizer, learning_rate=0.1, alpha=0.5, max_iter=3)
    assert_close([model.state.weights[1]], [np.stack([X.mean(axis=0), X.var(axis=0, ddof=1)])], 1e-12)


def test_batches_of_one_row(device):
    """Their variance is zero: outputs are the shifts, and nothing is infinite."""
    X, Y = random_data(5, 4, 2)
    model = Model([Dense(3), BatchNorm(), Dense(2)], device=device, random_state=0)
    history = model.fit(X, Y, batch_size=1, max_iter=3)
    assert np.isfinite(history.loss).all()
    assert np.isfinite(model.predict(X)).all()


def test_columns_that_do_not_vary(float64):
    X, Y = random_data(9, 4, 2)
    X[:, 1] = 3.0
    for layer in (BatchNorm(), LayerNorm()):
        check_step([layer, Dense(2)], X, Y, float64, tolerance=1e-8)
    check_step([LayerNorm(), Dense(2)], np.ones((9, 4)), Y, float64, tolerance=1e-8)


# PyTorch: its momentum is the share of what is new.


def test_batch_norm_is_torchs(float64):
    torch = pytest.importorskip("torch")
    X, Y = random_data(23, 24, 2)
    network = [Reshape((2, 3, 4)), BatchNorm(0.7, 1e-3), Flatten(), Dense(2)]
    weights = random_weights(network, 24)
    model = model_with(network, weights, float64, n_features=24)
    model.fit(X, Y, optimizer=Basic(0.1), batch_size=10, max_iter=2, shuffle=False)

    norm, dense = torch.nn.BatchNorm2d(4, 1e-3, 1 - 0.7).double(), torch.nn.Linear(24, 2).double()
    (factor, shift), (mean, variance), kernel = (torch.tensor(w.copy()) for w in weights)
    with torch.no_grad():
        norm.weight.copy_(factor)
        norm.bias.copy_(shift)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        dense.weight.copy_(kernel[:-1].T)
        dense.bias.copy_(kernel[-1])

    def outputs(rows):
        images = torch.tensor(rows).reshape(-1, 2, 3, 4).movedim(-1, 1)
        return dense(norm(images).movedim(1, -1).reshape(len(rows), -1))

    descent = torch.optim.SGD([*norm.parameters(), *dense.parameters()], 0.1)
    for begin in [0, 10, 20] * 2:
        descent.zero_grad()
        ((outputs(X[begin : begin + 10]) - torch.tensor(Y[begin : begin + 10])) ** 2).mean().backward()
        descent.step()
    norm.eval()
    expected = [
        torch.stack([norm.weight, norm.bias]),
        torch.stack([norm.running_mean, norm.running_var]),
        torch.cat([dense.weight.T, dense.bias[None]]),
    ]
    assert_close(model.state.weights, [w.detach().numpy() for w in expected], 1e-10)
    assert_close([model.predict(X)], [outputs(X).detach().numpy()], 1e-10)


def test_layer_norm_is_torchs(float64):
    torch = pytest.importorskip("torch")
    X, Y = random_data(9, 7, 7)
    network = [Scale(), LayerNorm(1e-3)]
    weights = random_weights(network, 7)
    model = model_with(network, weights, float64, n_features=7)
    model.fit(X, Y, optimizer=Basic(1.0), batch_size=9, max_iter=1, shuffle=False)
    (scale, norm) = (torch.tensor(w.copy(), requires_grad=True) for w in weights)
    outputs = torch.nn.functional.layer_norm(torch.tensor(X) * scale, (7,), norm[0], norm[1], 1e-3)
    ((outputs - torch.tensor(Y)) ** 2).mean().backward()
    assert_close(model.state.weights, [(w - w.grad).detach().numpy() for w in (scale, norm)], 1e-11)
