"""The model's own face: names, inputs of every kind, and bad inputs."""

import numpy as np
import pytest
import scipy.sparse
from contracts import assert_bitwise, assert_close, problem

import skintricate
from skintricate import Model, layers, losses, optimizers
from skintricate.backend import open_device
from skintricate.exceptions import ShapeError, SkintricateError
from skintricate.layers import Dense, ReLU, SoftMax, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam, Basic

X, Y = problem(MeanSquared(), 12, 4, 2)
NAN, INF = float("nan"), float("inf")


def new(device="auto", **options):
    """Return an untrained model."""
    return Model([Dense(5), TanH(), Dense(2)], device=device, random_state=0, **options)


def fitted(device, **options):
    """Return a trained model."""
    model = new(device, **options)
    model.fit(X, Y, max_iter=2)
    return model


# Names.


@pytest.mark.parametrize("name", list(layers.BY_NAME))
def test_layers_by_name(name, device):
    by_name, by_object = (
        Model([Dense(3), name], random_state=0),
        Model([Dense(3), layers.BY_NAME[name]()], random_state=0),
    )
    assert by_name.layers == by_object.layers
    for model in (by_name, by_object):
        model.fit(X, Y[:, [0, 1, 0]], max_iter=2)
    assert_bitwise([by_name.predict(X)], [by_object.predict(X)])


@pytest.mark.parametrize("name", list(losses.BY_NAME))
def test_losses_by_name(name, device):
    target = (Y > 0).astype(float)
    histories = []
    for loss in (name, name.upper(), losses.BY_NAME[name]()):
        model = Model([Dense(2), "sigmoid"], device=device, random_state=0)
        histories.append([model.fit(X, target, loss=loss, max_iter=3).step_loss])
    assert_bitwise(histories[0], histories[1])
    assert_bitwise(histories[0], histories[2])


@pytest.mark.parametrize("name", list(optimizers.BY_NAME))
def test_optimizers_by_name(name, device):
    models = [new(device) for _ in range(3)]
    cls = optimizers.BY_NAME[name]
    models[0].fit(X, Y, optimizer=name, learning_rate=0.05, max_iter=3)
    models[1].fit(X, Y, optimizer=cls(learning_rate=0.05), max_iter=3)
    models[2].fit(X, Y, optimizer=name, max_iter=3)
    assert models[0].optimizer == cls(learning_rate=0.05)
    assert models[2].optimizer == cls()
    assert_bitwise(models[0].state.weights, models[1].state.weights)


def test_the_model_keeps_copies_of_the_layers(device):
    layer = Dense(2)
    model = Model([layer, layer], device=device)
    assert model.layers[0] is not layer
    assert model.layers[0] is not model.layers[1]
    layer.units = 7
    assert model.layers == [Dense(2), Dense(2)]


def test_repr():
    assert repr(new()) == "Model([Dense(5), TanH(), Dense(2)])"


def test_public_names():
    assert {"Model", "list_devices", "__version__"} <= set(skintricate.__all__)
    for module in (layers, losses, optimizers, skintricate.initializers):
        assert {cls.__name__ for cls in module.BY_NAME.values()} <= set(module.__all__)
        assert list(module.BY_NAME) == [name.lower() for name in module.BY_NAME]


# Inputs.

CONVERSIONS = {
    "list": lambda a: a.tolist(),
    "float32": lambda a: a.astype("float32"),
    "fortran": np.asfortranarray,
    "strided": lambda a: np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "read-only": lambda a: np.frombuffer(a.tobytes()).reshape(a.shape),
    "csr": scipy.sparse.csr_matrix,
    "csc": scipy.sparse.csc_matrix,
    "coo": scipy.sparse.coo_matrix,
    "csr array": scipy.sparse.csr_array,
}


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_inputs_of_every_kind_give_the_same(convert, device):
    plain, other = fitted(device), new(device)
    converted = convert(X.astype("float32").astype(float))
    plain.fit(X.astype("float32"), Y, max_iter=2, batch_size=5)
    other.fit(X, Y, max_iter=2)
    other.fit(converted, Y, max_iter=2, batch_size=5)
    assert_bitwise(other.state.weights, plain.state.weights)
    # Entries of a sparse X are summed one after the other.
    tolerance = 1e-6 if scipy.sparse.issparse(converted) else 0
    np.testing.assert_allclose(other.predict(converted), plain.predict(X.astype("float32")), tolerance, tolerance)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, bool, np.float16])
