"""Models in files: round trips, and files that are not what they should be."""

import json
import os
import stat

import numpy as np
import pytest
import safetensors.numpy
from contracts import ACTIVATIONS, IMAGE_LAYERS, INITIALIZERS, LAYERS, OPTIMIZERS, assert_bitwise, problem

from skintricate import Model
from skintricate.exceptions import ModelFileError
from skintricate.initializers import Constant, HeNormal
from skintricate.layers import Dense, Dropout, SoftMax, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Adam, CosineRate, ExponentialRate, StepRate
from skintricate.serialization import decode, encode, known_classes

X, Y = problem(MeanSquared(), 12, 4, 2)
ALL_LAYERS = [*LAYERS, *(Dense(3, initializer, initializer) for initializer in INITIALIZERS)]


def trained(device, network=None, optimizer=None, **options):
    """Return a trained model."""
    network = network or [Dense(5, HeNormal()), TanH(), Dropout(0.1), Dense(2)]
    model = Model(network, device=device, random_state=3, **options)
    model.fit(X, Y, optimizer=optimizer or Adam(StepRate(0.01)), max_iter=2)
    return model


@pytest.fixture
def path(device, tmp_path):
    """Return the path of a saved model."""
    trained(device).save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewrite(path, change):
    """Change the header of a saved model by a function."""
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["skintricate"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header = change(header, tensors) or header
    safetensors.numpy.save_file(tensors, path, metadata={"skintricate": json.dumps(header)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("as_text", [True, False])
def test_round_trip(dtype, as_text, float64, tmp_path):
    model, file = trained(float64, dtype=dtype), tmp_path / "model"
    model.save(str(file) if as_text else file)
    loaded = Model.load(str(file) if as_text else file)
    assert loaded.layers == model.layers
    assert loaded.optimizer == model.optimizer
    assert (loaded.dtype, loaded.device, loaded.random_state) == (dtype, model.device, 3)
    assert loaded.n_features_in_ == 4
    assert_bitwise(loaded.state.weights, model.state.weights)
    for mine, theirs in zip(loaded.state.optimizer_states, model.state.optimizer_states):
        assert_bitwise(mine, theirs)
    counts = [(m.state.step, m.state.epoch, m.state.seed) for m in (loaded, model)]
    assert counts[0] == counts[1]
    assert_bitwise([loaded.predict(X)], [model.predict(X)])


@pytest.mark.parametrize("layer", ALL_LAYERS, ids=repr)
def test_every_layer(layer, device, tmp_path):
    model = trained(device, [layer, Dense(3), TanH(), layer, Dense(2)])
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.layers == model.layers
    assert_bitwise([loaded.predict(X)], [model.predict(X)])


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, Adam(CosineRate(0.1, 9)), Adam(ExponentialRate())], ids=repr)
def test_every_optimizer(optimizer, device, tmp_path):
    model = trained(device, optimizer=optimizer)
    model.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").optimizer == optimizer


@pytest.mark.parametrize(
    "value",
    [
        *[None, True, 3, 0.1, 1e-300, float("inf"), "text", [1, [2.5, None]], Dense(3, Constant(0.5))],
        *[*ACTIVATIONS, *IMAGE_LAYERS],
    ],
    ids=repr,
)
def test_values_through_json(value):
    assert decode(json.loads(json.dumps(encode(value))), known_classes()) == value


def test_numpy_numbers_become_numbers(device, tmp_path):
    model = trained(device, [Dense(np.int64(5), Constant(np.float32(0.5))), Dropout(np.float64(0.25)), Dense(2)])
    model.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").layers == [Dense(5, Constant(0.5)), Dropout(0.25), Dense(2)]


def test_a_numpy_seed(device, tmp_path):
    model = Model([Dense(2)], device=device, random_state=np.int64(5))
    model.fit(X, Y, max_iter=1)
    model.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").random_state == 5


def test_a_numpy_dtype(device, tmp_path):
    model = Model([Dense(2)], device=device, dtype=np.dtype("float32"), random_state=0)
    model.fit(X, Y, max_iter=1)
    model.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").dtype == "float32"


def test_device_can_be_replaced(path):
    assert Model.load(path, device="cpu").device == "cpu"
    assert Model.load(path).device == "auto"


def test_the_file_holds_arrays_and_json(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["skintricate"])
        names = set(file.keys())
    assert header["format_version"] == 1
    assert header["layers"][0]["class"] == "Dense"
    assert names == {f"{kind}.{k}" for k in (0, 1) for kind in ("weights", "optimizer")} - {
        "optimizer.0",
        "optimizer.1",
    } | {f"optimizer.{k}.{place}" for k in (0, 1) for place in (0, 1)}


def test_objects_that_cannot_be_saved(device, tmp_path):
    model = trained(device)
    model.layers[2].rate = {0.5}
    with pytest.raises(TypeError, match=r"\{0\.5\} cannot be saved"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# Files that are not what they should be.


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model file .*absent"):
        Model.load(tmp_path / "absent")


def test_truncated_anywhere(path):
    content = path.read_bytes()
    cuts = sorted({*range(0, 64), *range(64, len(content), 41), *(len(content) - k for k in (1, 2, 8, 100))})
    for cut in cuts:
        path.write_bytes(content[:cut])
        with pytest.raises(ModelFileError, match="is not a complete skintricate model"):
            Model.load(path)


def test_bytes_too_many(path):
    path.write_bytes(path.read_bytes() + b"\0" * 8)
    with pytest.raises(ModelFileError, match="is not a complete skintricate model"):
        Model.load(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\xff" * 100, b"PK\x03\x04" * 50, b"{}", b"\x80\x04K\x05." * 9])
def test_garbage(content, tmp_path):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(ModelFileError, match="is not a complete skintricate model"):
        Model.load(tmp_path / "model")


def test_a_folder(tmp_path):
    with pytest.raises(ModelFileError):
        Model.load(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"skintricate": "no json"}, {"skintricate": "[]"}])
def test_foreign_safetensors(metadata, tmp_path):
    safetensors.numpy.save_file({"weights.0": np.zeros((3, 2))}, tmp_path / "model", metadata=metadata)
    with pytest.raises(ModelFileError, match="is not a complete skintricate model"):
        Model.load(tmp_path / "model")


def replaced(*keys, by):
    """Return a change of a header: the value at the keys becomes another."""

    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = by

    return change


def without(key):
    """Return a change of a header: a key is gone."""
    return lambda header, tensors: header.pop(key) and None


NOT_MODEL_FILE_ERROR = "ValueError or AttributeError instead of ModelFileError"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("format_version", by=2), "format version 2, this skintricate knows 1. Update skintricate"),
        (replaced("format_version", by=None), "format version None"),
        (without("format_version"), "not a complete"),
        (without("state"), "not a complete"),
        (without("layers"), "does not describe a model"),
        (without("dtype"), "does not describe a model"),
        (without("n_features_in"), "does not describe a model"),
        (replaced("layers", by=[]), "shapes"),
        (replaced("layers", by=5), "does not describe a model"),
        (replaced("layers", by=[5]), "does not describe a model"),
        (
            replaced("layers", 0, "class", by="Convolution"),
            "'Convolution', which skintricate does not have.*custom_objects",
        ),
        (replaced("layers", 0, "params", "units", by=6), "shapes"),
        (replaced("layers", 0, "params", "depth", by=6), "not a complete"),
        (replaced("layers", 0, "params", "units", by="6"), "not a complete"),
        (replaced("dtype", by="float16"), "does not describe a model"),
        (replaced("n_features_in", by=5), "shapes"),
        (replaced("n_features_in", by=None), "does not describe a model"),
        (replaced("state", "layers", by=3), "not a complete"),
        (replaced("state", "layers", by=1), "shapes"),
        (replaced("state", by={}), "not a complete"),
        (lambda header, tensors: tensors.pop("weights.1") is None, "not a complete"),
        (lambda header, tensors: tensors.update({"weights.1": np.zeros((3, 2))}), "shapes"),
        (lambda header, tensors: tensors.update({"optimizer.1.0": np.zeros((3, 2))}), "shapes"),
        (lambda header, tensors: 5, "not a complete"),
        (replaced("layers", 0, "params", "units", by=0), "."),
        (replaced("layers", 0, "params", by=[1]), "."),
        (lambda header, tensors: tensors.update({"optimizer.1.x": np.zeros(3)}), "."),
        (lambda header, tensors: tensors.update({"optimizer.1.1": np.zeros((3, 2))}), "shapes"),
        (lambda header, tensors: tensors.pop("optimizer.1.1") is None, "."),
        (lambda header, tensors: tensors.update({"weights.1": np.zeros((6, 2), "int8")}), "."),
        (replaced("optimizer", by=5), "."),
        (replaced("state", "step", by="3"), "."),
    ],
)
def test_headers_that_describe_no_model(change, message, path):
    rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        Model.load(path)


def test_loading_imports_and_runs_nothing(path):
    rewrite(path, replaced("layers", 0, "class", by="os.system"))
    with pytest.raises(ModelFileError, match=r"'os\.system', which skintricate does not have"):
        Model.load(path)


# Writing.


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failed_save_leaves_the_old_file(failing, path, device, monkeypatch):
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        trained(device, [Dense(9), SoftMax(), Dense(2)]).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_saving_over_a_file(path, device):
    model = trained(device, [Dense(9), SoftMax(), Dense(2)])
    model.save(path)
    assert_bitwise([Model.load(path).predict(X)], [model.predict(X)])
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_saving_into_a_missing_folder(device, tmp_path):
    with pytest.raises(FileNotFoundError):
        trained(device).save(tmp_path / "absent" / "model")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_a_new_file(path):
    plain = path.with_name("plain")
    plain.write_bytes(b"")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
