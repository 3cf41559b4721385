"""Bad input: which exception, what its message names, and that a fitted estimator stays as it was."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
from problems import classes, classifier, labels, numbers, regressor

from skintricate.exceptions import DeviceFallbackWarning, DivergenceError
from skintricate.layers import Dense, SoftMax
from skintricate.optimizers import Adam

X, Y = classes()
X_REAL, Y_REAL = numbers()
NAN, INF = float("nan"), float("inf")
HALF = Y[: len(Y) // 2]

# NumPy's warning of the cast that ends in the error; scikit-learn's own check makes it too.
OVERFLOWS = pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")


def spoiled(array, value):
    """Return a copy of an array with one bad value."""
    array = np.array(array, dtype=float)
    array[(3,) * array.ndim] = value
    return array


# Parameter: values that are refused, and what the message says beside the parameter's name.
BAD_PARAMETERS = {
    "layers": (
        [None, "tanh", (0,), (-3,), (8.5,), (True,), ("unheard",), (("a", 8), ("a", 8)), ((8, 8),), (Dense,), 2.5],
        "units|names|pair",
    ),
    "activation": (["unheard", 3, None], "names|one of"),
    "loss": (["unheard", 3, None, Dense(3)], "names|one of"),
    "optimizer": (["unheard", 3, None, Dense(3)], "names|one of"),
    "learning_rate": ([0, -1.0, NAN, "0.1", True], r"in \("),
    "alpha": ([-1e-3, NAN, "0.1", None], r"in \["),
    "batch_size": ([0, -5, 1.5, "all", None, True], r"integer|in \["),
    "max_iter": ([0, -5, 2.5, "10", None], r"integer|in \["),
    "shuffle": ([1, "yes", None], "True or False"),
    "tol": ([-1e-3, NAN, "0.1", None], r"in \["),
    "n_iter_no_change": ([0, -5, 2.5, "10", True], r"integer|in \["),
    "early_stopping": ([1, "yes", None], "True or False"),
    "validation_fraction": ([0.0, 1.0, -0.1, NAN, "0.1", None], r"in \("),
    "halting_condition": (["loss", 0.1, len], "MinLossReached"),
    "class_weight": (["even", 3, {0: -1.0}, {0: NAN}, {0: INF}, {0: 0, 1: 0, 2: 0}], "dict|zero|finite"),
    "warm_start": ([1, "yes", None], "True or False"),
    "random_state": ([-1, 2**40, "seed", 1.5], r"seed|in \[|integer"),
    "verbose": ([-1, "loud", 1.5, None, [1]], "Callback"),
    "device": ([3, None, ("cpu",)], "string"),
    "dtype": (["float16", "int32", None, np.float32, ["float32"]], "float32"),
    "precision": (["low", "float32", None, 3, ["high"]], "'highest', 'high', 'medium'"),
}

# Arguments of fit: what is refused, the exception, and what the message says.
BAD_DATA = {
    "one feature vector": ({"X": X[0]}, ValueError, "Expected 2D array"),
    "an image for all samples": ({"X": X[None, :, :]}, ValueError, "inconsistent numbers of samples"),
    "no samples": ({"X": X[:0], "y": Y[:0]}, ValueError, r"0 sample\(s\)"),
    "no features": ({"X": X[:, :0]}, ValueError, r"0 feature\(s\)"),
    "NaN in X": ({"X": spoiled(X, NAN)}, ValueError, "Input X contains NaN"),
    "NaN in a sparse X": ({"X": scipy.sparse.csr_array(spoiled(X, NAN))}, ValueError, "Input X contains NaN"),
    "infinity in X": ({"X": spoiled(X, INF)}, ValueError, "Input X contains infinity"),
    "X beyond float32": ({"X": spoiled(X, 1e39)}, ValueError, "too large for dtype"),
    "text in X": ({"X": np.full(X.shape, "a")}, ValueError, "could not convert string to float"),
    "complex X": ({"X": X.astype(complex)}, ValueError, "Complex data"),
    "no y": ({"y": None}, ValueError, "requires y to be passed|y cannot be None"),
    "short y": ({"y": HALF}, ValueError, "inconsistent numbers of samples"),
    "one class": ({"y": np.zeros(len(Y))}, ValueError, "one class"),
    "continuous y": ({"y": Y + 0.5}, ValueError, "Unknown label type"),
    "NaN in y": ({"y": spoiled(Y, NAN)}, ValueError, "y contains NaN"),
    "several columns of classes": ({"y": np.c_[Y, Y]}, ValueError, "MultiOutputClassifier"),
    "y of three dimensions": ({"y": np.zeros((len(Y), 2, 2))}, ValueError, "dim"),
    "short sample_weight": ({"sample_weight": np.ones(3)}, ValueError, "sample_weight.*one weight a sample"),
    "text as sample_weight": ({"sample_weight": ["a"] * len(Y)}, ValueError, "could not convert string to float"),
    "mixed labels": ({"y": np.array(["a" if label else 1 for label in Y], object)}, ValueError, "Unknown label type"),
    "a matrix of weights": ({"sample_weight": np.ones((len(Y), 1))}, ValueError, "sample_weight"),
    "negative sample_weight": (
        {"sample_weight": spoiled(np.ones(len(Y)), -1)},
        ValueError,
        "sample_weight.*zero or more",
    ),
    "NaN in sample_weight": (
        {"sample_weight": spoiled(np.ones(len(Y)), NAN)},
        ValueError,
        "sample_weight contains NaN",
    ),
    "zero sample_weight": ({"sample_weight": np.zeros(len(Y))}, ValueError, "sample_weight is all zero"),
    "sample_weight below float32": ({"sample_weight": np.full(len(Y), 1e-60)}, ValueError, "sample_weight"),
    "sample_weight beyond float32": ({"sample_weight": np.full(len(Y), 1e60)}, ValueError, "sample_weight"),
    "X_val alone": ({"X_val": X}, ValueError, "X_val and y_val must be given together"),
    "y_val alone": ({"y_val": Y}, ValueError, "X_val and y_val must be given together"),
    "sample_weight_val alone": ({"sample_weight_val": np.ones(len(Y))}, ValueError, "needs X_val and y_val"),
    "features missing in X_val": ({"X_val": X[:, :3], "y_val": Y}, ValueError, "X has 3 features"),
    "no samples in X_val": ({"X_val": X[:0], "y_val": Y[:0]}, ValueError, r"0 sample\(s\)"),
    "a class that only y_val has": ({"X_val": X, "y_val": Y + 1}, ValueError, "not among the known classes"),
    "short sample_weight_val": (
        {"X_val": X, "y_val": Y, "sample_weight_val": np.ones(3)},
        ValueError,
        "sample_weight_val.*one weight a sample",
    ),
    "zero sample_weight_val": (
        {"X_val": X, "y_val": Y, "sample_weight_val": np.zeros(len(Y))},
        ValueError,
        "sample_weight_val is all zero",
    ),
}

# Parameters that are refused together, or with the data.
BAD_COMBINATIONS = {
    "learning_rate beside an optimizer": (
        {"learning_rate": 0.1, "optimizer": Adam()},
        {},
        ValueError,
        "learning_rate.*optimizer__learning_rate",
    ),
    "one softmax output": (
        {"layers": (Dense(1), SoftMax()), "loss": "binary_cross_entropy"},
        {"y": Y > 0},
        ValueError,
        "SoftMax of one output",
    ),
    "classes for multilabel targets": (
        {"loss": "categorical_cross_entropy"},
        {"y": labels()[1]},
        ValueError,
        "loss.*binary_cross_entropy",
    ),
    "a class without a pair to split": (
        {"early_stopping": True},
        {"y": np.r_[2, Y[1:] % 2]},
        ValueError,
        "validation_fraction|X_val",
    ),
    "nothing left to train on": (
        {"early_stopping": True, "validation_fraction": 0.999},
        {},
        ValueError,
        "validation_fraction",
    ),
    "a huge learning rate": ({"optimizer": "sgd", "learning_rate": 1e30}, {}, DivergenceError, "Lower learning_rate"),
    "a huge learning rate in the last epoch": (
        {"optimizer": "sgd", "learning_rate": 1e39, "max_iter": 1},
        {},
        DivergenceError,
        "Lower learning_rate",
    ),
    "weights for other classes": ({"class_weight": {"absent": 2.0}}, {}, ValueError, "class_weight"),
}


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(X, Y)


def assert_refused(estimator, params, arguments, error, message):
    """Assert that fit raises and leaves no trace on an estimator that was fitted before."""
    before, expected = dict(estimator.__dict__), estimator.predict_proba(X)
    estimator = copy.copy(estimator)
    estimator.set_params(**params)
    changed = dict(estimator.__dict__)
    with pytest.raises(error, match=f"(?s){message}"):
        estimator.fit(**{"X": X, "y": Y, **arguments})
    assert estimator.__dict__.keys() == before.keys()
    assert all(estimator.__dict__[key] is changed[key] for key in changed)
    np.testing.assert_array_equal(estimator.predict_proba(X), expected)


def test_every_parameter_is_in_the_table():
    assert set(BAD_PARAMETERS) == set(classifier().get_params(deep=False))


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, (values, _) in BAD_PARAMETERS.items() for value in values]
)
def test_parameters(fitted, name, value):
    error = (TypeError, ValueError)
    assert_refused(fitted, {name: value}, {}, error, f"{name}.*({BAD_PARAMETERS[name][1]})")


@OVERFLOWS
@pytest.mark.parametrize("case", BAD_DATA)
def test_data(fitted, case):
    assert_refused(fitted, {}, *BAD_DATA[case])


@pytest.mark.parametrize("case", BAD_COMBINATIONS)
def test_combinations(fitted, case):
    assert_refused(fitted, *BAD_COMBINATIONS[case])


@OVERFLOWS
@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"loss": "poisson"}, Y_REAL, r"loss='poisson' needs y >= 0"),
        ({"loss": "binary_cross_entropy"}, Y_REAL, r"needs y in \[0, 1\]"),
        ({"early_stopping": True, "validation_fraction": 0.001}, Y_REAL, "validation_fraction|X_val"),
        ({}, np.full(len(Y_REAL), "a"), "could not convert string to float"),
        ({}, Y_REAL * 1e39, r"\by\b"),
        ({}, spoiled(Y_REAL, NAN), "y contains NaN"),
        ({}, Y_REAL.astype(complex), "Complex data"),
    ],
)
def test_regression_targets(params, y, message):
    with pytest.raises(ValueError, match=message):
        regressor(**params).fit(X_REAL, y)


@OVERFLOWS
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (X[:, :3], "X has 3 features, but IntricateClassifier is expecting 5"),
        (X[0], "Expected 2D array"),
        (X[:0], r"0 sample\(s\)"),
        (spoiled(X, NAN), "Input X contains NaN"),
        (spoiled(X, 1e39), "too large for dtype"),
        (np.full(X.shape, "a"), "could not convert string"),
    ],
)
@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "score"])
def test_predictions(fitted, method, bad, message):
    arguments = (bad, Y) if method == "score" else (bad,)
    with pytest.raises(ValueError, match=message):
        getattr(fitted, method)(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": [0, 1]}, "classes.*first call"),
        ({"X": X[:, :3]}, "X has 3 features"),
        ({"y": Y + 1}, "not among the known classes"),
        ({"y": labels()[1]}, "y has"),
        ({"sample_weight": np.zeros(len(Y))}, "sample_weight is all zero"),
    ],
)
def test_a_refused_chunk_leaves_no_trace(arguments, message):
    estimator = classifier().partial_fit(X, Y, classes=[0, 1, 2])
    before = pickle.dumps(estimator)
    with pytest.raises(ValueError, match=message):
        estimator.partial_fit(**{"X": X, "y": Y, **arguments})
    assert pickle.dumps(estimator) == before


@pytest.mark.parametrize("announced", [[], [0], [0, 1]])
def test_classes_that_cannot_be(announced):
    estimator = classifier()
    with pytest.raises(ValueError, match="class"):
        estimator.partial_fit(X, Y, classes=announced)
    assert vars(estimator) == vars(classifier())


@pytest.mark.parametrize(
    ("params", "arguments"),
    [({"layers": (9,)}, {}), ({"dtype": "float64"}, {}), ({}, {"X": X[:, :3]}), ({}, {"y": np.r_[3, Y[1:]]})],
)
def test_warm_start_refuses_another_network(params, arguments):
    estimator = classifier(warm_start=True).fit(X, Y)
    expected = estimator.predict_proba(X)
    estimator.set_params(**params)
    with pytest.raises(ValueError, match=r"layers, activation, loss and dtype|features|known classes"):
        estimator.fit(**{"X": X, "y": Y, **arguments})
    np.testing.assert_array_equal(estimator.predict_proba(X), expected)


def test_an_estimator_that_never_fitted_stays_so():
    estimator = classifier()
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(spoiled(X, NAN), Y)
    assert vars(estimator) == vars(classifier())
    assert not hasattr(estimator, "coefs_")


def test_device_that_is_not_there():
    with pytest.warns(DeviceFallbackWarning, match="device='abacus' is not on this machine"):
        estimator = classifier(device="abacus").fit(X, Y)
    assert "abacus" not in estimator.device_


def test_an_error_in_a_callback_leaves_no_trace(fitted):
    from skintricate.training import Callback

    class Failing(Callback):
        def on_epoch_end(self, epoch, weights):
            raise RuntimeError("from the callback")

    assert_refused(fitted, {"verbose": Failing()}, {}, RuntimeError, "from the callback")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("value", [np.int8(20), np.int16(20), np.uint64(20), np.int64(20)])
@pytest.mark.parametrize("name", ["batch_size", "max_iter", "n_iter_no_change", "random_state", "layers"])
def test_numpy_integers_are_integers(name, value):
    params = {"n_iter_no_change": 20, "max_iter": 20, "tol": 0.0, "learning_rate": 0.01}
    value, same = ((value,), (20,)) if name == "layers" else (value, 20)
    found = classifier(**{**params, name: value}).fit(np.tile(X, (4, 1)), np.tile(Y, 4))
    expected = classifier(**{**params, name: same}).fit(np.tile(X, (4, 1)), np.tile(Y, 4))
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_units_of_a_layer_may_be_any_integer():
    expected = classifier((Dense(100), "relu")).fit(X, Y)
    found = classifier((Dense(np.int8(100)), "relu")).fit(X, Y)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))


def test_labels_are_zero_or_one():
    X_labels, y = labels()
    estimator = classifier().partial_fit(X_labels, y)
    with pytest.raises(ValueError, match="y "):
        estimator.partial_fit(X_labels, y * 7)
    with pytest.raises(ValueError, match="y"):
        classifier().fit(X_labels, y, X_val=X_labels, y_val=y * 7)


def test_a_patience_beyond_any_integer_of_the_device():
    classifier(n_iter_no_change=2**40).fit(X, Y)