def test_numbers_of_every_kind(dtype, device):
    numbers = np.random.default_rng(0).integers(0, 2, (12, 4)).astype(dtype)
    models = [new(device), new(device)]
    for model, given in zip(models, (numbers, numbers.astype("float32"))):
        model.fit(given, Y.astype("float32"), max_iter=2)
    assert_bitwise(*(model.state.weights for model in models))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_have_the_models_type(dtype, float64):
    model = fitted(float64, dtype=dtype)
    assert model.predict(X).dtype == dtype
    assert all(w.dtype == dtype for w in [*model.coefs_, *model.intercepts_, *model.outputs(X)])


def test_outputs_of_every_layer(device):
    model = Model([TanH(), Dense(5), ReLU(), SoftMax(), Dense(2)], device=device, random_state=0)
    model.fit(X, Y, max_iter=2)
    outputs = model.outputs(X)
    assert [output.shape for output in outputs] == [(12, 4), (12, 5), (12, 5), (12, 5), (12, 2)]
    assert_close([outputs[0]], [np.tanh(X)], 1e-6)
    assert_bitwise([outputs[-1]], [model.predict(X)])


def test_output_of_a_dense_layer_before_its_activation(device):
    model = fitted(device)
    assert_close([model.outputs(X)[0]], [X @ model.coefs_[0] + model.intercepts_[0]], 1e-5)


def test_attributes_after_fit(device):
    model = fitted(device)
    assert model.n_features_in_ == 4
    assert model.device_ in [str(info) for info in skintricate.list_devices()]
    assert len(model.history_) == 2


def test_it_learns_xor(device):
    corners, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [[0], [1], [1], [0]]
    xor = Model([Dense(3), TanH(), Dense(1), TanH()], device=device, random_state=1)
    history = xor.fit(corners, y, optimizer=Adam(0.05), max_iter=500)
    assert history.loss[-1] < 0.01
    assert xor.predict(corners).round().ravel().tolist() == [0, 1, 1, 0]


# Bad inputs: each case is what is given, the exception, and what its message names.

BAD_MODELS = [
    ({"layers": "relu"}, TypeError, "layers"),
    ({"layers": 5}, TypeError, "layers"),
    ({"layers": None}, TypeError, "layers"),
    ({"layers": [5]}, TypeError, "layers"),
    ({"layers": [Dense]}, TypeError, "layers"),
    ({"layers": ["dense"]}, ValueError, "layers='dense'"),
    ({"device": 0}, TypeError, "device"),
    ({"device": None}, TypeError, "device"),
    ({"dtype": "float16"}, ValueError, "dtype"),
    ({"dtype": float}, ValueError, "dtype"),
    ({"random_state": -1}, ValueError, "random_state"),
    ({"random_state": 1.5}, TypeError, "random_state"),
    ({"random_state": "0"}, TypeError, "random_state"),
    ({"random_state": True}, TypeError, "random_state"),
]


@pytest.mark.parametrize(("given", "error", "named"), BAD_MODELS, ids=str)
def test_bad_models(given, error, named):
    arguments = {"layers": [Dense(2)], **given}
    with pytest.raises(error, match=named):
        Model(arguments.pop("layers"), **arguments)


def with_value(array, value):
    """Return a copy of an array with one value replaced."""
    array = np.array(array, dtype=float)
    array.flat[1] = value
    return array


