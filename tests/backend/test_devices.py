"""Which device a wish means."""

import warnings
from types import SimpleNamespace

import pyopencl
import pytest

import skintricate
from skintricate.backend import devices
from skintricate.backend.devices import DeviceInfo, DeviceTable, select_device
from skintricate.exceptions import DeviceError, DeviceFallbackWarning, SkintricateError

GPU = pyopencl.device_type.GPU
CPU = pyopencl.device_type.CPU
ANY = GPU | CPU | pyopencl.device_type.ACCELERATOR | pyopencl.device_type.DEFAULT


def fake_device(name, kind, **others):
    fields = {"available": True, "version": "OpenCL 3.0", "max_compute_units": 4, "global_mem_size": 2**31}
    return SimpleNamespace(name=name, type=kind, **{**fields, **others})


def fake_platform(name, *found):
    def get_devices():
        if not found:
            raise pyopencl.LogicError("get_devices failed: DEVICE_NOT_FOUND")
        return list(found)

    return SimpleNamespace(name=name, vendor="", get_devices=get_devices)


@pytest.fixture
def machine(monkeypatch):
    """A function that lets the machine have these platforms."""
    monkeypatch.delenv("SKINTRICATE_DEVICE", raising=False)

    def have(*platforms):
        cl = SimpleNamespace(
            get_platforms=lambda: list(platforms), Error=pyopencl.Error, device_type=pyopencl.device_type
        )
        monkeypatch.setattr(devices, "load_pyopencl", lambda: cl)
        devices._enumerate.cache_clear()

    yield have
    devices._enumerate.cache_clear()


@pytest.fixture
def workstation(machine):
    """Two GPUs, and two runtimes for the CPU."""
    machine(
        fake_platform("Portable Computing Language", fake_device("pthread-Xeon", CPU)),
        fake_platform("Intel(R) OpenCL", fake_device("Intel(R)  Xeon(R) ", CPU)),
        fake_platform("AMD Accelerated Parallel Processing", fake_device("gfx1100", GPU)),
        fake_platform("NVIDIA CUDA", fake_device("NVIDIA GeForce RTX 4090", GPU)),
    )


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("auto", "NVIDIA GeForce RTX 4090"),
        ("gpu", "NVIDIA GeForce RTX 4090"),
        ("GPU:0", "NVIDIA GeForce RTX 4090"),
        ("gpu:1", "gfx1100"),
        ("cpu", "Intel(R) Xeon(R)"),
        ("cpu:0", "Intel(R) Xeon(R)"),
        ("cpu:1", "pthread-Xeon"),
        ("nvidia", "NVIDIA GeForce RTX 4090"),
        ("amd", "gfx1100"),
        ("intel", "Intel(R) Xeon(R)"),
        ("PoCL", "pthread-Xeon"),
        ("4090", "NVIDIA GeForce RTX 4090"),
        ("pthread", "pthread-Xeon"),
    ],
)
def test_a_wish_names_a_device(workstation, wish, name):
    assert select_device(wish).name == name


@pytest.mark.parametrize("wish", ["auto", "gpu", "nvidia", "h200"])
def test_equal_gpus_are_taken_in_turn(machine, wish):
    gpus = [fake_device(name, GPU) for name in ("NVIDIA H200", "NVIDIA H200", "NVIDIA RTX")]
    machine(fake_platform("NVIDIA CUDA", *gpus), fake_platform("Intel", fake_device("EPYC", CPU)))
    assert [devices.resolve(wish, turn)[0].index for turn in range(4)] == [0, 1, 0, 1]
    assert [devices.resolve("gpu:1", turn)[0].index for turn in range(2)] == [1, 1]
    assert [devices.resolve("cpu", turn)[0].kind for turn in range(2)] == ["cpu", "cpu"]


@pytest.mark.parametrize("wish", ["gpu:2", "cpu:7", "tpu", "apple", "accelerator", "x"])
def test_another_device_is_taken_with_a_warning(workstation, wish):
    with pytest.warns(DeviceFallbackWarning, match="running on NVIDIA GeForce RTX 4090") as record:
        assert select_device(wish).name == "NVIDIA GeForce RTX 4090"
    assert repr(wish) in str(record[0].message)
    assert "cpu:1 (pocl, pthread-Xeon)" in str(record[0].message)


def test_gpu_falls_back_to_the_fastest_cpu_runtime(machine):
    machine(
        fake_platform("Portable Computing Language", fake_device("slow", CPU)),
        fake_platform("Intel(R) OpenCL", fake_device("fast", CPU)),
    )
    with pytest.warns(DeviceFallbackWarning):
        assert select_device("gpu").name == "fast"


