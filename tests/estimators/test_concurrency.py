"""Threads, forked processes and Ctrl-C."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import joblib
import numpy as np
import pytest
from problems import assert_same_model, classes, classifier, weights_of

X, Y = classes()


def in_threads(function, n_threads=6):
    """Call a function of the thread's number in threads at once and return the results."""
    results = [None] * n_threads

    def call(number):
        results[number] = function(number)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_fits_in_threads():
    def fit(number):
        return classifier((4 + number % 3,), batch_size=8, max_iter=20).fit(X, Y)

    for number, estimator in enumerate(in_threads(fit)):
        assert_same_model(estimator, fit(number))


def test_one_estimator_predicts_in_threads():
    estimator = classifier().fit(X, Y)
    many = np.tile(X, (20, 1))
    expected = estimator.predict_proba(many), estimator.predict_proba(X[:1])

    def predict(number):
        return [(estimator.predict_proba(many), estimator.predict_proba(X[:1])) for _ in range(10)]

    for results in in_threads(predict):
        for found in results:
            np.testing.assert_array_equal(found[0], expected[0])
            np.testing.assert_array_equal(found[1], expected[1])


def test_predicting_while_fitting_again():
    estimator = classifier().fit(X, Y)

    def use(number):
        for _ in range(20):
            if number:
                assert estimator.predict(X).shape == Y.shape
            else:
                estimator.fit(X, Y)
        return True

    assert all(in_threads(use, 3))


def test_nested_threads():
    def fits():
        return joblib.Parallel(2, backend="threading")(joblib.delayed(classifier().fit)(X, Y) for _ in range(3))

    expected = classifier().fit(X, Y)
    for estimators in joblib.Parallel(2, backend="threading")(joblib.delayed(fits)() for _ in range(2)):
        for estimator in estimators:
            assert_same_model(estimator, expected)


def predict_and_report(estimator, queue):
    for use in (estimator.predict, lambda X: classifier().fit(X, Y).predict(X)):
        try:
            queue.put(use(X).shape)
        except Exception as error:
            queue.put(f"{type(error).__name__}: {error}")


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="This system does not fork.")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_never_hangs():
    estimator = classifier().fit(X, Y)
    estimator.predict(X)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=predict_and_report, args=(estimator, queue))
    child.start()
    answers = [queue.get(timeout=30) for _ in range(2)]
    child.join(30)
    assert child.exitcode == 0
    for answer in answers:
        assert answer == Y.shape or ("DeviceError" in answer and "fork" in answer and "loky" in answer)


INTERRUPTED = """
import sys, warnings, numpy as np
from skintricate import IntricateClassifier
from skintricate.training import Callback

class Announcer(Callback):
    synchronous = False
    def on_epoch_end(self, epoch, weights):
        if epoch.number == 5:
            print("begin", flush=True)

generator = np.random.default_rng(0)
X, y = generator.normal(size=(2000, 20)), generator.integers(0, 3, 2000)
network = IntricateClassifier((64,), max_iter=10**6, n_iter_no_change=None, random_state=0, early_stopping=EARLY)
network.set_params(verbose=Announcer())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    network.fit(X, y)
assert any("interrupted" in str(w.message) for w in caught), caught
assert 5 <= network.n_iter_ < 10**6 and len(network.loss_curve_) == network.n_iter_
assert all(np.isfinite(w).all() for w in network.coefs_)
assert network.loss_ < network.loss_curve_[0]
assert network.predict(X).shape == (2000,)
print("end")
"""


@pytest.mark.skipif(os.name != "posix", reason="Signals are sent as POSIX has them.")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_control_c(early_stopping):
    code = INTERRUPTED.replace("EARLY", str(early_stopping))
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert child.stdout.readline() == "begin\n"
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == 0, errors
    assert output == "end\n"


def test_fits_leave_nothing_behind():
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("This system does not list open files.")
    classifier().fit(X, Y)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        estimator = classifier().fit(X, Y)
        estimator.predict(X)
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert all(np.isfinite(array).all() for array in weights_of(estimator))