STRINGS = np.full((12, 4), "a")
BAD_DATA = [
    (X[0], Y, ShapeError, "X must have two dimensions"),
    (X[None], Y, ShapeError, "X has 1 samples but y has shape"),
    (1.0, Y, ShapeError, "X must have two dimensions"),
    (X[:5], Y, ShapeError, "X has 5 samples but y has shape"),
    (X, Y[:5], ShapeError, "X has 12 samples but y has shape"),
    (X, Y[None], ShapeError, "y has shape"),
    (X, Y[:, :1], ShapeError, "y has 1 columns"),
    (X, Y[:, 0], ShapeError, "y has 1 columns"),
    (X, np.hstack([Y, Y]), ShapeError, "y has 4 columns"),
    (X, None, ShapeError, "y has shape"),
    (np.empty((0, 4)), np.empty((0, 2)), ShapeError, "X is empty"),
    (np.empty((12, 0)), Y, ShapeError, "X is empty"),
    (with_value(X, NAN), Y, ValueError, "X contains NaN or infinity"),
    (with_value(X, INF), Y, ValueError, "X contains NaN or infinity"),
    (scipy.sparse.csr_matrix(with_value(X, -INF)), Y, ValueError, "X contains NaN or infinity"),
    (X, with_value(Y, NAN), ValueError, "y contains NaN or infinity"),
    (X, with_value(Y, -INF), ValueError, "y contains NaN or infinity"),
    (STRINGS, Y, ValueError, r"\bX\b"),
    (X, STRINGS[:, :2], ValueError, r"\by\b"),
    ([[1, 2], [3]], Y, ValueError, r"\bX\b"),
    (X * 1j, Y, ValueError, "complex"),
]


@pytest.mark.parametrize(("given_X", "given_y", "error", "message"), BAD_DATA)
def test_bad_data(given_X, given_y, error, message, device):
    model = new(device)
    with pytest.raises(error, match=message):
        model.fit(given_X, given_y, max_iter=1)
    assert model.state is None


BAD_OPTIONS = [
    ({"loss": "squared"}, ValueError, "loss='squared'.*mean_squared"),
    ({"loss": None}, TypeError, "loss must be a Loss"),
    ({"loss": MeanSquared}, TypeError, "loss must be a Loss"),
    ({"optimizer": "adamm"}, ValueError, "optimizer='adamm'.*adam"),
    ({"optimizer": 0.1}, TypeError, "optimizer must be an Optimizer"),
    ({"optimizer": Adam(), "learning_rate": 0.1}, ValueError, "learning_rate=0.1 and optimizer="),
    ({"learning_rate": 0.0}, ValueError, "learning_rate"),
    ({"learning_rate": -1.0}, ValueError, "learning_rate"),
    ({"learning_rate": "constant"}, TypeError, "learning_rate"),
    ({"alpha": -1.0}, ValueError, "alpha"),
    ({"alpha": NAN}, ValueError, "alpha"),
    ({"alpha": "0"}, TypeError, "alpha"),
    ({"alpha": None}, TypeError, "alpha"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"batch_size": -5}, ValueError, "batch_size"),
    ({"batch_size": 2.0}, TypeError, "batch_size"),
    ({"batch_size": "auto"}, TypeError, "batch_size"),
    ({"max_iter": 0}, ValueError, "max_iter"),
    ({"max_iter": 1.5}, TypeError, "max_iter"),
    ({"max_iter": None}, TypeError, "max_iter"),
    ({"tol": -1e-3}, ValueError, "tol"),
    ({"tol": "small"}, TypeError, "tol"),
    ({"n_iter_no_change": 0}, ValueError, "n_iter_no_change"),
    ({"n_iter_no_change": 2.5}, TypeError, "n_iter_no_change"),
    ({"early_stopping": True}, ValueError, "early_stopping=True needs validation_data"),
    ({"callbacks": [print]}, TypeError, "callbacks"),
    ({"metrics": [5]}, TypeError, "metrics"),
    ({"metrics": ["no_such_metric"]}, ValueError, "no_such_metric"),
    ({"verbose": -1}, ValueError, "verbose"),
    ({"verbose": "yes"}, ValueError, "verbose"),
    ({"sample_weight": np.ones(5)}, ShapeError, r"sample_weight has shape \(5,\), expected \(12,\)"),
    ({"sample_weight": np.ones((12, 1))}, ShapeError, "sample_weight has shape"),
    ({"sample_weight": 1.0}, ShapeError, "sample_weight has shape"),
    ({"sample_weight": np.zeros(12)}, ValueError, "sample_weight must be"),
    ({"sample_weight": -np.ones(12)}, ValueError, "sample_weight must be"),
    ({"sample_weight": np.full(12, NAN)}, ValueError, "sample_weight must be"),
    ({"validation_data": (X[0], Y)}, ShapeError, "X must have two dimensions"),
    ({"validation_data": (X, Y[:3])}, ShapeError, "X has 12 samples but y"),
    ({"validation_data": (X, with_value(Y, NAN))}, ValueError, "y contains NaN"),
    ({"validation_data": (X[:, :3], Y)}, ShapeError, "features"),
    ({"validation_data": (np.hstack([X, X]), Y)}, ShapeError, "features"),
    ({"validation_data": X}, (TypeError, ValueError), "validation_data"),
    ({"halting_condition": "loss"}, TypeError, "halting_condition"),
    ({"shuffle": "no"}, TypeError, "shuffle"),
    ({"early_stopping": "no"}, TypeError, "early_stopping"),
    ({"callbacks": None}, TypeError, "callbacks"),
    ({"metrics": "accuracy"}, TypeError, "metrics must"),
    ({"metrics": None}, TypeError, "metrics must"),
    ({"sample_weight": ["a"] * 12}, ValueError, "sample_weight"),
    ({"alpha": INF}, ValueError, "alpha"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD_OPTIONS)
