"""Bring parts of buffers from each of several devices to all others.

A context of several GPUs would do it by itself, but NVIDIA's moves a buffer at 1 GB/s from one to the other. So every
device has its context, and what it sends goes through pinned memory of the host, in chunks: one is read from its device
while the one before is written to the others. Reads and writes have queues of their own, beside which kernels run.
"""

from dataclasses import dataclass

CHUNK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Piece:
    """Bytes that every device has for itself and needs of all others.

    Attributes
    ----------
    begin, size : int
        Where device 0's bytes lie in each device's buffer, and how many.
    stride : int
        From one device's bytes to those of the next.
    place : int
        Where they lie in pinned memory.
    """

    begin: int
    size: int
    stride: int
    place: int


class Exchange:
    """Queues and pinned memory of devices that exchange pieces of their buffers.

    Parameters
    ----------
    devices : list of Device
    buffers : list of pyopencl.Buffer
        One of each.
    n_bytes : int
        Bytes that a device sends in one turn.
    """

    def __init__(self, devices, buffers, n_bytes):
        self._devices, self._buffers = devices, buffers
        self._down, self._up = ([d.cl.CommandQueue(d.context) for d in devices] for _ in range(2))
        # Two of each, for turns that follow each other: the other devices may still take what was sent before.
        self._pinned = [[device.pinned(n_bytes) for device in devices] for _ in range(2)]

    def begin(self, turn, piece, made):
        """Queue the way of a piece to the host, once the event of each device in ``made`` is over.

        Returns
        -------
        begun : tuple
            For ``finish``, which must be called before ``begin`` for the same piece two turns later.
        """
        pinned, sent = self._pinned[turn % 2], []
        for begin in range(0, piece.size, CHUNK_BYTES):
            end, events = min(begin + CHUNK_BYTES, piece.size), []
            for number, device in enumerate(self._devices):
                events.append(
                    device.cl.enqueue_copy(
                        self._down[number],
                        pinned[number][piece.place + begin : piece.place + end],
                        self._buffers[number],
                        src_offset=piece.begin + number * piece.stride + begin,
                        is_blocking=False,
                        wait_for=[made[number]],
                    )
                )
            sent.append((begin, end, events))
        for queue in self._down:
            queue.flush()
        return turn, piece, made, sent

    def finish(self, begun):
        """Queue the way of a piece to the devices; return for each the events after which it has all others' bytes."""
        turn, piece, made, sent = begun
        arrived = [[] for _ in self._devices]
        for begin, end, events in sent:
            for sender, event in enumerate(events):
                event.wait()
                source = self._pinned[turn % 2][sender][piece.place + begin : piece.place + end]
                for number, device in enumerate(self._devices):
                    if number == sender:
                        continue
                    # Once a device has made its own piece, the one before has been used.
                    arrived[number].append(
                        device.cl.enqueue_copy(
                            self._up[number],
                            self._buffers[number],
                            source,
                            dst_offset=piece.begin + sender * piece.stride + begin,
                            is_blocking=False,
                            wait_for=[made[number]],
                        )
                    )
                    self._up[number].flush()
        return arrived

    def wait(self):
        """Wait for whatever is under way."""
        for queue in (*self._down, *self._up):
            queue.finish()
