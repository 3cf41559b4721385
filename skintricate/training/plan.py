"""What a network is lowered to: stages and launches as data, and where everything lies."""

import functools
import hashlib
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

# The offset of a tensor that is X itself.
SOURCE_IS_X = -1


@dataclass(frozen=True)
class Tensor:
    """Values of a layer for every row of a batch, in panels of the workspace.

    Attributes
    ----------
    shape : tuple of int
        Of one sample. An image of C channels is a matrix of C columns with a row for each pixel of every sample.
    offset : int
        In scalars, or ``SOURCE_IS_X``.
    saved : int
        Where the values before the fused activation are kept, or -1.
    code, constants : int
        The fused activation and its hyper-parameters.
    trainable : bool
        Whether a parameter lies below, so that a gradient is needed.
    inner : tuple
        What the layer that made it needs on the way back, besides its input and output.
    """

    shape: tuple
    offset: int
    saved: int
    code: int
    constants: int
    trainable: bool
    inner: tuple = ()

    @property
    def columns(self):
        """The columns of its matrix."""
        return self.shape[-1]

    @property
    def pixels(self):
        """The rows of its matrix that a sample has."""
        return math.prod(self.shape[:-1])

    def unpacked(self, flat, layout, n_rows, batch_size):
        """Return the values of the first samples, an array of shape ``(n_rows, *shape)``, from a batch as it lies."""
        matrix = layout.unpack(flat, batch_size * self.pixels, self.columns)
        return matrix[: n_rows * self.pixels].reshape(n_rows, *self.shape)

    def size(self, layout, batch_size):
        """Return the scalars that a batch takes."""
        return batch_size * self.pixels * layout.padded(self.columns)


class Share(NamedTuple):
    """What a device does of a training that several share: which part of every batch, of how many.

    It sums the gradients of its rows alone; the update, which all make alike, needs the sums of the others.
    """

    number: int = 0
    count: int = 1

    def size(self, batch_size):
        """Return the rows of a part of a batch."""
        return -(-batch_size // self.count)


WHOLE = Share()


@dataclass(frozen=True)
class Launch:
    """Stages ``first`` to ``end`` of one kernel, independent of each other, with all their tiles.

    ``takes_blocks`` tells those whose tiles need nothing but earlier tiles of the same rows.
    """

    kernel: str
    first: int
    end: int
    tiles: int
    takes_blocks: bool


@dataclass
class Weights:
    """Where parameters of a layer lie: ``rows`` inputs, the bias last, by ``columns`` outputs.

    ``channels`` are the inputs of one tap of a window; all of them where there is no window.
    """

    rows: int
    columns: int
    has_bias: bool
    offset: int
    channels: int
    transposed: int = -1

    @property
    def inputs(self):
        """Rows without the bias."""
        return self.rows - self.has_bias

    @property
    def transposed_rows(self):
        """Rows of the transpose: one for each tap and output."""
        return self.inputs // self.channels * self.columns


@dataclass
class Plan:
    """A lowered network.

    Attributes
    ----------
    batch_size : int
        Rows of every tensor.
    block_rows : int
        Rows that a work-group takes through several stages.
    stages : ndarray of dtype STAGE
    launches : list of Launch
        The order of a step; each needs those before it to be done.
    constants : list of float
    weights : list of Weights
    parameter_count : int
        Scalars of all parameters; optimizer states follow at this stride, then the transposes.
    parameter_size, workspace_size : int
        Scalars of the two parts of the arena.
    operations : int
        Of the products of a step, padding included.
    is_large : bool
        Whether a step has enough arithmetic to be worth launches of its own.
    output : Tensor
    tensors : list of Tensor
        The output of every layer, in order.
    partials : int
        Partial losses of a step.
    validation_launches : list of Launch
        The score of a batch of validation rows.
    validation_steps : int
        Batches of validation rows.
    best : int
        Where the parameters of the best score are kept among the parameters.
    """

    batch_size: int
    block_rows: int = 0
    stages: np.ndarray = None
    launches: list = field(default_factory=list)
    constants: list = field(default_factory=list)
    weights: list = field(default_factory=list)
    parameter_count: int = 0
    parameter_size: int = 0
    operations: int = 0
    is_large: bool = False
    workspace_size: int = 0
    output: Tensor = None
    tensors: list = field(default_factory=list)
    partials: int = 0
    validation_launches: list = field(default_factory=list)
    validation_steps: int = 0
    best: int = 0

    @functools.cached_property
    def key(self):
        """What tells the stages, and the launches, of finished plans apart, as a few bytes."""
        known = self.batch_size, self.block_rows, self.parameter_count, self.launches, self.validation_launches
        return hashlib.sha256(self.stages.tobytes() + repr(known).encode()).digest()

    def constants_with(self, more, dtype):
        """Return the constants, and more behind them, as an array that is not empty."""
        return np.array([*self.constants, *more] or [0.0], dtype)

    @property
    def blocks(self):
        """Blocks of rows of a batch."""
        return -(-self.batch_size // self.block_rows)
