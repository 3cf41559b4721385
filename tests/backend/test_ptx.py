"""PTX that is translated again: what becomes of its marked lines, and who is asked whether that works."""

from types import SimpleNamespace

import pytest

from skintricate.backend import ptx
from skintricate.exceptions import KernelBuildError

TEXT = b"""
.target sm_90, texmode_independent
.entry probe(
)
.reqntid 256, 1, 1
{
\t//@wgmma.fence.sync.aligned;
// of sm_90
}\0"""


def test_marked_lines_become_instructions():
    expected = TEXT.replace(b"//@", b"").replace(b".target sm_90", b".target sm_90a").rstrip(b"\0")
    assert ptx.with_marked_lines(TEXT, [("probe", 2)]) == expected.replace(b"256, 1, 1", b"256, 1, 1\n.minnctapersm 2")


@pytest.mark.parametrize("binary", [b"\x7fELF", TEXT.replace(b"//@", b"//")])
def test_a_binary_without_marks_is_refused(binary):
    with pytest.raises(KernelBuildError, match="no PTX"):
        ptx.with_marked_lines(binary)


def test_kernels_leave_room():
    with_room = TEXT.replace(b"256, 1, 1", b"256, 1, 1\n.minnctapersm 2")
    other = TEXT.replace(b"probe", b"another_probe")
    assert ptx.with_room_for(other + TEXT, [("another", 3), ("probe", 2)]) == other + with_room
    assert ptx.with_room_for(b"\x7fELF", [("probe", 2)]) == b"\x7fELF"


class NoProgram(Exception):
    """What OpenCL raises where a program does not build."""


@pytest.mark.parametrize(
    ("capability", "raised", "expected"),
    [
        ((9, 0), None, True),
        ((9, 0), KernelBuildError("refused"), False),
        ((9, 0), NoProgram("INVALID_BINARY"), False),
        ((8, 0), None, False),
        ((10, 0), None, False),
    ],
)
def test_who_knows_wgmma(capability, raised, expected, monkeypatch):
    built = []

    def build_program(device, source, options, revise):
        built.append(revise)
        if raised is not None:
            raise raised

    monkeypatch.setattr(ptx, "build_program", build_program)
    device = SimpleNamespace(compute_capability=capability, cl=SimpleNamespace(Error=NoProgram))
    assert ptx.knows_wgmma(device) == expected
    assert built == ([ptx.with_marked_lines] if capability == (9, 0) else [])
