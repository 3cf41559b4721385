"""Build a program, from the binary on disk where there is one."""

import threading
import warnings

from skintricate.backend import cache
from skintricate.exceptions import KernelBuildError

_lock = threading.Lock()


def build_program(device, source, options, revise=None):
    """Return a built ``pyopencl.Program``.

    Parameters
    ----------
    device : Device
    source : str
        The whole OpenCL C source.
    options : sequence of str
        Compiler options.
    revise : callable, default=None
        Takes the binary, bytes, and returns another one, which is built in its place.

    Raises
    ------
    KernelBuildError
        With the options and the compiler's log.
    """
    cl, handle = device.cl, device.handle
    key = _key_of(device, source, options)
    binary = cache.read_binary(key)
    with _lock, warnings.catch_warnings():  # which is for all threads
        # Intel and NVIDIA write to the log on every build.
        warnings.simplefilter("ignore", cl.CompilerWarning)
        if binary is not None:
            try:
                return cl.Program(device.context, [handle], [binary]).build()
            except (cl.Error, RuntimeError):
                cache.remove_binary(key)
        try:
            program = cl.Program(device.context, source).build(list(options), cache_dir=False)
            if revise is not None:
                program = cl.Program(device.context, [handle], [revise(_binary_of(program, cl))]).build()
        except cl.RuntimeError as error:
            raise KernelBuildError(
                f"A program did not build on {device.info} with options {' '.join(options)}:\n{error}"
            ) from error
    cache.write_binary(key, _binary_of(program, cl))
    return program


def has_binary(device, source, options):
    """Say whether a program's binary is on disk."""
    return cache.read_binary(_key_of(device, source, options)) is not None


def _key_of(device, source, options):
    """Return the name of a program's binary."""
    handle = device.handle
    units = str(handle.max_compute_units)
    return cache.program_key(
        source, " ".join(options), handle.name, handle.driver_version, handle.platform.version, units
    )


def _binary_of(program, cl):
    """Return the binary of a program of one device."""
    return program.get_info(cl.program_info.BINARIES)[0]
