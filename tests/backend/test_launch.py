"""Programs that do not build, launches that fail, and how many cores a CPU device takes."""

import numpy as np
import pytest

import skintricate
from skintricate import Model
from skintricate.backend import open_device
from skintricate.backend.launch import Launcher, device_errors
from skintricate.exceptions import DeviceError, KernelBuildError
from skintricate.layers import Activation, Dense


class Broken(Activation):
    value = "no_such_function(x)"


class Multiplied(Activation):
    value = "x * 3"
    derivative = "(real)3"


def test_a_program_that_does_not_build_shows_the_log(runtime):
    with pytest.raises(KernelBuildError) as caught:
        open_device(runtime).program("kernel void f(global int *a) { a[0] = undeclared_name; }", ["-DTUNABLE=5"])
    assert "undeclared_name" in str(caught.value)
    assert "-DTUNABLE=5" in str(caught.value)
    assert open_device(runtime).info.name in str(caught.value)


def test_an_activation_that_does_not_build_leaves_the_model_as_it_was(runtime):
    model = Model([Dense(2), Broken()], device=runtime, random_state=0)
    with pytest.raises(KernelBuildError, match="no_such_function"):
        model.fit(np.ones((4, 1)), np.ones((4, 2)))
    assert model.state is None
    Model([Dense(2), Multiplied()], device=runtime).fit(np.ones((4, 1)), np.ones((4, 2)), max_iter=1)


def test_a_program_is_built_once(runtime):
    device = open_device(runtime)
    source = "kernel void f(global int *a) { a[0] = 1; }"
    assert device.program(source, ["-DA"]) is device.program(source, ["-DA"])
    assert device.program(source, ["-DA"]) is not device.program(source, ["-DB"])


def test_a_device_is_opened_once(runtime):
    assert open_device(runtime) is open_device(runtime)


def test_a_launch_that_fails_is_a_device_error(runtime):
    device = open_device(runtime)
    program = device.program("kernel void f(global int *a) { a[0] = 1; }", [])
    kernel = device.cl.Kernel(program, "f")
    kernel.set_arg(0, device.buffer(16))
    launcher = Launcher(device, kernel, 1)
    launcher._global = launcher._local = (2**20, 1)
    with pytest.raises(DeviceError, match=r"failed: .*WORK_GROUP_SIZE") as caught, device_errors(device):
        launcher(device.queue, 0)
    assert isinstance(caught.value.__cause__, device.cl.Error)


def test_other_errors_pass(runtime):
    with pytest.raises(ZeroDivisionError), device_errors(open_device(runtime)):
        raise ZeroDivisionError


def test_a_failure_in_fit_is_a_device_error_and_the_next_fit_works(runtime, monkeypatch):
    X, y = np.ones((4, 1)), np.ones((4, 1))
    model = Model([Dense(1)], device=runtime, random_state=0)
    model.fit(X, y, max_iter=1)
    state, predicted = model.state, model.predict(X)

    def fails(*_):
        raise open_device(runtime).cl.LogicError("clEnqueueNDRangeKernel failed: OUT_OF_RESOURCES")

    with monkeypatch.context() as patch:
        patch.setattr(Launcher, "__call__", fails)
        with pytest.raises(DeviceError, match="OUT_OF_RESOURCES"):
            model.fit(X, y, max_iter=1)
        with pytest.raises(DeviceError, match="OUT_OF_RESOURCES"):
            model.predict(X)
    assert model.state is state
    np.testing.assert_array_equal(model.predict(X), predicted)
    model.fit(X, y, max_iter=1)


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "SKINTRICATE_NUM_THREADS"])
def test_the_number_of_threads_is_a_limit(runtime, monkeypatch, variable):
    [info] = [device for device in skintricate.list_devices() if device.runtime == runtime]
    if info.compute_units == 1:
        pytest.skip("this CPU has one compute unit")
    for other in ("OMP_NUM_THREADS", "SKINTRICATE_NUM_THREADS"):
        monkeypatch.delenv(other, raising=False)
    X = np.random.default_rng(0).normal(size=(50, 3))
    weights = []
    whole = open_device(runtime)
    assert whole.handle.max_compute_units == info.compute_units
    for value in ("", "1", "many", "1000"):
        monkeypatch.setenv(variable, value)
        assert open_device(runtime).handle.max_compute_units == (1 if value == "1" else info.compute_units)
        model = Model([Dense(5), Dense(1)], device=runtime, random_state=0)
        model.fit(X, X[:, :1], max_iter=3, batch_size=8)
        weights.append(model.coefs_[0])
    for other in weights:
        np.testing.assert_array_equal(other, weights[0])


def test_the_package_s_own_variable_comes_first(runtime, monkeypatch):
    [info] = [device for device in skintricate.list_devices() if device.runtime == runtime]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SKINTRICATE_NUM_THREADS", str(info.compute_units))
    assert open_device(runtime).handle.max_compute_units == info.compute_units
