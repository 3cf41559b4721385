"""Embeddings: which vectors numbers choose, which have gradients, and numbers that choose none."""

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skintricate import Model
from skintricate.exceptions import ShapeError
from skintricate.initializers import Constant
from skintricate.layers import Columns, Concatenate, Dense, Dropout, Embedding, Flatten, Scale, TanH
from skintricate.losses import MeanBias
from skintricate.optimizers import Adam

OUTSIDE = [-1.0, 7.0, 8.0, 1e30, -1e30, 2.0**24, -0.5]


def vectors_of(layer, X, device, dtype="float64"):
    """Return what an embedding of ascending values makes of X, and its vectors."""
    X = np.asarray(X, float)
    rows = layer.parameters((X.shape[1],))[0].rows
    vectors = 1.0 + np.arange(rows * layer.dimension).reshape(rows, layer.dimension)
    last = np.ones((X.shape[1] * layer.dimension + 1, 1))
    model = model_with([layer, Dense(1)], [vectors, last], device, dtype, n_features=X.shape[1])
    return model.outputs(X)[0], vectors


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dimension", [1, 3, 8, 17, 50])
def test_a_vocabulary_shared_by_all_columns(dimension, dtype, float64):
    X = [[0, 6, 3], [6, 6, 0]]
    found, vectors = vectors_of(Embedding(7, dimension), X, float64, dtype)
    assert found.shape == (2, 3, dimension)
    np.testing.assert_array_equal(found, vectors[np.array(X)])


@pytest.mark.parametrize("dimension", [1, 3, 8, 17])
def test_vocabularies_of_columns(dimension, float64):
    found, vectors = vectors_of(Embedding([7, 1, 4], dimension), [[0, 0, 0], [6, 0, 3], [2, 0, 1]], float64)
    np.testing.assert_array_equal(found, vectors[[[0, 7, 8], [6, 7, 11], [2, 7, 9]]])


