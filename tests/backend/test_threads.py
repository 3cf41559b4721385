"""Several threads: what they compute is what one of them would."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skintricate import Model
from skintricate.backend import open_device
from skintricate.layers import Dense, Dropout, ReLU, SoftMax

X = np.random.default_rng(0).normal(size=(70, 5)).astype("float32")
y = np.arange(70) % 3


@pytest.fixture(autouse=True)
def frequent_switches():
    """Let threads take turns often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def fitted(device, seed):
    units = 3 + seed % 5
    model = Model([Dense(units), ReLU(), Dropout(0.1), Dense(3), SoftMax()], device=device, random_state=seed)
    model.fit(X, y, loss="categorical_cross_entropy", max_iter=10, batch_size=11 + seed % 3)
    return model


def result(device, seed):
    """Fit and predict; return everything as bytes."""
    model = fitted(device, seed)
    arrays = [*model.state.weights, model.predict(X), model.predict(X[:1]), *model.outputs(X[:7])]
    return [array.tobytes() for array in arrays] + [model.history_.epochs[-1].loss]


def test_threads_train_as_one_would(runtime):
    alone = [result(runtime, seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: result(runtime, seed), range(12)))
    assert together == alone


def test_one_model_predicts_in_many_threads(runtime):
    model = fitted(runtime, 1)
    parts = [X[begin : begin + n] for begin in range(0, 60, 3) for n in (1, 5, 40)]
    alone = [model.predict(part).tobytes() for part in parts]
    model = fitted(runtime, 1)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda part: model.predict(part).tobytes(), parts)) == alone


def test_a_model_predicts_in_another_thread_than_it_was_made_in(runtime):
    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(fitted, runtime, 2).result()
    assert model.predict(X).tobytes() == fitted(runtime, 2).predict(X).tobytes()


def test_a_program_is_built_once_by_many_threads(runtime):
    device = open_device(runtime)
    source = "kernel void g(global int *a) { a[0] = 2; }"
    with ThreadPoolExecutor(6) as pool:
        programs = list(pool.map(lambda _: device.program(source, ["-DTHREADS"]), range(6)))
    assert all(program is programs[0] for program in programs)


def test_each_thread_has_a_queue_of_its_own(runtime):
    device = open_device(runtime)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: device.queue).result()
    assert device.queue is device.queue
    assert other is not device.queue
