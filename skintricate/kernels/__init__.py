"""OpenCL C sources, the structures they read, and how a program is put together."""

from skintricate.kernels.program import Program, Vocabulary
from skintricate.kernels.shuffle import shuffle_side, shuffled_order
from skintricate.kernels.stage import (
    COPIED,
    HEAD_FIELDS,
    HISTORY_HEAD,
    LINE,
    PHASE,
    PHASE_KINDS,
    RUN,
    STAGE,
    TURN,
    Layout,
)
from skintricate.kernels.tile import GroupTile, Tile

__all__ = [
    "COPIED",
    "HEAD_FIELDS",
    "HISTORY_HEAD",
    "LINE",
    "PHASE",
    "PHASE_KINDS",
    "RUN",
    "STAGE",
    "TURN",
    "GroupTile",
    "Layout",
    "Program",
    "Tile",
    "Vocabulary",
    "shuffle_side",
    "shuffled_order",
]