def test_the_environment_says_what_auto_means(workstation, monkeypatch):
    monkeypatch.setenv("SKINTRICATE_DEVICE", "pocl")
    assert select_device("auto").runtime == "pocl"
    assert select_device("cpu:0").runtime == "intel"
    monkeypatch.setenv("SKINTRICATE_DEVICE", "")
    assert select_device("auto").runtime == "nvidia"
    monkeypatch.setenv("SKINTRICATE_DEVICE", "gpu:9")
    with pytest.warns(DeviceFallbackWarning):
        select_device("auto")


def test_no_device_is_an_error(machine):
    machine(fake_platform("Clover"))
    with pytest.raises(DeviceError, match=r"skintricate\[cpu\]"):
        select_device("auto")
    assert "Searched" in repr(skintricate.list_devices())
    assert issubclass(DeviceError, SkintricateError)


def test_devices_that_cannot_be_used_are_left_out(machine):
    machine(
        fake_platform("Clover"),
        fake_platform("rusticl", fake_device("off", GPU, available=False)),
        fake_platform("Intel(R) OpenCL", fake_device("on", CPU)),
    )
    assert [device.name for device in skintricate.list_devices()] == ["on"]


def test_a_platform_may_have_no_name(machine):
    machine(fake_platform("", fake_device("nameless", CPU)))
    assert select_device().name == "nameless"


def test_a_simulator_is_the_last_choice(machine):
    machine(
        fake_platform("Oclgrind", fake_device("Oclgrind Simulator", ANY)),
        fake_platform("Portable Computing Language", fake_device("pthread", CPU)),
    )
    assert select_device("auto").runtime == "pocl"
    assert select_device("oclgrind").runtime == "oclgrind"


def test_the_table_has_a_line_for_each_device(workstation):
    table = skintricate.list_devices()
    lines = str(table).splitlines()
    assert len(lines) == 1 + len(table) == 5
    assert lines[1].startswith("gpu:0")
    assert "2.0 GiB" in lines[1]
    assert not any(line.endswith(" ") for line in lines)


def test_every_real_device_answers_to_its_names(monkeypatch):
    monkeypatch.delenv("SKINTRICATE_DEVICE", raising=False)
    found = skintricate.list_devices()
    assert isinstance(found, DeviceTable)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for device in found:
            assert isinstance(device, DeviceInfo)
            assert device.compute_units > 0
            assert device.memory > 0
            assert select_device(f"{device.kind}:{device.index}") == device
            assert select_device(device.runtime).runtime == device.runtime
            assert select_device(device.name).name == device.name
        if found:
            assert select_device() == found[0]


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("auto", ["gpu:0"]),
        ("gpu", ["gpu:0"]),
        ("gpu:all", ["gpu:0", "gpu:2"]),
        ("NVIDIA:all", ["gpu:0", "gpu:2"]),
        ("titan:all", ["gpu:1"]),
        ("gpu:2, gpu:0", ["gpu:2", "gpu:0"]),
        ("gpu:1,cpu,gpu:1", ["gpu:1", "cpu:0"]),
        ("cpu:all", ["cpu:0"]),
    ],
)
def test_several_devices(wish, expected, machine):
    machine(
        fake_platform("NVIDIA CUDA", *(fake_device(f"NVIDIA {name}", GPU) for name in ("H200", "Titan", "H200"))),
        fake_platform("Intel(R) OpenCL", fake_device("Intel(R) Xeon(R)", CPU)),
    )
    found = [info for info, _ in devices.resolve_all(wish)]
    assert [f"{info.kind}:{info.index}" for info in found] == expected
    assert select_device(wish) == found[0]


def test_several_devices_take_turns_where_each_task_has_one(machine):
    machine(fake_platform("NVIDIA CUDA", *(fake_device("NVIDIA H200", GPU) for _ in range(3))))
    for wish in ("gpu", "gpu:all", "gpu:0,gpu:1,gpu:2"):
        assert [devices.resolve(wish, turn)[0].index for turn in range(4)] == [0, 1, 2, 0]


def test_all_gpus_where_there_is_none(machine):
    machine(fake_platform("Intel(R) OpenCL", fake_device("Intel(R) Xeon(R)", CPU)))
    with pytest.warns(DeviceFallbackWarning, match="device='gpu' is not on this machine"):
        ((info, _),) = devices.resolve_all("gpu:all")
    assert info.kind == "cpu"
