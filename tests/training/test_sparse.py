"""A sparse X that stays sparse: the numbers of dense rows, and memory of the entries alone."""

import numpy as np
import pytest
import scipy.sparse
from contracts import assert_bitwise, assert_close

from skintricate import IntricateClassifier, Model
from skintricate.layers import GELU, Dense, Dropout, EmbeddingBag, ReLU, SoftMax
from skintricate.training import Lowering, sparse
from skintricate.training import plans as kept_plans

RANDOM = np.random.default_rng(0)
X = scipy.sparse.random_array((90, 301), density=0.05, format="csr", rng=RANDOM)
X.data[:] = RANDOM.integers(1, 5, X.nnz)
Y = RANDOM.integers(0, 3, 90)
FIRST = [Dense(70), Dense(9, use_bias=False, l1=0.01, l2=0.1), EmbeddingBag(100), EmbeddingBag(3, l2=0.1)]


@pytest.fixture
def lowered(monkeypatch):
    """Return the list of whether plans read X as a sparse matrix, as they are made."""
    made, run = [], Lowering.run

    def spy(self):
        made.append(self.is_sparse)
        return run(self)

    monkeypatch.setattr(Lowering, "run", spy)
    monkeypatch.setattr(kept_plans, "_plans", {})
    return made


def results(first, X, device, dtype="float64", **options):
    """Return what training and predicting give."""
    model = Model([first, GELU(), Dense(3), SoftMax()], device=device, dtype=dtype, random_state=3)
    options = {"batch_size": 32, "max_iter": 3, "alpha": 0.01, "validation_data": (X[:20], Y[:20]), **options}
    history = model.fit(X, Y, loss="categorical_cross_entropy", **options)
    return [*model.state.weights, history.loss, history.validation_score, model.predict(X), model.outputs(X)[0]]


@pytest.mark.parametrize("first", FIRST, ids=repr)
@pytest.mark.parametrize("options", [{}, {"shuffle": False, "sample_weight": np.linspace(0, 1, 90), "batch_size": 90}])
def test_as_dense_rows(first, options, float64, lowered):
    found = results(first, X, float64, **options)
    assert any(lowered)
    assert_close(found, results(first, X.toarray(), float64, **options), 1e-9)
    single = results(first, X, float64, "float32", **options)
    assert_close(single, found, 1e-3)
    assert_bitwise(results(first, X, float64, "float32", **options), single)


def test_rows_without_entries_and_columns_out_of_order(float64):
    few = scipy.sparse.csr_array(([2.0, 1.0, 3.0], [4, 1, 0], [0, 0, 2, 2, 3]), shape=(4, 60))
    y = [0, 1, 2, 0]
    models = [Model([Dense(5), ReLU(), Dense(3), SoftMax()], device=float64, random_state=0) for _ in range(2)]
    for model, rows in zip(models, (few, few.toarray())):
        model.fit(rows, y, loss="categorical_cross_entropy", max_iter=2)
    assert_close(models[0].state.weights, models[1].state.weights, 1e-5)
    assert_close([models[0].predict(few[:1])], [models[1].predict(few[:1].toarray())], 1e-5)


@pytest.mark.parametrize(
    ("network", "rows", "predicts_entries"),
    [
        ([Dropout(0.1), Dense(3), SoftMax()], X, False),
        ([Dense(3), SoftMax()], scipy.sparse.csr_array(np.ones((90, 4))), True),
    ],
    ids=["another layer first", "hardly sparse"],
)
def test_what_becomes_dense(network, rows, predicts_entries, device, lowered):
    model = Model(network, device=device, random_state=0)
    model.fit(rows, Y, loss="categorical_cross_entropy", max_iter=1)
    assert not any(lowered)
    assert model.predict(rows).shape == (90, 3)
    assert lowered[-1] == predicts_entries


def test_entries_that_do_not_fit_are_streamed(device, lowered, monkeypatch):
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "40000")
    model = Model([Dense(3), SoftMax()], device=device, random_state=0)
    wide = scipy.sparse.random_array((2000, 50), density=0.08, format="csr", rng=RANDOM)
    model.fit(wide, RANDOM.integers(0, 3, 2000), loss="categorical_cross_entropy", max_iter=1, batch_size=10)
    assert not lowered[-1]


def test_no_dense_row_is_made(device, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a sparse X became dense")

    monkeypatch.setattr(scipy.sparse.csr_array, "toarray", refuse)
    monkeypatch.setattr(scipy.sparse.csr_matrix, "toarray", refuse)
    classifier = IntricateClassifier((8,), max_iter=2, random_state=0, device=device, n_iter_no_change=None)
    wide = scipy.sparse.random_array((200, 50_000), density=0.001, format="csr", rng=RANDOM)
    classifier.fit(wide, RANDOM.integers(0, 2, 200))
    assert classifier.predict(wide).shape == (200,)


def test_density_that_stays_sparse():
    assert sparse.stays_sparse([Dense(3)], X)
    assert sparse.stays_sparse([EmbeddingBag(3)], X)
    assert not sparse.stays_sparse([ReLU()], X)
    assert not sparse.stays_sparse([Dense(3)], X.toarray())


@pytest.mark.parametrize("density", [0.03, 0.6])
def test_a_row_has_the_same_outputs_whatever_is_beside_it(density, device):
    model = Model([Dense(20), ReLU(), Dense(1)], device=device, random_state=0)
    model.fit(X, Y, max_iter=1)
    rows = scipy.sparse.vstack([X[:7], scipy.sparse.random_array((30, 301), density=density, rng=RANDOM)], format="csr")
    assert_bitwise([model.predict(rows)[:7]], [model.predict(X[:7])])
    np.testing.assert_allclose(model.predict(rows), model.predict(rows.toarray()), rtol=1e-5, atol=1e-5)


def test_no_entries_at_all(device):
    empty, y = scipy.sparse.csr_array((40, 30)), np.arange(40) % 2
    classifier = IntricateClassifier((3,), max_iter=2, device=device, random_state=0, n_iter_no_change=None)
    assert classifier.fit(empty, y).predict(empty).shape == (40,)


def test_columns_that_are_not_there(device):
    model = Model([Dense(3), SoftMax()], device=device, random_state=0)
    model.fit(X, Y, loss="categorical_cross_entropy", max_iter=1)
    for column in (-5, 301, 100_000):
        wrong = X.copy()
        wrong.indices[0] = column
        with pytest.raises(ValueError, match="301 columns"):
            model.predict(wrong)


def test_dense_validation_rows_count_in_the_budget(device, lowered, monkeypatch):
    monkeypatch.setenv("SKINTRICATE_MEMORY_LIMIT", "2MiB")
    few = scipy.sparse.random_array((50, 2000), density=0.001, format="csr", rng=RANDOM)
    options = {"early_stopping": True, "max_iter": 2, "n_iter_no_change": None, "device": device, "random_state": 0}
    y, y_val = np.arange(50) % 2, np.arange(500) % 2
    classifier = IntricateClassifier((4,), **options).fit(few, y, X_val=RANDOM.normal(size=(500, 2000)), y_val=y_val)
    assert len(classifier.validation_scores_) == 2
