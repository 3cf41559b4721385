"""Instructions that NVIDIA's compiler of OpenCL C does not know, since they are those of one architecture alone.

It writes PTX for ``sm_90``, whose assembler refuses what only ``sm_90a`` has, such as ``wgmma``, the instruction of
Hopper's tensor cores. Inline PTX goes through that compiler unread. So such a line is written as a comment, one that
begins with ``//@``, and the program is translated twice: what the driver gives back as its binary is PTX, in which the
comments become instructions and the target becomes ``sm_90a``.
"""

import re

from skintricate.backend.programs import build_program
from skintricate.exceptions import KernelBuildError

MARK = b"//@"
# Of what is done here to binaries: part of what a program is known by in the cache.
REVISION = 2
PROBE = 'kernel void probe(void) { asm volatile("//@wgmma.fence.sync.aligned;" ::: "memory"); }'


def with_marked_lines(binary, groups=()):
    """Return a program's PTX with the marked lines as instructions, for the architecture that has them.

    ``groups`` are those of ``with_room_for``.

    Raises
    ------
    KernelBuildError
        If there are none: without them the program would leave out what they do.
    """
    if MARK not in binary:
        raise KernelBuildError("The driver's binary of a program is no PTX, or has lost the comments of inline PTX.")
    ptx = binary.rstrip(b"\0").replace(MARK, b"")
    return with_room_for(re.sub(rb"(?m)^(\.target\s+sm_90)\b", rb"\1a", ptx), groups)


def with_room_for(binary, groups):
    """Return a program's PTX with kernels that leave registers for several work-groups of a compute unit.

    ``groups`` are pairs of a kernel's name and its number of them. A binary that is no PTX comes back as it is.
    """
    for name, number in groups:
        begin = rb"(?m)(\.entry\s+%s\s*\([^)]*\)\s*^\.reqntid .*)$" % name.encode()
        binary = re.sub(begin, rb"\1\n.minnctapersm %d" % number, binary)
    return binary


def knows_wgmma(device):
    """Say whether a device has ``wgmma``, and its driver lets a program be translated for it."""
    if device.compute_capability != (9, 0):
        return False
    try:
        build_program(device, PROBE, [], with_marked_lines)
    except (device.cl.Error, KernelBuildError):
        return False
    return True
