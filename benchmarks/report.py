"""What the benchmarks share: the machine, tables, and sections of docs/benchmarks.md."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
PACKAGES = (
    "skintricate",
    "scikit-learn",
    "numpy",
    "torch",
    "skorch",
    "jax",
    "intel-opencl-rt",
    "pocl-binary-distribution",
    "pyopencl",
)


def machine():
    """Return a line with the processor, its cores and the versions of what is compared."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{processor()}, {os.cpu_count()} cores; Python {platform.python_version()}; {', '.join(versions)}."


def processor():
    """Return the name of the processor and the widest vectors it has."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    flags = flags[1].split() if flags else []
    vectors = next((label for flag, label in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    amx = ", AMX" if "amx_tile" in flags else ""
    return f"{name[1] if name else platform.machine()} ({vectors}{amx})"


def driver(device):
    """Return the name of a device, its driver and the version of its OpenCL."""
    handle = device.handle
    return f"{device.info.name}, driver {handle.driver_version}, {handle.version.strip()} of {handle.platform.name}"


def table(header, rows):
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    widths = [max(len(str(line[k])) for line in lines) for k in range(len(header))]
    return "\n".join(
        "| "
        + " | ".join(str(cell).ljust(width, "-" if cell == "---" else " ") for cell, width in zip(line, widths))
        + " |"
        for line in lines
    )


def write_section(title, command, text):
    """Replace a section of docs/benchmarks.md, or append it."""
    page = PAGE.read_text() if PAGE.exists() else "# Benchmarks\n"
    section = f"## {title}\n\n`{command}`\n\n{text.strip()}\n\n{machine()}\n"
    before, _, after = page.partition(f"## {title}\n")
    if after:
        following = after.find("\n## ")
        after = after[following:] if following >= 0 else ""
    PAGE.write_text(f"{before.rstrip()}\n\n{section}{after}")
    print(f"wrote {PAGE}")
