"""Instructions that NVIDIA's compiler of OpenCL C does not know, since they are those of one architecture alone.

It writes PTX for ``sm_90``, whose assembler refuses what only ``sm_90a`` has, such as ``wgmma``, the instruction of
Hopper's tensor cores. Inline PTX goes through that compiler unread. So such a line is written as a comment, one that
begins with ``//@``, and the program is translated twice: what the driver gives back as its binary is PTX, in which the
comments become instructions and the target becomes ``sm_90a``.
"""

import re

MARK = b"//@"
# Refused where the driver cannot translate for sm_90a.
PROBE = b".version 8.0\n.target sm_90a\n.address_size 64\n.entry probe() { wgmma.fence.sync.aligned; ret; }\n"


def with_marked_lines(binary, groups=1):
    """Return a program's PTX with the marked lines as instructions, for the architecture that has them.

    Kernels get as many registers as let so many of their work-groups share a compute unit.
    """
    ptx = binary.rstrip(b"\0").replace(MARK, b"")
    ptx = re.sub(rb"(?m)^(\.target\s+sm_90)\b", rb"\1a", ptx)
    return re.sub(rb"(?m)^(\.reqntid .*)$", rb"\1\n.minnctapersm %d" % groups, ptx)


def knows_wgmma(device):
    """Say whether a device has ``wgmma``, and its driver translates PTX for it."""
    if device.compute_capability != (9, 0):
        return False
    try:
        device.cl.Program(device.context, [device.handle], [PROBE]).build()
    except (device.cl.Error, RuntimeError):
        return False
    return True
