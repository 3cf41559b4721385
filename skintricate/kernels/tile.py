"""The tile of a device: how many lanes, rows and vectors, chosen by measurement."""

from dataclasses import dataclass

from skintricate.kernels.stage import Layout

MOST_PARTS = 8
LLVM_AVX512_TARGETS = ("avx512", "cascadelake", "cooperlake", "icelake", "tigerlake", "rocketlake", "sapphirerapids")


@dataclass(frozen=True)
class Tile:
    """Sizes of a register tile and how a device multiplies and adds.

    Parameters
    ----------
    width : int
        Lanes of a vector.
    rows, columns : int
        The tile is ``rows`` rows by ``columns`` vectors.
    local_size : int
        Work-items of a work-group, a tile each.
    multiply_add : {"fma", "mad", "contracted"}
    parts : int, default=1
        Parts of a batch whose weight gradients are summed apart, where that pays: as many as the whole device has
        cores. It does not follow the cores that a process may use, since the sums' rounding depends on it.
    """

    width: int
    rows: int
    columns: int
    local_size: int
    multiply_add: str
    parts: int = 1

    @classmethod
    def of(cls, device, dtype):
        """Choose the tile of a device for a float type."""
        share = 1 if dtype == "float32" else 2
        if not device.is_cpu:
            return cls(4 // share, 4, share, 64, "fma")
        native = device.handle.native_vector_width_float or 8
        has_avx512 = native >= 16
        if device.info.runtime == "pocl":
            # LLVM 14, in PoCL 3.0, aborts on 16 lanes and scalarises fma(); a * b + c is contracted everywhere.
            native = min(native, 8)
            # It compiles for the newest processor it knows, which its version names; AMD's have no AVX-512 there.
            has_avx512 = any(name in device.handle.version for name in LLVM_AVX512_TARGETS)
        width = max(4, min(16, native)) // share
        # AVX-512 has 32 vector registers, others 16: accumulators, one row of b and a scalar.
        rows = 8 if has_avx512 else 4
        columns = 3 if 3 * width % rows == 0 else 2
        parts = min(MOST_PARTS, 2 ** (device.info.compute_units.bit_length() - 1))
        return cls(width, rows, columns, 1, "contracted", parts)

    def __post_init__(self):
        if self.layout.panel % self.rows:
            raise ValueError(f"{self} walks panels of {self.layout.panel} columns, which its rows must divide.")

    @property
    def layout(self):
        """The layout of matrices that this tile walks."""
        return Layout(self.width, self.width * self.columns)

    def options(self, dtype):
        """Return the compiler options that set the kernels' tunables."""
        single = dtype == "float32"
        options = [
            f"-DSCALAR={'float' if single else 'double'}",
            f"-DMASK={'int' if single else 'long'}",
            f"-DWIDTH={self.width}",
            f"-DROWS={self.rows}",
            f"-DCOLUMNS={self.columns}",
            f"-DLOCAL_SIZE={self.local_size}",
        ]
        if self.multiply_add != "contracted":
            options.append(f"-DMULTIPLY_ADD={self.multiply_add}")
        if single:
            options += ["-cl-single-precision-constant", "-cl-denorms-are-zero"]
        return options
