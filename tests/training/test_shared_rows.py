"""Rows that networks share."""

import numpy as np
import pytest

from skintricate.backend import open_device
from skintricate.training import data
from skintricate.training.shared_rows import SharedRows

rng = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("collisions", [False, True])
def test_rows_are_found_again(dtype, collisions, device, monkeypatch):
    if collisions:
        monkeypatch.setattr(SharedRows, "_hash", lambda self, X: (X[:, 0] > 0).astype(np.uint64))
    X = rng.normal(size=(40, 3)).astype(dtype)
    X[7], X[8], X[9, 1], X[10, 1] = X[3], -X[3], 0.0, -0.0
    rows = SharedRows(open_device(device), dtype, 3, 4)
    for index in (np.arange(20), np.arange(10, 40), rng.integers(40, size=50), np.arange(0), np.arange(40)):
        wanted = X[index]
        places = rows.places(wanted)
        assert places.dtype == np.int32
        assert rows._rows[places].tobytes() == wanted.tobytes()
        assert rows.places(wanted) is places
    assert collisions or len(rows._rows) == 39


def test_rows_on_the_device(device, monkeypatch):
    monkeypatch.setattr(data, "UPLOAD_BYTES", 100)
    opened = open_device(device)
    rows = SharedRows(opened, np.float32, 3, 4)
    X = rng.normal(size=(30, 3)).astype(np.float32)
    for end in (5, 6, 30):
        places = rows.places(X[:end])
        on_device = opened.read(np.empty((end, 4), np.float32), rows.buffer)
        np.testing.assert_array_equal(on_device[places, :3], X[:end])
        np.testing.assert_array_equal(on_device[places, 3], 0)


def test_a_matrix_that_changes_is_looked_at_again(device):
    X = rng.normal(size=(30, 3)).astype(np.float32)
    rows = SharedRows(open_device(device), np.float32, 3, 4)
    rows.places(X)
    X *= 2
    rows.forget_matrices()
    places = rows.places(X)
    np.testing.assert_array_equal(rows._rows[places], X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_small_integers_do_not_collide(dtype, device):
    X = np.unique(rng.integers(2, size=(3000, 40)), axis=0).astype(dtype)
    rows = SharedRows(open_device(device), dtype, 40, 40)
    for _ in range(2):
        rows.places(X.copy())
    assert len(rows._rows) == len(X)
