"""Fixtures of the backend's tests: fresh interpreters, and each CPU runtime there is."""

import os
import subprocess
import sys
import textwrap

import pytest

import skintricate

# What changes how devices are found; a fresh interpreter has none of it.
PREFIXES = ("OCL_", "POCL_", "PYOPENCL_", "SKINTRICATE_", "OMP_", "XDG_CACHE_HOME")
PRELUDE = """
import os, sys, time, warnings
import numpy as np
import skintricate
from skintricate import Model
from skintricate.layers import Activation, Dense, TanH

warnings.simplefilter("error")
X = np.random.default_rng(0).normal(size=(33, 5)).astype("float32")
y = X[:, :2] * 2 + 1


def fitted(device, **options):
    model = Model([Dense(7), TanH(), Dense(2)], device=device, random_state=0)
    model.fit(X, y, **{"max_iter": 3, "batch_size": 8, **options})
    return model


"""


@pytest.fixture(params=["intel", "pocl"])
def runtime(request):
    """The name of a CPU runtime of this machine."""
    if request.param not in {device.runtime for device in skintricate.list_devices()}:
        pytest.skip(f"the runtime {request.param} is not installed")
    return request.param


@pytest.fixture(scope="session")
def program_cache(tmp_path_factory):
    """A folder for compiled programs that all tests share."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture
def fresh(tmp_path, program_cache):
    """A function that runs code, after ``PRELUDE``, in a fresh interpreter and returns what it printed.

    Keywords are environment variables; None removes one. With ``wait=False`` it returns the running process.
    """

    def run(code, *arguments, wait=True, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
        environment["SKINTRICATE_CACHE_DIR"] = str(program_cache)
        for name, value in variables.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = str(value)
        script = tmp_path / "script.py"
        script.write_text(PRELUDE + textwrap.dedent(code))
        process = subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not wait:
            return process
        try:
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, out + err
        return out

    return run
