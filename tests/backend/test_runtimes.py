"""Finding runtimes, in fresh interpreters."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

import skintricate
from skintricate.backend import runtimes

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OCL_ICD_VENDORS is Linux's")

LIST = """
before = dict(os.environ)
print([device.runtime for device in skintricate.list_devices()])
after = dict(os.environ)
after.pop("PYOPENCL_HOME", None)  # pyopencl's own, set when it is imported
assert after == before, set(after.items()) ^ set(before.items())
"""


def installed():
    """The runtimes that pip has installed here."""
    names = set()
    if Path(sys.prefix, "lib", "libintelocl.so").exists():
        names.add("intel")
    if importlib.util.find_spec("pocl_binary_distribution"):
        names.add("pocl")
    return names


@linux
def test_a_fresh_interpreter_finds_what_pip_installed(fresh, tmp_path):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    assert installed() <= set(eval(fresh(LIST, TMPDIR=temporary)))
    assert list(temporary.iterdir()) == []


def test_many_threads_may_be_the_first(fresh):
    code = """
    from concurrent.futures import ThreadPoolExecutor
    sys.setswitchinterval(1e-5)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: skintricate.list_devices(), range(8)))
    assert all(devices == found[0] for devices in found)
    assert "OCL_ICD_VENDORS" not in os.environ
    """
    fresh(code)


@linux
def test_what_the_user_set_is_respected(fresh, tmp_path):
    code = LIST + "from skintricate.backend.runtimes import searched_places\nprint(searched_places())"
    names, places = fresh(code, OCL_ICD_VENDORS=tmp_path).splitlines()
    assert "intel" not in eval(names)
    assert str(tmp_path) in places
    assert "set by you" in places


@linux
def test_without_any_device(fresh, tmp_path):
    code = """
    from skintricate.backend import select_device
    from skintricate.exceptions import DeviceError
    devices = skintricate.list_devices()
    assert devices == []
    print(devices)
    for use in (select_device, lambda: select_device("gpu"), lambda: fitted("auto")):
        try:
            use()
        except DeviceError as error:
            assert "skintricate[cpu]" in str(error), error
        else:
            raise AssertionError("no DeviceError")
    """
    missing = tmp_path / "missing"
    table = fresh(code, OCL_ICD_VENDORS=missing)
    assert "No OpenCL device found" in table
    assert str(missing) in table
    assert "pip install 'skintricate[cpu]'" in table
    program = "from skintricate.__main__ import main\nmain()"
    assert table.strip() in fresh(program, OCL_ICD_VENDORS=missing)


def test_the_program_prints_devices_and_places(fresh):
    text = fresh("from skintricate.__main__ import main\nmain()")
    assert skintricate.__version__ in text
    for device in skintricate.list_devices():
        assert device.name in text
    assert "Searched:" in text


@pytest.fixture
def vendors(monkeypatch, tmp_path):
    """The folder that stands for /etc/OpenCL/vendors, where no library is found."""
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)
    monkeypatch.setattr(runtimes, "SYSTEM_VENDORS", str(tmp_path))
    monkeypatch.setattr(runtimes, "_searched", [])
    monkeypatch.setattr(runtimes, "_find_intel", lambda: None)
    monkeypatch.setattr(runtimes, "_find_nvidia", lambda: None)
    return tmp_path


def contents(folder):
    """Return the contents of the ``.icd`` files of a private folder, and remove it."""
    assert os.environ.pop("OCL_ICD_VENDORS") == folder
    files = {path.name: path.read_text().strip() for path in Path(folder).iterdir()}
    runtimes.shutil.rmtree(folder)
    return files


@linux
def test_nothing_is_added_where_nothing_is_found(vendors):
    assert runtimes._vendor_folder() is None
    assert "OCL_ICD_VENDORS" not in os.environ
    assert "nvidia: not found" in runtimes._searched
    assert "intel: not found" in runtimes._searched


@linux
def test_a_driver_without_an_icd_file_is_added(vendors, monkeypatch):
    (vendors / "amd.icd").write_text("libamdocl64.so\n")
    monkeypatch.setattr(runtimes, "_find_nvidia", lambda: runtimes.NVIDIA_LIBRARY)
    files = contents(runtimes._vendor_folder())
    assert files == {"amd.icd": "libamdocl64.so", "skintricate-nvidia.icd": runtimes.NVIDIA_LIBRARY}
    assert f"nvidia: {runtimes.NVIDIA_LIBRARY}" in runtimes._searched


@linux
def test_a_registered_driver_is_not_added_again(vendors, monkeypatch):
    (vendors / "nvidia.icd").write_text("libnvidia-opencl.so.1\n")
    (vendors / "intel.icd").write_text("/opt/intel/lib/libintelocl.so\n")
    monkeypatch.setattr(runtimes, "_find_nvidia", lambda: runtimes.NVIDIA_LIBRARY)
    monkeypatch.setattr(runtimes, "_find_intel", lambda: "/somewhere/else/libintelocl.so")
    assert runtimes._vendor_folder() is None


@linux
def test_a_dangling_icd_file_does_no_harm(vendors, monkeypatch):
    (vendors / "gone.icd").symlink_to(vendors / "nowhere")
    (vendors / "amd.icd").write_text("libamdocl64.so\n")
    monkeypatch.setattr(runtimes, "_find_nvidia", lambda: runtimes.NVIDIA_LIBRARY)
    files = contents(runtimes._vendor_folder())
    assert files == {"amd.icd": "libamdocl64.so", "skintricate-nvidia.icd": runtimes.NVIDIA_LIBRARY}


@linux
def test_a_damaged_intel_runtime_is_named(monkeypatch, tmp_path):
    library = tmp_path / "lib" / "libintelocl.so"
    library.parent.mkdir()
    library.touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(runtimes, "_searched", [])
    assert runtimes._find_intel() is None
    assert str(library) in runtimes._searched[0]
    assert runtimes.INTEL_DEPENDENCIES[0] in runtimes._searched[0]
