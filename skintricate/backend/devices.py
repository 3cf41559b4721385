"""What devices there are, and which one a name means."""

import functools
import os
import warnings
from dataclasses import dataclass

from skintricate.backend.runtimes import load_pyopencl, searched_places
from skintricate.exceptions import DeviceError, DeviceFallbackWarning

# What a wish ends with that means all devices equal to the first.
ALL = ":all"
# Among devices of a kind, the runtime preferred first; of the CPU runtimes the faster one.
RUNTIME_ORDER = ("nvidia", "amd", "intel", "apple", "pocl", "oclgrind")
RUNTIME_NAMES = {
    "nvidia": "nvidia",
    "amd": "amd",
    "advanced micro devices": "amd",
    "intel": "intel",
    "apple": "apple",
    "portable computing language": "pocl",
    "pocl": "pocl",
    "oclgrind": "oclgrind",
}
INSTALL_HINT = (
    "Install a driver for your GPU, or a CPU runtime: "
    "pip install 'skintricate[cpu]' (Intel's, on x86-64 Linux and Windows, AMD processors too) "
    "or pip install 'skintricate[pocl]' (PoCL, on x86-64 Linux). "
    "`python -m skintricate` shows what was searched."
)


@dataclass(frozen=True)
class DeviceInfo:
    """One OpenCL device of this machine.

    Attributes
    ----------
    name : str
        The device's own name.
    kind : {"gpu", "cpu", "accelerator"}
    runtime : str
        Short name of the platform: ``"nvidia"``, ``"amd"``, ``"intel"``, ``"pocl"``, ...
    version : str
        The OpenCL version the device reports.
    compute_units : int
    memory : int
        Global memory in bytes.
    index : int
        Position among the devices of the same kind; ``"gpu:1"`` is the second GPU.
    """

    name: str
    kind: str
    runtime: str
    version: str
    compute_units: int
    memory: int
    index: int

    def __str__(self):
        return f"{self.name} ({self.kind}:{self.index}, {self.runtime})"


class DeviceTable(list):
    """A list of ``DeviceInfo`` that prints as a table."""

    def __repr__(self):
        if not self:
            places = "\n".join(f"  {place}" for place in searched_places())
            return f"No OpenCL device found. Searched:\n{places}\n{INSTALL_HINT}"
        header = ("device", "name", "runtime", "units", "memory", "version")
        rows = [
            (f"{d.kind}:{d.index}", d.name, d.runtime, str(d.compute_units), f"{d.memory / 2**30:.1f} GiB", d.version)
            for d in self
        ]
        widths = [max(map(len, column)) for column in zip(header, *rows)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in (header, *rows)]
        return "\n".join(lines)

    __str__ = __repr__


def list_devices():
    """Return the OpenCL devices of this machine, the preferred one first.

    Returns
    -------
    devices : list of DeviceInfo
        Prints as a table; where it is empty, as what was searched and what to install.

    Examples
    --------
    >>> import skintricate
    >>> devices = skintricate.list_devices()
    """
    return DeviceTable(info for info, _ in _enumerate())


def select_device(wish="auto"):
    """Return the ``DeviceInfo`` that a wish names, or warn and return the preferred device.

    Parameters
    ----------
    wish : str, default="auto"
        ``"auto"`` (a GPU, then the fastest CPU runtime; ``SKINTRICATE_DEVICE`` overrides it), ``"cpu"``,
        ``"gpu"``, ``"gpu:1"``, a runtime's name, ``"nvidia:1"``, or part of a device's name; case does not matter.
        ``"gpu:all"`` and ``"gpu:0,gpu:1"`` name several, the first of which is returned.

    Raises
    ------
    DeviceError
        If this machine has no OpenCL device at all.
    """
    return resolve(wish)[0]


