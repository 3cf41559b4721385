"""Find every OpenCL runtime of this machine before the first platform call.

The loader inside pyopencl's wheels looks in ``/etc/OpenCL/vendors`` and beside itself. It misses
Intel's pip-installed runtime, whose ``.icd`` file holds an unrewritten build path, and NVIDIA's
driver in containers, which mount the library without its ``.icd`` file. ``load_pyopencl`` makes
both visible: a private folder gets a copy of the system's ``.icd`` files and one more for each
runtime they miss, and ``OCL_ICD_VENDORS`` names that folder while platforms are listed.
"""

import ctypes
import glob
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

SYSTEM_VENDORS = "/etc/OpenCL/vendors"
NVIDIA_LIBRARY = "libnvidia-opencl.so.1"
# In the order in which they need each other; libintelocl.so finds none of them by itself.
INTEL_DEPENDENCIES = ("libintlc.so.5", "libsvml.so", "libirng.so", "libimf.so", "libtbb.so.12")

_lock = threading.Lock()
_loaded = None
_owner = None
_searched = []


def load_pyopencl():
    """Return the ``pyopencl`` module, imported once with every runtime visible to it."""
    global _loaded, _owner
    with _lock:
        if _loaded is None:
            from skintricate.backend.cache import prepare_caches

            prepare_caches()
            import pyopencl

            folder = _vendor_folder()
            try:
                pyopencl.get_platforms()
            except pyopencl.Error:
                pass  # no platform at all: list_devices() explains what was searched
            finally:
                if folder is not None:
                    # The loader has read it; child processes make their own.
                    shutil.rmtree(folder, ignore_errors=True)
                    del os.environ["OCL_ICD_VENDORS"]
            _loaded, _owner = pyopencl, os.getpid()
        return _loaded


def loaded_elsewhere():
    """Say whether the platforms were loaded by the process that this one was forked from."""
    return _owner not in (None, os.getpid())


def searched_places():
    """Return the lines that say where runtimes were looked for and what was found."""
    load_pyopencl()
    return list(_searched)


def _vendor_folder():
    """Write the folder of ``.icd`` files, set OCL_ICD_VENDORS to it and return it, or None."""
    if "OCL_ICD_VENDORS" in os.environ:
        _searched.append(f"OCL_ICD_VENDORS={os.environ['OCL_ICD_VENDORS']} (set by you; nothing added)")
        return None
    if not sys.platform.startswith("linux"):
        _searched.append("the system's OpenCL loader")
        return None
    system = [icd for icd in sorted(glob.glob(f"{SYSTEM_VENDORS}/*.icd")) if os.access(icd, os.R_OK)]
    known = [Path(icd).read_text(errors="replace") for icd in system]
    _searched.append(f"{SYSTEM_VENDORS}: {len(system)} runtime(s)")
    extra = {}
    for name, library in (("intel", _find_intel()), ("nvidia", _find_nvidia())):
        if library is None:
            _searched.append(f"{name}: not found")
        elif any(os.path.basename(library) in text for text in known):
            _searched.append(f"{name}: registered in {SYSTEM_VENDORS}")
        else:
            _searched.append(f"{name}: {library}")
            extra[name] = library
    if not extra:
        return None
    folder = tempfile.mkdtemp(prefix="skintricate-icd-")
    for icd in system:
        shutil.copy(icd, folder)
    for name, library in extra.items():
        Path(folder, f"skintricate-{name}.icd").write_text(library + "\n")
    os.environ["OCL_ICD_VENDORS"] = folder
    return folder


def _find_intel():
    """Return the path of Intel's pip-installed CPU runtime with its dependencies loaded, or None."""
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)):
        library = Path(prefix, "lib", "libintelocl.so")
        if library.exists():
            for name in INTEL_DEPENDENCIES:
                try:
                    ctypes.CDLL(str(library.with_name(name)), mode=ctypes.RTLD_GLOBAL)
                except OSError as error:
                    _searched.append(f"intel: {library} needs {name}: {error}")
                    return None
            return str(library)
    return None


def _find_nvidia():
    """Return the name of NVIDIA's OpenCL library where the dynamic loader finds it, or None."""
    try:
        ctypes.CDLL(NVIDIA_LIBRARY)
    except OSError:
        return None
    return NVIDIA_LIBRARY
