"""Compiled programs on disk, and everything that may be wrong with a cache folder."""

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from skintricate.backend import cache

# Counts the programs built from source.
COUNTING = """
from skintricate.backend.runtimes import load_pyopencl

pyopencl = load_pyopencl()
sources = []
program = pyopencl.Program.__init__


def counted(self, context, second, *others):
    if isinstance(second, str):
        sources.append(second)
    program(self, context, second, *others)


pyopencl.Program.__init__ = counted
"""
# What that number is for a model, beside what it predicts, and for a program of one kernel, which builds in no time.
MODEL = f"""{COUNTING}
predicted = fitted(sys.argv[1]).predict(X[:1]).tolist()
print([len(sources), predicted])
"""
KERNEL = f"""{COUNTING}
from skintricate.backend.cache import cache_folder
from skintricate.backend.context import open_device
from skintricate.backend.programs import build_program


def built():
    sources.clear()
    device = open_device(sys.argv[1])
    source = "kernel void square(global float *x) {{ x[get_global_id(0)] *= x[get_global_id(0)]; }}"
    kernel = pyopencl.Kernel(build_program(device, source, ()), "square")
    buffer = device.buffer_of(X)
    kernel.set_arg(0, buffer)
    pyopencl.enqueue_nd_range_kernel(device.queue, kernel, (X.size,), None)
    np.testing.assert_allclose(device.read(np.empty_like(X), buffer), X**2, rtol=1e-6)
    return len(sources)


print(built())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("SKINTRICATE_CACHE_DIR", str(tmp_path / "cache"))
    cache.cache_folder.cache_clear()
    yield tmp_path / "cache"
    cache.cache_folder.cache_clear()


def test_binaries_come_back(folder):
    assert cache.read_binary("a.bin") is None
    cache.write_binary("a.bin", b"program")
    assert cache.read_binary("a.bin") == b"program"
    cache.write_binary("a.bin", b"another")
    assert cache.read_binary("a.bin") == b"another"
    assert [path.name for path in folder.iterdir()] == ["a.bin"]
    cache.remove_binary("a.bin")
    cache.remove_binary("a.bin")
    assert cache.read_binary("a.bin") is None


@pytest.mark.parametrize("change", ["empty", "truncated", "longer", "flipped", "random"])
def test_a_changed_binary_is_never_read(folder, change):
    good = bytes(range(256)) * 20
    cache.write_binary("a.bin", good)
    stored = (folder / "a.bin").read_bytes()
    middle = len(stored) // 2
    changed = {
        "empty": b"",
        "truncated": stored[:-100],
        "longer": stored + b"x",
        "flipped": stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :],
        "random": os.urandom(len(stored)),
    }[change]
    (folder / "a.bin").write_bytes(changed)
    assert cache.read_binary("a.bin") is None


def test_what_lies_in_the_way_costs_a_build_only(folder):
    folder.mkdir()
    (folder / "a.bin").mkdir()
    cache.write_binary("a.bin", b"program")
    assert cache.read_binary("a.bin") is None
    assert [path.name for path in folder.iterdir()] == ["a.bin"]


def test_keys_differ_by_part():
    assert cache.program_key("ab", "c") != cache.program_key("a", "bc")
    assert cache.program_key("a") == cache.program_key("a")


def test_a_folder_that_cannot_be_had_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SKINTRICATE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    cache.cache_folder.cache_clear()
    try:
        cache.write_binary("a.bin", b"program")
        assert cache.read_binary("a.bin") == b"program"
        cache.remove_binary("a.bin")
        cache.cache_folder().rmdir()
    finally:
        cache.cache_folder.cache_clear()


def test_the_second_process_builds_nothing_from_source(fresh, tmp_path, runtime):
    first, predicted = eval(fresh(MODEL, runtime, SKINTRICATE_CACHE_DIR=tmp_path / "cache"))
    again, predicted_again = eval(fresh(MODEL, runtime, SKINTRICATE_CACHE_DIR=tmp_path / "cache"))
    assert (first, again) == (1, 0)
    assert predicted_again == predicted


def test_one_program_serves_every_shape(fresh, runtime):
    code = """
    from skintricate.backend import context
    builds = []
    build = context.build_program
    context.build_program = lambda *arguments: builds.append(arguments) or build(*arguments)
    fitted(sys.argv[1])
    assert len(builds) == 1, builds
    fitted(sys.argv[1], optimizer="momentum", loss="huber", alpha=0.1, max_iter=1, batch_size=5)
    other = Model([Dense(3), "relu", Dense(4), "softmax"], device=sys.argv[1])
    other.fit(X[:, :3], np.arange(len(X)) % 4, loss="categorical_cross_entropy", max_iter=1)
    assert len(builds) == 1, builds
    """
    fresh(code, runtime)


def test_a_damaged_binary_is_built_again(fresh, tmp_path, runtime):
    code = """
    [path] = cache_folder().glob("*.bin")
    good = path.read_bytes()
    third = len(good) // 3
    flipped = good[:third] + bytes(byte ^ 255 for byte in good[third : third + 64]) + good[third + 64 :]
    for damaged in (good[: len(good) // 2], os.urandom(len(good)), b"", flipped):
        path.write_bytes(damaged)
        print(built(), built())
    """
    printed = fresh(KERNEL + textwrap.dedent(code), runtime, SKINTRICATE_CACHE_DIR=tmp_path / "cache")
    assert printed.split("\n") == ["1", *["1 0"] * 4, ""]


def test_processes_may_build_at_once(fresh, runtime, tmp_path):
    code = """
    for _ in range(30):
        for path in cache_folder().glob("*.bin"):
            path.unlink(missing_ok=True)
        built()
    """
    variables = {"SKINTRICATE_CACHE_DIR": tmp_path / "cache", "POCL_CACHE_DIR": tmp_path / "pocl"}
    processes = [fresh(KERNEL + textwrap.dedent(code), runtime, wait=False, **variables) for _ in range(2)]
    results = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".bin"]


def test_a_home_that_cannot_be_written_does_no_harm(fresh, runtime, tmp_path):
    (tmp_path / "file").touch()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    home = tmp_path / "file" / "home"
    fresh("fitted(sys.argv[1])", runtime, HOME=home, TMPDIR=temporary, SKINTRICATE_CACHE_DIR=None)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_without_permission_does_no_harm(fresh, runtime, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir(mode=0o555)
    temporary.mkdir()
    fresh("fitted(sys.argv[1])", runtime, HOME=home, TMPDIR=temporary, SKINTRICATE_CACHE_DIR=None)


def test_temporary_caches_are_removed(fresh, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    (tmp_path / "file").touch()
    fresh(
        "skintricate.list_devices(); fitted('cpu')", TMPDIR=temporary, SKINTRICATE_CACHE_DIR=tmp_path / "file" / "cache"
    )
    assert list(temporary.iterdir()) == []


def test_a_stale_lock_of_pyopencl_is_not_waited_for(fresh, runtime, tmp_path):
    variables = {"XDG_CACHE_HOME": tmp_path / "home", "SKINTRICATE_CACHE_DIR": tmp_path / "cache"}
    # The name that pyopencl.cache.create_built_program_from_source_cached gives its folder.
    name = "pyopencl-compiler-cache-v2-py" + ".".join(map(str, sys.version_info))
    code = "import platformdirs; print(platformdirs.user_cache_dir('pyopencl', 'pyopencl'), end='')"
    folder = Path(fresh(code, **variables)) / name
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    started = time.perf_counter()
    fresh(KERNEL, runtime, **variables)
    assert time.perf_counter() - started < 50
    assert [path.name for path in folder.iterdir()] == ["lock"]
