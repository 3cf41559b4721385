"""The layout of matrices in panels, and that host and device agree on their structures."""

import re

import numpy as np
import pytest
from contracts import assert_bitwise
from hypothesis import given, settings
from hypothesis import strategies as st

from skintricate.backend import open_device
from skintricate.kernels import RUN, STAGE, Layout
from skintricate.kernels.program import read_source
from skintricate.kernels.tile import tile_of


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    width=st.sampled_from([2, 4, 8, 16]),
    vectors=st.integers(1, 3),
    rows=st.integers(1, 20),
    columns=st.integers(1, 130),
)
def test_packing_and_back(width, vectors, rows, columns):
    layout = Layout(width, width * vectors)
    matrix = np.random.default_rng(rows * columns).normal(size=(rows, columns)).astype("float32")
    padded = layout.padded(columns)
    assert padded % width == 0
    assert columns <= padded < columns + width
    flat = np.full(rows * padded, np.nan, "float32")
    layout.pack(matrix, flat)
    assert_bitwise([layout.unpack(flat, rows, columns)], [matrix])
    assert np.isfinite(flat).all()
    np.testing.assert_array_equal(np.sort(flat[flat != 0]), np.sort(matrix[matrix != 0]))


def test_a_panel_holds_all_rows_of_its_columns():
    flat = np.empty(3 * 6)
    Layout(2, 4).pack(np.arange(15.0).reshape(3, 5), flat)
    np.testing.assert_array_equal(flat[:12], [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13])
    np.testing.assert_array_equal(flat[12:], [4, 0, 9, 0, 14, 0])


@pytest.mark.parametrize(("structure", "dtype"), [("Stage", STAGE), ("Run", RUN)])
def test_structures_have_the_fields_of_the_source(structure, dtype):
    body = re.search(r"typedef struct \{([^}]*)\} " + structure + ";", read_source("common"))[1]
    fields = re.findall(r"^\s*(int|uint) (\w+);", body, re.MULTILINE)
    assert [name for _, name in fields] == list(dtype.names)
    kinds = {"int": np.dtype(np.int32), "uint": np.dtype(np.uint32)}
    assert [kinds[kind] for kind, _ in fields] == [dtype[name] for name in dtype.names]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tile_fits_the_device(dtype, float64):
    device = open_device(float64)
    tile = tile_of(device, dtype)
    assert tile.layout.panel % tile.width == 0
    assert tile.width in (2, 4, 8, 16)
    assert tile.local_size <= device.handle.max_work_group_size
