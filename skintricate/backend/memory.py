"""The memory budget: what a plan may take, counted before anything is allocated.

Both CPU runtimes accept more buffers than the machine has memory and fail when pages are touched,
so the driver's word is not enough.
"""

import os
import re
from dataclasses import dataclass

from skintricate.exceptions import DeviceMemoryError

UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
SHARE_OF_MEMORY = 0.8


@dataclass(frozen=True)
class Budget:
    """How many bytes a model may take on a device.

    Attributes
    ----------
    total : int
        Bytes for all buffers of a model together: 80 % of what the device reports, no more than that
        share of the free host memory on a CPU, or ``SKINTRICATE_MEMORY_LIMIT`` (``"512MiB"``, ``"2G"``).
    largest : int
        Bytes of the largest single buffer.
    """

    total: int
    largest: int

    @classmethod
    def of(cls, device, is_cpu):
        """Count the budget of a pyopencl device."""
        total = int(device.global_mem_size * SHARE_OF_MEMORY)
        if is_cpu:
            total = min(total, int(free_host_memory() * SHARE_OF_MEMORY))
        limit = os.environ.get("SKINTRICATE_MEMORY_LIMIT")
        if limit:
            total = min(total, parse_bytes(limit))
        return cls(total, min(total, device.max_mem_alloc_size))

    def require(self, n_bytes, what, remedy):
        """Raise ``DeviceMemoryError`` with the numbers if ``n_bytes`` do not fit together."""
        self._require(n_bytes, self.total, what, remedy)

    def require_buffer(self, n_bytes, what, remedy):
        """Raise ``DeviceMemoryError`` with the numbers if ``n_bytes`` do not fit in one buffer."""
        self._require(n_bytes, self.largest, what, remedy)

    def _require(self, n_bytes, limit, what, remedy):
        if n_bytes > limit:
            raise DeviceMemoryError(
                f"{what} needs {format_bytes(n_bytes)} of device memory, but the budget is {format_bytes(self.total)} "
                f"with at most {format_bytes(self.largest)} in one buffer. {remedy}"
            )


def parse_bytes(text):
    """Return the number of bytes that ``"512MiB"``, ``"2G"`` or ``"1000000"`` mean."""
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)i?b?\s*", text.lower())
    if not match or not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", match[1]):
        raise ValueError(f"SKINTRICATE_MEMORY_LIMIT={text!r} is not a number of bytes such as '512MiB' or '2G'.")
    return int(float(match[1]) * UNITS[match[2]])


def format_bytes(n_bytes):
    """Return a number of bytes as text, such as ``"1.5 MiB"``."""
    unit = min(max(int(n_bytes).bit_length() - 1, 0) // 10, 4)
    return f"{n_bytes / 2 ** (10 * unit):.1f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def free_host_memory():
    """Return the bytes of host memory that can still be had, in this container too."""
    return min(_free_in_machine(), _free_in_container())


def _free_in_container():
    """Return the bytes that the control group leaves, without a bound where there is none."""
    try:
        with open("/sys/fs/cgroup/memory.max") as limit, open("/sys/fs/cgroup/memory.current") as used:
            return int(limit.read()) - int(used.read())
    except (OSError, ValueError):  # no control groups, or "max"
        return 2**62


def _free_in_machine():
    """Return the bytes that the kernel says are available."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 2**62
