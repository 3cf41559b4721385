"""Labels, targets and inputs of every kind."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
from problems import assert_same_model, classes, classifier, differ, labels, numbers, regressor
from sklearn.exceptions import DataConversionWarning
from sklearn.preprocessing import StandardScaler

X, Y = classes()
NAMES = np.array(["ash", "birch", "cedar"])

# Labels of three classes, and the classes that are to come out.
LABELS = {
    "integers": (Y, [0, 1, 2]),
    "list": (Y.tolist(), [0, 1, 2]),
    "tuple": (tuple(Y.tolist()), [0, 1, 2]),
    "small integers": (Y.astype(np.int8), [0, 1, 2]),
    "negative integers": (Y * 5 - 7, [-7, -2, 3]),
    "huge integers": (Y + 2**62, [2**62, 2**62 + 1, 2**62 + 2]),
    "integers far apart": (np.array([-(2**63), 0, 2**63 - 1])[Y], [-(2**63), 0, 2**63 - 1]),
    "unsigned integers": (Y.astype(np.uint64) + 2**63, [2**63, 2**63 + 1, 2**63 + 2]),
    "whole floats": (Y.astype(np.float32), [0, 1, 2]),
    "strings": (NAMES[Y], NAMES),
    "objects": (NAMES[Y].astype(object), NAMES),
    "pandas series": (pd.Series(NAMES[Y]), NAMES),
    "pandas strings": (pd.Series(NAMES[Y], dtype="string"), NAMES),
    "pandas categories": (pd.Series(pd.Categorical.from_codes(Y, NAMES)), NAMES),
    "a pandas categorical": (pd.Categorical.from_codes(Y, NAMES), NAMES),
    "pandas nullable integers": (pd.Series(Y, dtype="Int64"), [0, 1, 2]),
    "polars series": (pl.Series(NAMES[Y].tolist()), NAMES),
    "polars categories": (pl.Series(NAMES[Y].tolist(), dtype=pl.Categorical), NAMES),
}


@pytest.mark.parametrize(("y", "expected"), LABELS.values(), ids=LABELS)
def test_labels(y, expected):
    estimator = classifier().fit(X, y)
    assert list(estimator.classes_) == list(expected)
    if isinstance(y, np.ndarray):
        assert estimator.classes_.dtype == y.dtype
    assert_same_model(estimator, classifier().fit(X, Y))
    predicted = estimator.predict(X)
    assert predicted.shape == (len(X),)
    np.testing.assert_array_equal(predicted, np.asarray(expected)[estimator.predict_proba(X).argmax(axis=1)])
    assert estimator.score(X, y) == np.mean(predicted == np.asarray(expected)[Y])


@pytest.mark.parametrize("y", [Y == 1, (Y == 1).tolist(), pd.Series(Y == 1), pd.Series(Y == 1, dtype="boolean")])
def test_boolean_labels(y):
    estimator = classifier().fit(X, y)
    assert list(estimator.classes_) == [False, True]
    assert estimator.n_outputs_ == 1
    assert_same_model(estimator, classifier().fit(X, (Y == 1).astype(int)))


def test_a_column_of_labels():
    with pytest.warns(DataConversionWarning):
        estimator = classifier().fit(X, Y[:, None])
    assert estimator.predict(X).shape == (len(X),)
    assert_same_model(estimator, classifier().fit(X, Y))


def test_more_classes_than_a_batch_has_samples():
    generator = np.random.default_rng(0)
    estimator = classifier(batch_size=3).fit(generator.normal(size=(100, 5)), np.arange(100) % 40)
    probabilities = estimator.predict_proba(X)
    assert probabilities.shape == (len(X), 40)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


# Multilabel

X_LABELS, Y_LABELS = labels()
MULTILABEL = {
    "integers": Y_LABELS,
    "booleans": Y_LABELS.astype(bool),
    "floats": Y_LABELS.astype(float),
    "list": Y_LABELS.tolist(),
    "frame": pd.DataFrame(Y_LABELS, columns=NAMES),
    "sparse matrix": scipy.sparse.csr_matrix(Y_LABELS),
    "sparse array": scipy.sparse.csc_array(Y_LABELS),
}


@pytest.mark.parametrize("y", MULTILABEL.values(), ids=MULTILABEL)
def test_multilabel(y):
    estimator = classifier().fit(X_LABELS, y)
    assert_same_model(estimator, classifier().fit(X_LABELS, Y_LABELS))
    assert list(estimator.classes_) == [0, 1, 2]
    assert estimator.n_outputs_ == 3
    predicted = estimator.predict(X_LABELS)
    assert set(np.unique(predicted)) <= {0, 1}
    probabilities = estimator.predict_proba(X_LABELS)
    assert isinstance(probabilities, np.ndarray)
    np.testing.assert_array_equal(predicted, probabilities > 0.5)
    assert estimator.score(X_LABELS, y) == np.mean((predicted == Y_LABELS).all(axis=1))


def test_multilabel_learns():
    estimator = classifier((16,), learning_rate=0.03, max_iter=80).fit(X_LABELS, Y_LABELS)
    assert estimator.score(X_LABELS, Y_LABELS) > 0.9


def test_labels_that_never_occur():
    y = np.c_[Y_LABELS, np.zeros(len(Y_LABELS), int), np.ones(len(Y_LABELS), int)]
    estimator = classifier(learning_rate=0.1, max_iter=50).fit(X_LABELS, y)
    predicted = estimator.predict(X_LABELS)
    assert not predicted[:, 3].any()
    assert predicted[:, 4].all()


# Regression targets

X_REAL, Y_REAL = numbers()
TARGETS = {
    "list": Y_REAL.tolist(),
    "float32": Y_REAL.astype(np.float32),
    "objects": Y_REAL.astype(object),
    "series": pd.Series(Y_REAL),
    "nullable series": pd.Series(Y_REAL, dtype="Float64"),
    "polars": pl.Series(Y_REAL),
    "read-only": np.frombuffer(Y_REAL.tobytes()),
    "strided": np.repeat(Y_REAL, 2)[::2],
    "big-endian": Y_REAL.astype(">f8"),
}


@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_targets(y):
    estimator = regressor().fit(X_REAL, y)
    assert_same_model(estimator, regressor().fit(X_REAL, Y_REAL))
    assert estimator.predict(X_REAL).shape == (len(X_REAL),)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, int, np.float16])
def test_numbers_of_other_types(dtype):
    y = (Y_REAL * 3 + 10).astype(dtype)
    assert_same_model(regressor().fit(X_REAL, y), regressor().fit(X_REAL, y.astype(float)))


@pytest.mark.parametrize("n_outputs", [1, 2, 17])
def test_many_outputs(n_outputs):
    X_many, y = numbers(n_outputs=n_outputs)
    y = y.reshape(len(y), n_outputs)
    estimator = regressor().fit(X_many, y)
    assert estimator.predict(X_many).shape == y.shape
    assert estimator.n_outputs_ == n_outputs
    assert_same_model(estimator, regressor().fit(X_many, pd.DataFrame(y)))


# Inputs


def memmap(array, folder):
    file = np.memmap(folder / "X", mode="w+", dtype=array.dtype, shape=array.shape)
    file[:] = array
    return np.memmap(folder / "X", mode="r", dtype=array.dtype, shape=array.shape)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


INPUTS = {
    "list": lambda X, folder: X.tolist(),
    "objects": lambda X, folder: X.astype(object),
    "Fortran order": lambda X, folder: np.asfortranarray(X),
    "strided": lambda X, folder: np.repeat(X, 2, axis=1)[:, ::2],
    "reversed": lambda X, folder: X[::-1].copy()[::-1],
    "read-only": lambda X, folder: read_only(X),
    "memory map": memmap,
    "big-endian": lambda X, folder: X.astype(">f8"),
    "float32": lambda X, folder: X.astype(np.float32),
    "long double": lambda X, folder: X.astype(np.longdouble),
    "matrix of pandas": lambda X, folder: pd.DataFrame(X).astype("Float64").to_numpy(),
}
SPARSE = {
    f"{kind.__name__}": lambda X, folder, kind=kind: kind(X)
    for kind in (
        scipy.sparse.csr_matrix,
        scipy.sparse.csr_array,
        scipy.sparse.csc_matrix,
        scipy.sparse.csc_array,
        scipy.sparse.coo_array,
        scipy.sparse.lil_array,
        scipy.sparse.bsr_matrix,
    )
}


@pytest.mark.parametrize("make", [*INPUTS.values(), *SPARSE.values()], ids=[*INPUTS, *SPARSE])
def test_inputs(make, tmp_path):
    dense = np.where(np.abs(X) > 0.5, X, 0)
    expected = classifier(batch_size=16).fit(dense, Y)
    other = make(dense, tmp_path)
    before = other.copy() if hasattr(other, "copy") else other
    found = classifier(batch_size=16).fit(other, Y)
    assert_same_model(found, expected)
    # Predictions sum the entries of a sparse X one after the other.
    tolerance = 1e-6 if scipy.sparse.issparse(other) else 0
    np.testing.assert_allclose(found.predict_proba(other), expected.predict_proba(dense), tolerance, tolerance)
    assert found.score(other, Y) == expected.score(dense, Y)
    difference = other != before
    assert not (difference.nnz if scipy.sparse.issparse(other) else np.any(difference))


@pytest.mark.parametrize("container", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
def test_sparse_everywhere(container):
    params = {"early_stopping": True, "batch_size": 16}
    expected = classifier(**params).fit(X, Y)
    assert_same_model(classifier(**params).fit(container(X), Y), expected)
    given = {"X_val": container(X), "y_val": Y, "sample_weight": np.arange(len(Y)) % 3}
    dense = {**given, "X_val": X}
    assert_same_model(classifier(**params).fit(container(X), Y, **given), classifier(**params).fit(X, Y, **dense))
    chunks = classifier().partial_fit(container(X), Y).partial_fit(X, Y)
    assert_same_model(chunks, classifier().partial_fit(X, Y).partial_fit(X, Y))


def test_sparse_matrix_with_duplicates_and_wide_indices():
    n, m = X.shape
    indices, pointers = np.tile(np.r_[np.arange(m), np.arange(m)], n), np.arange(n + 1) * 2 * m
    twice = scipy.sparse.csr_array((np.hstack([X / 2, X / 2]).ravel(), indices, pointers), shape=X.shape)
    assert_same_model(classifier().fit(twice, Y), classifier().fit(X, Y))
    wide = scipy.sparse.csr_array(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    assert_same_model(classifier().fit(wide, Y), classifier().fit(X, Y))


@pytest.mark.parametrize("dtype", [bool, np.uint8, int, np.float16])
def test_numbers_of_other_types_as_input(dtype):
    other = (X * 3).astype(dtype)
    expected = classifier().fit(other.astype(float), Y)
    assert_same_model(classifier().fit(other, Y), expected)
    assert_same_model(classifier().fit(scipy.sparse.csr_array(other.astype(np.float32)), Y), expected)


def test_very_wide_sparse_input():
    wide = scipy.sparse.random_array((60, 20_000), density=0.001, format="csr", random_state=0)
    estimator = classifier((4,), max_iter=2).fit(wide, Y)
    assert estimator.coefs_[0].shape == (20_000, 4)
    assert estimator.predict(wide).shape == (60,)


COLUMNS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(X, columns=COLUMNS), pl.DataFrame(X, schema=COLUMNS)], ids=["pandas", "polars"]
)
def test_frames(frame):
    estimator = classifier().fit(frame, Y)
    assert_same_model(estimator, classifier().fit(X, Y))
    if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        pytest.skip("This scikit-learn does not read the names of these frames.")
    assert list(estimator.feature_names_in_) == COLUMNS
    np.testing.assert_array_equal(estimator.predict(frame), classifier().fit(X, Y).predict(X))
    for wrong in (
        frame[COLUMNS[::-1]],
        frame[["a", "b", "c", "d"]],
        frame.rename(dict(zip(COLUMNS, "vwxyz")))
        if isinstance(frame, pl.DataFrame)
        else frame.rename(columns=dict(zip(COLUMNS, "vwxyz"))),
    ):
        for method in (estimator.predict, estimator.predict_proba):
            with pytest.raises(ValueError, match="feature names should match"):
                method(wrong)
    with pytest.raises(ValueError, match="feature names should match"):
        classifier().fit(frame, Y, X_val=frame[COLUMNS[::-1]], y_val=Y)
    with pytest.raises(ValueError, match="feature names should match"):
        classifier().partial_fit(frame, Y).partial_fit(frame[COLUMNS[::-1]], Y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.predict(X)
    assert estimator.predict(frame[:1]).shape == (1,)


def test_frames_of_other_types():
    frame = pd.DataFrame(X, columns=COLUMNS)
    expected = classifier().fit(X, Y)
    for other in (frame.astype("Float64"), frame.astype(pd.SparseDtype(float, 0.0))):
        assert_same_model(classifier().fit(other, Y), expected)
    mixed = frame.assign(a=frame["a"] > 0, b=frame["b"].round().astype("Int8"))
    assert_same_model(classifier().fit(mixed, Y), classifier().fit(mixed.astype(float), Y))


# Sample weights

N = len(Y)
REPEATS = np.random.default_rng(3).integers(0, 4, N)
ZEROS = (np.arange(N) % 4 > 0).astype(float)
EXACT = {"dtype": "float64", "shuffle": False, "batch_size": 10_000, "max_iter": 30, "learning_rate": 0.02}
KINDS = {
    "multiclass": (classifier, *classes()),
    "binary": (classifier, *classes(n_classes=2)),
    "multilabel": (classifier, *labels()),
    "one output": (regressor, *numbers()),
    "many outputs": (regressor, *numbers(n_outputs=3)),
}


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_weights_are_repeated_rows(kind, alpha, sparse, float64):
    make, X_kind, y_kind = KINDS[kind]
    container = scipy.sparse.csr_array if sparse else np.asarray
    weighted = make(**EXACT, alpha=alpha).fit(container(X_kind), y_kind, sample_weight=REPEATS)
    rows = np.repeat(np.arange(N), REPEATS)
    repeated = make(**EXACT, alpha=alpha).fit(container(X_kind[rows]), y_kind[rows])
    assert_same_model(weighted, repeated, rtol=1e-9)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(
        weighted.score(X_kind, y_kind, sample_weight=REPEATS), repeated.score(X_kind[rows], y_kind[rows])
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weightless_rows_are_not_there(kind, float64):
    make, X_kind, y_kind = KINDS[kind]
    weighted = make(**EXACT).fit(X_kind, y_kind, sample_weight=ZEROS)
    rows = ZEROS > 0
    assert_same_model(weighted, make(**EXACT).fit(X_kind[rows], y_kind[rows]), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_weights_are_none(kind):
    make, X_kind, y_kind = KINDS[kind]
    for weight in (np.ones(N), [1] * N, 1, pd.Series(np.ones(N)), np.ones(N, np.float32)):
        assert_same_model(make().fit(X_kind, y_kind, sample_weight=weight), make().fit(X_kind, y_kind))
    large = make(dtype="float64").fit(X_kind, y_kind, sample_weight=np.full(N, 1e6))
    assert_same_model(large, make(dtype="float64").fit(X_kind, y_kind), rtol=1e-6)


def test_a_batch_without_weight_moves_nothing():
    weight = (np.arange(N) >= 20).astype(float)
    estimator = classifier(batch_size=10, shuffle=False).fit(X, Y, sample_weight=weight)
    assert np.isfinite(estimator.loss_curve_).all()
    assert np.isfinite(estimator.coefs_[0]).all()


def test_weights_matter_in_mini_batches():
    assert differ(classifier(batch_size=8).fit(X, Y, sample_weight=REPEATS), classifier(batch_size=8).fit(X, Y))
