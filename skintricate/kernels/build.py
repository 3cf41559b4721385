"""How a family's kernels are compiled: in which programs, and with which options."""

from collections.abc import Callable
from typing import NamedTuple


class Build(NamedTuple):
    """One of the programs that a family's kernels are in.

    Attributes
    ----------
    options : tuple of str
        Compiler options beside those of all.
    revise : callable or None
        What is done to its binary; see ``backend/programs.py``.
    """

    options: tuple = ()
    revise: Callable | None = None


def type_options(dtype):
    """Return the options of a float type."""
    if dtype == "float32":
        return ["-DSCALAR=float", "-DMASK=int", "-cl-single-precision-constant", "-cl-denorms-are-zero"]
    return ["-DSCALAR=double", "-DMASK=long"]
