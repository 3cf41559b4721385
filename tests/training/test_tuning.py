"""Sizes of tiles that were found by trying: what is tried, what is kept, and who finds it."""

from dataclasses import replace

import numpy as np
import pytest

from skintricate import Model
from skintricate.__main__ import main
from skintricate.backend import cache, open_device
from skintricate.kernels import tile as tiles
from skintricate.kernels.tile import PASSES, TUNABLE, default_tile, tile_of
from skintricate.layers import Dense, SoftMax
from skintricate.training import tuning
from skintricate.training.tuning import Trial, tune

SMALL = (Trial((5, 7, 3), 20), Trial((3, 2), 4))
X = np.random.default_rng(0).normal(size=(50, 5))


@pytest.fixture
def opened(device, tmp_path, monkeypatch):
    """The device, with a cache folder of its own; what was kept there is forgotten afterwards."""
    monkeypatch.setenv("SKINTRICATE_CACHE_DIR", str(tmp_path / "cache"))
    cache.cache_folder.cache_clear()
    opened = open_device(device)
    opened.forget(("float32", precision) for precision in PASSES)
    yield opened
    cache.cache_folder.cache_clear()
    opened.forget(("float32", precision) for precision in PASSES)


@pytest.fixture
def other(opened):
    """A size that is not the package's own: its name and value."""
    tile = default_tile(opened, "float32")
    name, values = next(iter(TUNABLE[tile.family].items()))
    return name, next(value for value in values if value != getattr(tile, name))


def pretend(monkeypatch, seconds):
    """Let every trial take as long as a function of the tile says."""
    monkeypatch.setattr(tuning, "_seconds_of_step", lambda trainer: seconds(trainer._program.tile))


def test_the_fastest_size_is_kept_for_later_processes(opened, other, monkeypatch):
    name, value = other
    pretend(monkeypatch, lambda tile: 0.5 if getattr(tile, name) == value else 1.0)
    lines = []
    assert tune(opened, trials=SMALL, rounds=1, report=lines.append) == {name: value}
    assert f"{name}={value}: 0.500 of the time (5-7-3 @20 500000.0, 3-2 @4 500000.0 us a step)" in lines
    assert tile_of(opened, "float32") == replace(default_tile(opened, "float32"), **{name: value})


def test_what_gains_little_is_not_kept(opened, other, monkeypatch):
    name, value = other
    tiles.keep_sizes(opened, "float32", {name: value})
    pretend(monkeypatch, lambda tile: 0.99 if getattr(tile, name) == value else 1.0)
    assert tune(opened, trials=SMALL, rounds=1, report=lambda _: None) == {}
    assert tile_of(opened, "float32") == default_tile(opened, "float32")


def test_models_use_the_sizes_at_once_with_the_same_numbers(opened, other, device):
    fits = []
    for sizes in ({}, dict([other])):
        tiles.keep_sizes(opened, "float32", sizes)
        model = Model([Dense(60), SoftMax(), Dense(3), SoftMax()], device=device, random_state=0)
        model.fit(X, np.arange(50) % 3, loss="categorical_cross_entropy", max_iter=3, batch_size=20)
        fits.append(model)
    for pair in zip(*(model.state.weights for model in fits)):
        np.testing.assert_allclose(*pair, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kept", [{"rows": 7}, {"rows": "8"}, {"sizes": 3}, {"narrow_weights": None}, {"unknown": 1}])
def test_sizes_that_cannot_be_are_left_out(kept, opened):
    tiles.keep_sizes(opened, "float32", kept)
    assert tile_of(opened, "float32") == default_tile(opened, "float32")


def test_trials_are_timed(opened):
    sizes = tune(opened, trials=SMALL, rounds=1, report=lambda _: None)
    assert set(sizes) <= set(TUNABLE[default_tile(opened, "float32").family])


def test_the_command(opened, device, monkeypatch, capsys):
    monkeypatch.setattr(tuning, "TRIALS", SMALL)
    pretend(monkeypatch, lambda tile: 1.0)
    main(["tune", "--device", device, "--rounds", "1"])
    assert "kept: the sizes that the package has for this device" in capsys.readouterr().out
