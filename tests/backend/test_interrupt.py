"""Ctrl-C during training."""

import signal
import sys
import threading
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

# Says when it begins, trains without end, and prints what is left after an interrupt.
ENDLESS = """
from skintricate.exceptions import TrainingInterruptedWarning

device, kind = sys.argv[1:]
random = np.random.default_rng(0)
rows, columns, units, options = {
    "epochs": (50, 3, 3, {}),
    "steps": (100_000, 3, 3, {"batch_size": 1}),
    "large steps": (75_000, 200, 1000, {"batch_size": 5000}),
    "streamed": (100_000, 20, 3, {"batch_size": 50}),
}[kind]
if kind == "streamed":
    os.environ["SKINTRICATE_MEMORY_LIMIT"] = "4MiB"
X = random.normal(size=(rows, columns)).astype("float32")
model = Model([Dense(units), TanH(), Dense(units), TanH(), Dense(1)], device=device, random_state=0)
# What is streamed has kernels of its own, which PoCL may build for longer than the test waits.
few = X if kind == "streamed" else X[:50]
model.fit(few, few[:, :1], max_iter=1, **(options if kind == "streamed" else {}))
steps, first = model.state.step, model.coefs_[0]
print("begins", flush=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = model.fit(X, X[:, :1], max_iter=10**6, **options)
assert [w.category for w in caught] == [TrainingInterruptedWarning], [str(w.message) for w in caught]
assert history.stopped_by == model.history_.stopped_by == "interrupted"
assert f"after {len(history)} epochs" in str(caught[0].message)
assert model.state.step > steps
assert (model.coefs_[0] != first).any()
assert np.isfinite(model.predict(X[:100])).all()
os.environ.pop("SKINTRICATE_MEMORY_LIMIT", None)
model.fit(X[:50], X[:50, :1], max_iter=1)
print("ends", flush=True)
"""


def interrupted(process, after):
    """Interrupt a process some time after it begins; return how long it takes to end, and what it wrote."""
    assert process.stdout.readline().strip() == "begins", process.communicate()[1]
    time.sleep(after)
    killer = threading.Timer(30, process.kill)
    killer.start()
    process.send_signal(signal.SIGINT)
    started = time.perf_counter()
    out, err = process.communicate()
    killer.cancel()
    assert out.strip() == "ends", err
    assert process.returncode == 0, err
    return time.perf_counter() - started


@pytest.mark.parametrize("kind", ["epochs", "steps", "large steps", "streamed"])
def test_training_ends_soon_with_a_usable_model(fresh, runtime, kind):
    process = fresh(ENDLESS, runtime, kind, wait=False)
    # Two seconds, and what the rest of the script and leaving Python take.
    assert interrupted(process, 2.5) < 2 + 1
