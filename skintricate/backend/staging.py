"""Bring rows to a device through memory that the driver has pinned.

What a device copies from pageable memory, one thread of its driver copies to pinned memory first. Here several threads
do that, each with a pinned array and a queue of its own, so that one slice of rows is copied on the host while another
is on its way and a third is worked on. A CPU reads the host's memory as it is.
"""

import os
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np

# More threads bring rows faster, but each has pinned memory, and in a prediction a workspace on the device.
MOST_THREADS = 8


class Staging:
    """Threads of a device with pinned memory.

    Pinning takes longer than copying, so a thread keeps its memory: as much as it has ever needed at once.

    Parameters
    ----------
    device : Device
    n_threads : int, default=None
        None takes half of the host's cores, no more than ``MOST_THREADS``.
    """

    def __init__(self, device, n_threads=None):
        self._device = device
        self.n_threads = n_threads or min(MOST_THREADS, max(2, (os.cpu_count() or 1) // 2))
        self._threads = ThreadPoolExecutor(self.n_threads, thread_name_prefix="skintricate")

    def begin(self, work, items):
        """Let the threads call ``work(item)`` for each item, in order; return what ``finish`` takes."""
        begun = []
        for item in items:
            try:
                begun.append(self._threads.submit(work, item))
            except RuntimeError:  # the interpreter is ending: its threads take no work any more
                work(item)
        return begun

    def array(self, shape, dtype, use="rows"):
        """Return a pinned array, which the calling thread may use until it asks for another one of this use."""
        n_bytes, local = int(np.prod(shape)) * np.dtype(dtype).itemsize, self._device.of_thread
        pinned = local.setdefault("pinned", {})
        if use not in pinned or pinned[use].nbytes < n_bytes:
            pinned.pop(use, None)
            pinned[use] = self._device.pinned(n_bytes)
        return pinned[use][:n_bytes].view(dtype).reshape(shape)

    def write(self, buffer, array, offset):
        """Copy an array of the calling thread to a place in a buffer, and wait until it is there."""
        self._device.write(buffer, array, offset, is_pinned=True)
        self._device.finish()


def finish(begun):
    """Wait for what ``Staging.begin`` has begun; on an error, or Ctrl-C, for what cannot be called off any more."""
    try:
        for future in begun:
            future.result()
    except BaseException:
        for future in begun:
            future.cancel()
        wait(begun)
        raise
