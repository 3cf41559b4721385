"""Queue kernels: the one place that knows global sizes, offsets and what errors mean."""

import contextlib

from skintricate.backend.context import forget_device
from skintricate.exceptions import DeviceError


class Launcher:
    """A kernel with its arguments, ready to be queued any number of times.

    Parameters
    ----------
    device : Device
    kernel : pyopencl.Kernel
        With all its arguments set; it belongs to this launcher alone.
    groups : int
        Work-groups, of as many work-items as the kernel says.
    first_group : int, default=0
        Number of the first one, for kernels that look at the offset of their first dimension.
    """

    def __init__(self, device, kernel, groups, first_group=0):
        self._enqueue = device.cl.enqueue_nd_range_kernel
        self._kernel = kernel
        size = device.cl.kernel_work_group_info.COMPILE_WORK_GROUP_SIZE
        self._local = (kernel.get_work_group_info(size, device.handle)[0], 1)
        self._global = (groups * self._local[0], 1)
        self._first = first_group * self._local[0]

    def __call__(self, queue, number, wait_for=None):
        """Queue the kernel and return its event; ``number`` reaches it as the offset of its second dimension."""
        return self._enqueue(queue, self._kernel, self._global, self._local, (self._first, number), wait_for)


@contextlib.contextmanager
def device_errors(device):
    """Turn what OpenCL raises inside the block into ``DeviceError`` with the device's name.

    The device is opened anew next time, since a context does not survive most errors.
    """
    try:
        yield
    except device.cl.Error as error:
        forget_device(device)
        raise DeviceError(
            f"{device.info} failed: {error}. If it is out of memory, lower batch_size or set SKINTRICATE_MEMORY_LIMIT; "
            "if it is gone, choose another device."
        ) from error