def resolve(wish, turn=0):
    """Return ``(DeviceInfo, pyopencl device)`` for a wish; of equal GPUs that it does not tell apart, in turn."""
    wish = _wish_of(wish)
    entries = resolve_all(wish) if "," in wish else _equal(wish.removesuffix(ALL))
    return entries[turn % len(entries)]


def resolve_all(wish):
    """Return a list of ``(DeviceInfo, pyopencl device)``: of the devices that a wish names together, or of the one."""
    wish = _wish_of(wish)
    if "," in wish:
        return list({entry[0]: entry for entry in (resolve(part.strip()) for part in wish.split(","))}.values())
    equal = _equal(wish.removesuffix(ALL))
    return equal if wish.endswith(ALL) else equal[:1]


def _wish_of(wish):
    """Return a wish in lower case, or the one that "auto" stands for."""
    return ((os.environ.get("SKINTRICATE_DEVICE") or "auto") if wish == "auto" else wish).lower()


def _equal(wish):
    """Return the device that a wish names; of a GPU that it names without a number, all that are equal."""
    available = _enumerate()
    if not available:
        raise DeviceError(f"No OpenCL device found on this machine. {INSTALL_HINT}")
    matching = [entry for entry in available if _matches(entry[0], wish)]
    runtime, _, index = wish.partition(":")
    if not matching and index.isdigit():
        matching = [entry for entry in available if entry[0].runtime == runtime][int(index) :]
    if matching:
        first = matching[0][0]
        equal = [entry for entry in matching if (entry[0].name, entry[0].runtime) == (first.name, first.runtime)]
        return equal if first.kind == "gpu" and ":" not in wish else matching[:1]
    names = ", ".join(f"{info.kind}:{info.index} ({info.runtime}, {info.name})" for info, _ in available)
    warnings.warn(
        f"device={wish!r} is not on this machine, which has {names}; running on {available[0][0]} instead. "
        "Set device='auto' to silence this.",
        DeviceFallbackWarning,
        stacklevel=2,
    )
    return available[:1]


def _matches(info, wish):
    """Say whether a lower-case wish names this device."""
    if wish == "auto" or wish == info.kind or wish == f"{info.kind}:{info.index}" or wish == info.runtime:
        return True
    return len(wish) > 2 and wish in info.name.lower()


@functools.cache
def _enumerate():
    """List ``(DeviceInfo, pyopencl device)``, the preferred first."""
    cl = load_pyopencl()
    found = []
    try:
        platforms = cl.get_platforms()
    except cl.Error:
        platforms = []
    for platform in platforms:
        runtime = _runtime_name(platform)
        try:
            devices = platform.get_devices()
        except cl.Error:
            continue
        found += [(runtime, device) for device in devices if device.available]
    found.sort(key=lambda entry: (entry[0] == "oclgrind", _kind(cl, entry[1]) != "gpu", _rank(entry[0])))
    counts, result = {}, []
    for runtime, device in found:
        kind = _kind(cl, device)
        index = counts[kind] = counts.get(kind, -1) + 1
        info = DeviceInfo(
            name=" ".join(device.name.split()),
            kind=kind,
            runtime=runtime,
            version=device.version.strip(),
            compute_units=device.max_compute_units,
            memory=device.global_mem_size,
            index=index,
        )
        result.append((info, device))
    return result


def _kind(cl, device):
    """Return ``"gpu"``, ``"cpu"`` or ``"accelerator"``."""
    if device.type & cl.device_type.GPU:
        return "gpu"
    return "cpu" if device.type & cl.device_type.CPU else "accelerator"


def _runtime_name(platform):
    """Return the short name of a platform."""
    label = f"{platform.name} {platform.vendor}".lower()
    known = [name for part, name in RUNTIME_NAMES.items() if part in label]
    return [*known, *platform.name.lower().split(), "unknown"][0]


def _rank(runtime):
    """Return the place of a runtime in the order of preference."""
    return RUNTIME_ORDER.index(runtime) if runtime in RUNTIME_ORDER else len(RUNTIME_ORDER)