@pytest.mark.parametrize("number", OUTSIDE)
@pytest.mark.parametrize("vocabulary", [7, [7, 3]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_outside_have_zeros(number, vocabulary, dtype, float64):
    """Also where a column's vectors are followed by those of the next."""
    found, vectors = vectors_of(Embedding(vocabulary, 5), [[number, 2], [6, 2]], float64, dtype)
    assert not found[0, 0].any()
    assert found[0, 1].all()
    np.testing.assert_array_equal(found[1, 0], vectors[6])


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_missing_numbers_of_a_prediction_have_zeros(number, device):
    found, _ = vectors_of(Embedding(7, 5), [[number, 2]], device, "float32")
    assert not found[0, 0].any()
    assert found[0, 1].all()


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_training_needs_numbers(number, device):
    with pytest.raises(ValueError, match="X contains NaN or infinity"):
        Model([Embedding(3, 2), Dense(1)], device=device).fit([[0.0], [number]], [0.0, 1.0])


@pytest.mark.parametrize("vocabulary", [7, [7, 3]])
def test_gradients_are_sums_over_the_places_of_a_number(vocabulary, float64):
    """With a loss whose gradient is one, they are how often a number occurs; those outside have none."""
    generator = np.random.default_rng(0)
    X = np.column_stack([generator.choice([*OUTSIDE, *range(5)], 200), generator.integers(-1, 4, 200)])
    network, layer = [Embedding(vocabulary, 4), Flatten()], Embedding(vocabulary, 4)
    (parameter,) = layer.parameters((2,))
    start = [generator.normal(size=parameter.shape)]
    _, (step,) = gradient_step(network, start, X, np.zeros((200, 8)), MeanBias(), float64)
    counts = np.zeros(parameter.rows)
    for column, (size, first) in enumerate([(7, 0), (7, 0)] if vocabulary == 7 else [(7, 0), (3, 7)]):
        for number in range(size):
            counts[first + number] += (X[:, column] == number).sum()
    assert counts[5] == counts[6] == 0
    assert_close([step], [np.repeat(counts[:, None], 4, axis=1) / (8 * 200)], 1e-12)


def test_vectors_without_a_number_stay(float64):
    """In every bit, with an optimizer that remembers nothing of them."""
    X, y = np.array([[0.0], [2.0], [-1.0], [9.0]]), np.arange(4.0)
    model = Model([Embedding(5, 6), Dense(1)], device=float64, random_state=0)
    model.fit(X, y, max_iter=1, optimizer=Adam(1e-30))
    before = model.state.weights[0].copy()
    model.fit(X, y, max_iter=3, optimizer=Adam(0.1))
    assert_bitwise([model.state.weights[0][[1, 3, 4]]], [before[[1, 3, 4]]])
    assert not np.isclose(model.state.weights[0][[0, 2]], before[[0, 2]]).any()


def test_the_network_of_an_unknown_category_learns(float64):
    """Its vector is zeros, so the bias alone does; no vector changes."""
    model = Model([Embedding(5, 3), Dense(1)], device=float64, random_state=0)
    model.fit([[-1.0], [5.0]], [1.0, 1.0], max_iter=1, learning_rate=1e-30)
    before = model.state.weights[0].copy()
    model.fit([[-1.0], [5.0]], [1.0, 1.0], max_iter=300, learning_rate=0.05)
    assert_bitwise([model.state.weights[0]], [before])
    np.testing.assert_allclose(model.predict([[-1.0], [77.0]]), 1.0, atol=0.01)


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    is_shared=st.booleans(),
    dimension=st.integers(1, 20),
    n_samples=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_any_vocabulary(sizes, is_shared, dimension, n_samples, seed, float64):
    generator = np.random.default_rng(seed)
    X = np.column_stack([generator.integers(-1, size + 1, n_samples) for size in sizes]).astype(float)
    Y = generator.normal(size=(n_samples, 2))
    layer = Embedding(sizes[0] if is_shared else sizes, dimension)
    check_step([layer, TanH(), Dense(2)], X, Y, float64)


@pytest.mark.parametrize("vocabulary", [1000, [3, 1000], [1000, 3]])
def test_large_vocabularies(vocabulary, float64):
    generator = np.random.default_rng(0)
    X, Y = generator.integers(0, 1000, (50, 2)).astype(float), generator.normal(size=(50, 2))
    check_step([Embedding(vocabulary, 7), Dense(2)], X, Y, float64)
    check_step_float32([Embedding(vocabulary, 7), Dense(2)], X, Y, float64)


def test_whole_numbers_have_no_gradient(float64):
    """What lies before an embedding would learn nothing from it, and is refused; what lies beside it learns."""
    generator = np.random.default_rng(0)
    X, Y = generator.integers(0, 5, (9, 2)).astype(float), generator.normal(size=(9, 2))
    beside = Concatenate([[Embedding(5, 3), Flatten()], [Columns(1), Scale()]])
    for before in ([Scale()], [Dense(2)]):
        with pytest.raises(ShapeError, match="put it first, or into a branch after Columns"):
            Model([*before, beside, Dense(2)], device=float64).fit(X, Y)
    network = [Dropout(0.0), beside, Dense(2)]
    _, steps = gradient_step(network, random_weights(network, 2), X, Y, MeanBias(), float64)
    assert all(step.any() for step in steps)


def test_first_values():
    (vectors,) = Embedding([7, 3], 4).parameters((2,))
    assert (vectors.name, vectors.shape) == ("vectors", (10, 4))
    assert vectors.initializer.draw(np.random.default_rng(0), (1000, 4)).std() == pytest.approx(0.1, rel=0.05)
    (vectors,) = Embedding(7, 4, Constant(2.0)).parameters((2,))
    assert (vectors.shape, vectors.initializer) == ((7, 4), Constant(2.0))


def test_it_learns_a_number_for_each_category(device):
    generator = np.random.default_rng(0)
    effects = generator.normal(size=20)
    X = generator.integers(0, 20, (200, 1)).astype(float)
    model = Model([Embedding(20, 4), Dense(1)], device=device, random_state=0)
    model.fit(X, effects[X[:, 0].astype(int)], learning_rate=0.05, batch_size=50, max_iter=150)
    known = np.unique(X)
    np.testing.assert_allclose(model.predict(known[:, None])[:, 0], effects[known.astype(int)], atol=0.02)


def test_coefs_are_the_vectors(device):
    model = Model([Embedding([4, 3], 2), Dense(1)], device=device, random_state=0)
    model.fit([[0.0, 0.0], [3.0, 2.0]], [0.0, 1.0], max_iter=1)
    assert [c.shape for c in model.coefs_] == [(7, 2), (4, 1)]
    assert_bitwise([model.outputs([[3.0, 2.0]])[0][0]], [model.coefs_[0][[3, 6]]])
