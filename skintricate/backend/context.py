"""One context a process and device; one queue a thread.

A process that forks after its first platform call leaves its child with runtimes whose threads are
gone: PoCL's child hangs at its first wait. ``guard_fork`` turns that into an error at once.
"""

import os
import threading
import time

import numpy as np

from skintricate.backend.devices import resolve, resolve_all
from skintricate.backend.memory import Budget
from skintricate.backend.programs import build_program
from skintricate.backend.ptx import knows_wgmma
from skintricate.backend.runtimes import load_pyopencl, loaded_elsewhere
from skintricate.backend.staging import Staging
from skintricate.exceptions import DeviceError

# Bytes of a host array up to which a copy is queued without waiting.
LARGEST_PENDING = 2**20
# Seconds that a read looks for its end before it waits, and from one look to the next of a thread among several.
LONGEST_SPIN, BETWEEN_LOOKS = 1e-4, 5e-5

_lock = threading.RLock()
_devices = {}


def guard_fork():
    """Raise ``DeviceError`` in a child that forked after its parent had used OpenCL."""
    if loaded_elsewhere():
        raise DeviceError(
            "OpenCL was used before this process was forked, and its runtimes do not survive a fork. "
            "Start processes with joblib's default backend (loky) or multiprocessing's 'spawn' or "
            "'forkserver' method."
        )


def open_device(wish="auto", turn=0):
    """Return the ``Device`` that a wish names, opened once in this process; see ``resolve`` for ``turn``."""
    guard_fork()
    return _opened(*resolve(wish, turn))


def open_devices(wish):
    """Return every ``Device`` that a wish names together, a list; see ``open_device``."""
    guard_fork()
    return [_opened(*entry) for entry in resolve_all(wish)]


def _opened(info, handle):
    """Return a device, opened once in this process."""
    threads = _thread_limit(info)
    key = (info, threads)
    with _lock:
        if key not in _devices:
            try:
                _devices[key] = Device(info, handle, threads)
            except load_pyopencl().Error as error:
                raise DeviceError(f"{info} could not be opened: {error}. Choose another device.") from error
        return _devices[key]


def forget_device(device):
    """Let the next ``open_device`` make a new context, after this one failed."""
    with _lock:
        for key in [key for key, known in _devices.items() if known is device]:
            del _devices[key]