def test_bad_options(options, error, message, device):
    model = new(device)
    with pytest.raises(error, match=message):
        model.fit(X, Y, **{"max_iter": 1, **options})
    assert model.state is None


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0, 1, 2, 3] * 3, "y has classes 0 to 3, but the last layer .* has 3 outputs"),
        ([-1, 0, 1] * 4, "y has classes -1 to 1"),
        ([0.0, 1.0, 2.0] * 4, "y has 1 columns"),
    ],
)
def test_bad_classes(codes, message, device):
    model = Model([Dense(3), SoftMax()], device=device)
    with pytest.raises(ShapeError, match=message):
        model.fit(X, codes, loss="categorical_cross_entropy")


@pytest.mark.parametrize("network", [[], [TanH()], [SoftMax(), ReLU()]], ids=repr)
def test_networks_without_parameters(network, device):
    with pytest.raises(ShapeError, match="no parameters to train; add a Dense layer"):
        Model(network, device=device).fit(X, Y)


def test_another_number_of_features(device):
    model = fitted(device)
    with pytest.raises(ShapeError, match="X has 3 features, the model was fitted on 4"):
        model.fit(X[:, :3], Y)
    for method in (model.predict, model.outputs):
        with pytest.raises(ShapeError, match="X has 3 features, the model was fitted on 4"):
            method(X[:, :3])
        with pytest.raises(ShapeError, match="two dimensions"):
            method(X[0])


def test_prediction_needs_a_fit(device):
    for method in ("predict", "outputs"):
        with pytest.raises(SkintricateError, match="no weights yet; call fit first"):
            getattr(new(device), method)(X)


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_weights_need_a_fit(name, device):
    assert not hasattr(new(device), name)


def test_prediction_of_no_rows(device):
    assert fitted(device).predict(np.empty((0, 4))).shape == (0, 2)


def test_missing_values_in_prediction_stay_in_their_row(device):
    model = fitted(device)
    found = model.predict(np.where(np.arange(12)[:, None] == 5, NAN, X))
    assert np.isnan(found[5]).all()
    assert_bitwise([np.delete(found, 5, axis=0)], [np.delete(model.predict(X), 5, axis=0)])


def test_a_failed_fit_leaves_a_fitted_model_usable(device):
    model = fitted(device)
    before = model.predict(X)
    for options in ({"alpha": -1.0}, {"loss": "squared"}, {"sample_weight": np.zeros(12)}):
        with pytest.raises(ValueError, match=r"must|not known"):
            model.fit(X, Y, **options)
    assert_bitwise([model.predict(X)], [before])
    model.fit(X, Y, optimizer=Basic(0.01), max_iter=1)


@pytest.mark.parametrize(("precision", "products"), [("highest", ""), ("high", "float32"), ("medium", "float32")])
def test_precision(precision, products, device, tmp_path):
    """A CPU multiplies in float32 whatever the precision, and says so; it is saved, and older pickles have none."""
    model = Model([Dense(2)], device=device, random_state=0, precision=precision)
    model.fit(X, Y, max_iter=2)
    expected = Model([Dense(2)], device=device, random_state=0)
    expected.fit(X, Y, max_iter=2)
    assert_bitwise([model.predict(X)], [expected.predict(X)])
    if open_device(device).is_cpu:
        assert model.device_ == f"{open_device(device).info}" + (f", {products} products" if products else "")
    model.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").precision == precision
    state = model.__getstate__()
    del state["precision"]
    older = Model.__new__(Model)
    older.__setstate__(state)
    assert older.precision == "highest"
