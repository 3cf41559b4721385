"""Several processes: forked, spawned, and joblib's."""

import multiprocessing

import pytest

forking = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")

# Runs `child` in a process forked after `parent` and prints how it ended; never waits long.
FORK = """
import multiprocessing
from skintricate.exceptions import DeviceError

context = multiprocessing.get_context("fork")
device, parent, child = sys.argv[1:]


def act(action):
    global model
    if action == "lists":
        assert skintricate.list_devices()
    elif action == "fits":
        model = fitted(device)
        model.predict(X)
    elif action == "predicts":
        model.predict(X)


def in_child(queue):
    try:
        act(child)
        queue.put("works")
    except DeviceError as error:
        queue.put(f"DeviceError: {error}")


act(parent)
queue = context.SimpleQueue()
process = context.Process(target=in_child, args=(queue,))
process.start()
process.join(20)
if process.is_alive():
    process.kill()
    print("hangs")
else:
    print(queue.get() if not queue.empty() else f"exit status {process.exitcode}")
"""


@forking
@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ("imports", "fits"),
        ("imports", "lists"),
        ("lists", "lists"),
        ("lists", "fits"),
        ("fits", "lists"),
        ("fits", "fits"),
        ("fits", "predicts"),
        ("fits", "ends"),
    ],
)
def test_a_forked_child_works_or_says_why_not(fresh, runtime, parent, child):
    ended = fresh(FORK, runtime, parent, child).strip()
    if parent == "imports" or child in ("lists", "ends"):
        assert ended == "works"
    else:
        assert ended == "works" or ended.startswith("DeviceError: OpenCL was used before"), ended


@forking
def test_the_parent_goes_on_after_a_fork(fresh, runtime):
    code = """
    model = fitted(sys.argv[1])
    before = model.predict(X)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert (model.predict(X) == before).all()
    fitted(sys.argv[1])
    """
    fresh(code, runtime)


def test_a_spawned_child_works(fresh, runtime):
    code = """
    import multiprocessing

    def work(device):
        return fitted(device).predict(X).tobytes()

    if __name__ == "__main__":
        here = work(sys.argv[1])
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(work, (sys.argv[1],)) == here
    """
    fresh(code, runtime)


def test_joblib_works(fresh, runtime):
    code = """
    import joblib

    def work(device, seed):
        from skintricate.backend import open_device
        model = Model([Dense(7), TanH(), Dense(2)], device=device, random_state=seed)
        model.fit(X, y, max_iter=3, batch_size=8)
        return model, model.predict(X), open_device(device).handle.max_compute_units

    if __name__ == "__main__":
        device = sys.argv[1]
        results = joblib.Parallel(n_jobs=2)(joblib.delayed(work)(device, seed) for seed in range(4))
        for seed, (model, predicted, _) in enumerate(results):
            assert (predicted == work(device, seed)[1]).all()
            assert (predicted == model.predict(X)).all()
        if joblib.cpu_count() <= 2:
            assert {units for _, _, units in results} == {1}
    """
    fresh(code, runtime)
