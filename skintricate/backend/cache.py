"""Compiled programs, and measured settings, on disk: one file each, written atomically, never a lock.

pyopencl's own cache is left out (``cache_dir=False``): it takes one lock for the whole folder,
waits a minute for a lock that a killed process left, and turns an unwritable folder into KeyError.
"""

import atexit
import functools
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import platformdirs


@functools.cache
def cache_folder():
    """Return a writable folder for what is kept: the user's cache folder or a temporary one."""
    wanted = os.environ.get("SKINTRICATE_CACHE_DIR") or platformdirs.user_cache_dir("skintricate", False)
    try:
        folder = Path(wanted)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        folder = tempfile.mkdtemp(prefix="skintricate-cache-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)


def prepare_caches():
    """Keep the caches of pyopencl and PoCL from failing where the home folder is not writable."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    existing = next(p for p in (Path(home), *Path(home).parents) if p.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        os.environ.setdefault("POCL_CACHE_DIR", str(cache_folder() / "pocl"))
        os.environ.setdefault("PYOPENCL_NO_CACHE", "1")


def program_key(*parts):
    """Return the file name of what follows from these strings."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest() + ".bin"


def read_binary(key):
    """Return the stored binary, or None."""
    try:
        stored = (cache_folder() / key).read_bytes()
    except OSError:
        return None
    digest, binary = stored[:32], stored[32:]
    # A driver that is given a damaged binary may take the process down.
    return binary if binary and hashlib.sha256(binary).digest() == digest else None


def write_binary(key, binary):
    """Store a binary; a folder that cannot be written costs a later build, nothing else."""
    file = None
    try:
        with tempfile.NamedTemporaryFile(dir=cache_folder(), delete=False) as file:
            file.write(hashlib.sha256(binary).digest() + binary)
        os.replace(file.name, cache_folder() / key)
    except OSError:
        if file is not None:
            Path(file.name).unlink(missing_ok=True)


def remove_binary(key):
    """Forget a binary that the driver refused."""
    (cache_folder() / key).unlink(missing_ok=True)


def read_settings(key):
    """Return the settings stored under a key, a dict; empty where there are none."""
    stored = read_binary(key)
    return {} if stored is None else json.loads(stored)


def write_settings(key, settings):
    """Store settings, a dict of what JSON knows; an empty one removes them."""
    if settings:
        write_binary(key, json.dumps(settings).encode())
    else:
        remove_binary(key)
