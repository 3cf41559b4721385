"""Saving and loading: what is in the file, where it predicts, and that it goes on training."""

import copy
import io
import pickle
import pickletools
import subprocess
import sys

import cloudpickle
import joblib
import numpy as np
import pytest
from problems import assert_same_model, classes, classifier, labels, numbers, regressor
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skintricate import list_devices
from skintricate.exceptions import DeviceFallbackWarning
from skintricate.layers import Dense, Dropout, TanH
from skintricate.optimizers import Adam, CosineRate
from skintricate.training import MinLossReached

X, Y = classes()


def through_file(dump, load):
    def travel(estimator):
        file = io.BytesIO()
        dump(estimator, file)
        file.seek(0)
        return load(file)

    return travel


TRAVELS = {
    "pickle": through_file(pickle.dump, pickle.load),
    "oldest pickle": lambda estimator: pickle.loads(pickle.dumps(estimator, protocol=0)),
    "cloudpickle": through_file(cloudpickle.dump, cloudpickle.load),
    "joblib": through_file(joblib.dump, joblib.load),
    "compressed joblib": through_file(lambda e, file: joblib.dump(e, file, compress=3), joblib.load),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
ESTIMATORS = {
    "classifier": lambda: classifier().fit(*classes()),
    "multilabel": lambda: classifier().fit(*labels()),
    "regressor": lambda: regressor(dtype="float64").fit(*numbers(n_outputs=2)),
    "objects": lambda: classifier(
        (("hidden", Dense(6)), TanH(), Dropout(0.2)),
        optimizer=Adam(CosineRate(0.01), clip_norm=1.0),
        halting_condition=MinLossReached(0.0),
        class_weight={0: 2.0},
        early_stopping=True,
    ).fit(*classes()),
    "half-way": lambda: classifier(batch_size=16, optimizer="momentum").partial_fit(*classes()),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    estimator = ESTIMATORS[request.param]()
    estimator.predict(X)
    return estimator


@pytest.mark.parametrize("travel", TRAVELS)
def test_a_copy_is_the_same(fitted, travel):
    found = TRAVELS[travel](fitted)
    assert_same_model(found, fitted)
    np.testing.assert_array_equal(found.predict(X), fitted.predict(X))
    assert found.loss_curve_ == fitted.loss_curve_
    assert found.get_params(deep=False).keys() == fitted.get_params(deep=False).keys()
    assert repr(found) == repr(fitted)
    check_is_fitted(found)


@pytest.mark.parametrize("travel", TRAVELS)
def test_a_copy_is_independent(travel):
    original = classifier(warm_start=True).fit(X, Y)
    expected = original.predict_proba(X)
    TRAVELS[travel](original).fit(X, Y)
    np.testing.assert_array_equal(original.predict_proba(X), expected)


@pytest.mark.parametrize("travel", TRAVELS)
def test_an_unfitted_estimator_travels(travel):
    found = TRAVELS[travel](classifier(learning_rate=0.25))
    assert found.learning_rate == 0.25
    assert not hasattr(found, "model_")


def test_memory_map(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model")
    found = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not found.model_.state.weights[0].flags.writeable
    np.testing.assert_array_equal(found.predict(X), fitted.predict(X))
    found.set_params(warm_start=True, early_stopping=False).fit(X, found.predict(X))
    assert found.n_iter_ > 0


def test_nothing_of_opencl_is_in_the_file(fitted):
    names = set()
    for _, argument, _ in pickletools.genops(pickle.dumps(fitted)):
        if isinstance(argument, str):
            names.add(argument.lower())
    assert not [name for name in names if "opencl" in name or "backend" in name or "_cl" in name.split(".")]
    assert not [name for name in names if name.startswith("skintricate.kernels")]


def test_predicting_and_training_do_not_grow_the_file(fitted):
    size = len(pickle.dumps(fitted))
    fitted.predict(np.tile(X, (100, 1)))
    assert len(pickle.dumps(fitted)) == size


def test_clone_is_unfitted(fitted):
    found = clone(fitted)
    assert not hasattr(found, "model_")
    assert repr(found) == repr(fitted)
    for name, value in found.get_params(deep=False).items():
        original = getattr(fitted, name)
        assert value == original
        assert not (hasattr(value, "get_params") and value is original), name


def test_a_device_that_is_not_there():
    estimator = classifier().fit(X, Y)
    expected = estimator.predict_proba(X)
    estimator.device = estimator.model_.device = "abacus:7"
    found = pickle.loads(pickle.dumps(estimator))
    with pytest.warns(DeviceFallbackWarning, match="abacus:7"):
        np.testing.assert_allclose(found.predict_proba(X), expected, rtol=1e-4, atol=1e-6)
    with pytest.warns(DeviceFallbackWarning, match="abacus:7"):
        found.partial_fit(X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_another_device(dtype):
    devices = [f"{device.kind}:{device.index}" for device in list_devices()]
    if len(devices) < 2:
        pytest.skip("This machine has one device.")
    first, second = devices[:2]
    estimator = regressor(device=first, dtype=dtype, batch_size=16).fit(*numbers())
    other = pickle.loads(pickle.dumps(estimator))
    other.device = other.model_.device = second
    tolerance = {"float32": 1e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(other.predict(X), estimator.predict(X), rtol=tolerance, atol=tolerance)
    assert other.model_.device_ != estimator.model_.device_
    assert_same_model(other.partial_fit(*numbers()), estimator.partial_fit(*numbers()), rtol=tolerance)


def test_a_fresh_process(tmp_path):
    estimator = classifier(batch_size=16).partial_fit(X, Y)
    joblib.dump((estimator, X, Y), tmp_path / "model")
    code = (
        "import sys, joblib\n"
        "estimator, X, Y = joblib.load(sys.argv[1])\n"
        "assert 'pyopencl' not in sys.modules, 'loading touched OpenCL'\n"
        "before = estimator.predict_proba(X)\n"
        "joblib.dump((before, estimator.partial_fit(X, Y)), sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "model", tmp_path / "result"], check=True, timeout=120)
    before, trained = joblib.load(tmp_path / "result")
    np.testing.assert_array_equal(before, estimator.predict_proba(X))
    assert_same_model(trained, estimator.partial_fit(X, Y))