class Device:
    """A device in use: its context, queues, programs and what it can do.

    Parameters
    ----------
    info : DeviceInfo
    handle : pyopencl.Device
    threads : int or None
        Compute units to use of a CPU; None for all.
    """

    def __init__(self, info, handle, threads=None):
        self.cl = load_pyopencl()
        self.info = info
        if threads is not None and threads < handle.max_compute_units:
            handle = self._divide(handle, threads)
        self.handle = handle
        self.is_cpu = info.kind == "cpu"
        self.context = self.cl.Context([handle])
        self.has_float64 = "cl_khr_fp64" in handle.extensions
        # Of an NVIDIA GPU, else (0, 0).
        self.compute_capability = (0, 0)
        if info.runtime == "nvidia":
            self.compute_capability = handle.compute_capability_major_nv, handle.compute_capability_minor_nv
        # Whether a kernel can order its memory for the whole device; see kernels/gpu/resident.cl.
        self.has_fence = self.compute_capability >= (7, 0) or self.is_cpu
        self._local = threading.local()
        self._made = {}

    @property
    def queue(self):
        """The in-order command queue that the calling thread uses now."""
        if not hasattr(self._local, "queue"):
            self._local.queue = self.cl.CommandQueue(self.context)
            self._local.pending = []
        return self._local.queue

    @property
    def of_thread(self):
        """A dict of what the calling thread keeps of this device."""
        return self._local.__dict__

    @property
    def staging(self):
        """The threads that bring rows here, or None where the device reads the host's memory itself."""
        if self.is_cpu or self.info.runtime == "oclgrind":  # a simulator, which crashes where threads share it
            return None
        return self.once(Staging, lambda: Staging(self))

    @property
    def budget(self):
        """The memory budget as it stands now."""
        return Budget.of(self.handle, self.is_cpu)

    def program(self, source, options, revise=None):
        """Return the built program of this source, built once in this process; see ``build_program``."""
        return self.once((source, tuple(options)), lambda: build_program(self, source, options, revise))

    @property
    def has_wgmma(self):
        """Whether its tensor cores are Hopper's, and the driver lets them be used; see ``backend/ptx.py``."""
        return self.once("wgmma", lambda: knows_wgmma(self))

    def once(self, key, make):
        """Return what ``make()`` made for a key, made once and kept as long as the device."""
        with _lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]

    def forget(self, keys):
        """Let ``once`` make what belongs to these keys anew."""
        with _lock:
            for key in keys:
                self._made.pop(key, None)

    def copy(self, target, source, n_bytes):
        """Queue a copy from one buffer to another."""
        self.cl.enqueue_copy(self.queue, target, source, byte_count=n_bytes)

    def buffer(self, n_bytes):
        """Return a new buffer of at least 16 bytes."""
        try:
            return self.cl.Buffer(self.context, self.cl.mem_flags.READ_WRITE, max(int(n_bytes), 16))
        except self.cl.Error as error:
            raise DeviceError(f"{self.info} could not allocate {n_bytes} bytes: {error}") from error

    def zeros(self, n_bytes):
        """Return a new buffer of at least so many zeros, which the queue fills."""
        n_bytes = max(-(-int(n_bytes) // 16) * 16, 16)
        buffer = self.buffer(n_bytes)
        self.cl.enqueue_fill_buffer(self.queue, buffer, np.zeros(1, np.int32), 0, n_bytes)
        return buffer

    def buffer_of(self, array):
        """Return a new buffer with the contents of a contiguous host array."""
        flags = self.cl.mem_flags.READ_WRITE | self.cl.mem_flags.COPY_HOST_PTR
        try:
            return self.cl.Buffer(self.context, flags, hostbuf=array)
        except self.cl.Error as error:
            raise DeviceError(f"{self.info} could not allocate {array.nbytes} bytes: {error}") from error

    def pinned(self, n_bytes):
        """Return an array of bytes in host memory from which, and to which, the device copies by itself."""
        flags, access = self.cl.mem_flags, self.cl.map_flags
        try:
            buffer = self.cl.Buffer(self.context, flags.READ_WRITE | flags.ALLOC_HOST_PTR, max(n_bytes, 16))
            return self.cl.enqueue_map_buffer(
                self.queue, buffer, access.READ | access.WRITE, 0, max(n_bytes, 16), np.uint8
            )[0]
        except self.cl.Error as error:
            raise DeviceError(f"{self.info} could not pin {n_bytes} bytes of host memory: {error}") from error

    def write(self, buffer, array, offset=0, is_pinned=False):
        """Queue a copy of a contiguous host array, which must not change before the next ``read`` or ``finish``."""
        queue = self.queue
        blocking = array.nbytes > LARGEST_PENDING and not is_pinned
        event = self.cl.enqueue_copy(queue, buffer, array, dst_offset=offset, is_blocking=blocking)
        if not blocking:
            # The event keeps the array alive, and waits if it is dropped too early.
            self._local.pending.append(event)

    def finish(self):
        """Wait for the queue."""
        self.queue.finish()
        self._local.pending.clear()

    def read(self, array, buffer, offset=0, idly=False):
        """Wait for the queue, then copy from the device into a contiguous host array, and return it.

        ``idly`` leaves the interpreter and the driver to other threads meanwhile.
        """
        self.read_all([(array, buffer, offset)], idly)
        return array

    def read_all(self, parts, idly=False):
        """Read several times, waiting once: ``(array, buffer, offset)``, at least one of them; see ``read``."""
        queue, complete = self.queue, self.cl.command_execution_status.COMPLETE
        events = [
            self.cl.enqueue_copy(queue, array, buffer, src_offset=offset, is_blocking=False)
            for array, buffer, offset in parts
        ]
        queue.flush()
        # Looking again and again is faster than being woken, PoCL's way by 40 us; an error shows as a negative status.
        give_up = time.perf_counter() + LONGEST_SPIN
        while events[-1].command_execution_status > complete and (idly or time.perf_counter() < give_up):
            if idly:
                time.sleep(BETWEEN_LOOKS)
        for event in events:
            event.wait()
        self._local.pending.clear()

    def _divide(self, handle, threads):
        """Return a sub-device of so many compute units, or the whole where it cannot be divided."""
        try:
            properties = self.cl.device_partition_property
            partition = [properties.BY_COUNTS, threads, properties.BY_COUNTS_LIST_END]
            return handle.create_sub_devices(partition)[0]
        except self.cl.Error:
            return handle


def _thread_limit(info):
    """Return how many compute units of a CPU to use, or None for all.

    joblib and dask set OMP_NUM_THREADS in their workers, so that workers share the cores.
    """
    if info.kind != "cpu":
        return None
    for variable in ("SKINTRICATE_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(variable, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return None
