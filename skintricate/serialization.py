"""Models in files: arrays and JSON in the safetensors format, never a pickle.

The metadata entry ``skintricate`` is a JSON object with ``format_version``, the layers and optimizer as
class names with parameters, and what training has counted; the tensors are the parameters and the
optimizer's states.
"""

import json
import os
import secrets

import numpy as np
import safetensors
import safetensors.numpy

from skintricate import initializers, layers, losses, optimizers
from skintricate.configurable import Configurable
from skintricate.exceptions import ModelFileError
from skintricate.training import NetworkState

FORMAT_VERSION = 1
COUNTS = ("step", "epoch", "seed")


def encode(value):
    """Return a parameter value as JSON can hold it."""
    if isinstance(value, Configurable):
        params = {name: encode(inner) for name, inner in value.get_params(deep=False).items()}
        return {"class": type(value).__name__, "params": params}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{value!r} cannot be saved: parameters must be numbers, strings, or objects of skintricate's classes."
    )


def decode(value, classes):
    """Return what ``encode`` was given; classes are looked up by name, nothing is imported."""
    if isinstance(value, list):
        return [decode(item, classes) for item in value]
    if not isinstance(value, dict):
        return value
    name = value["class"]
    if name not in classes:
        raise ModelFileError(
            f"The file uses the class {name!r}, which skintricate does not have. "
            f"If it is yours, pass it: load(path, custom_objects={{{name!r}: {name}}})."
        )
    return classes[name](**{key: decode(inner, classes) for key, inner in value["params"].items()})


def known_classes(custom_objects=None):
    """Return the classes that a file may name, by name."""
    modules = (layers, losses, optimizers, initializers)
    classes = {name: getattr(module, name) for module in modules for name in module.__all__}
    return {**classes, **(custom_objects or {})}


def write_model(path, description, state):
    """Write a model to one file, at once or not at all.

    Parameters
    ----------
    path : str or path-like
    description : dict
        JSON-able, but for the values that ``encode`` takes.
    state : NetworkState or None
    """
    tensors = {}
    counts = None
    if state is not None:
        counts = {name: int(getattr(state, name)) for name in COUNTS} | {"layers": len(state.weights)}
        for number, weights in enumerate(state.weights):
            tensors[f"weights.{number}"] = np.ascontiguousarray(weights)
        for number, states in enumerate(state.optimizer_states):
            for place, array in enumerate(states):
                tensors[f"optimizer.{number}.{place}"] = np.ascontiguousarray(array)
    header = {"format_version": FORMAT_VERSION, "state": counts}
    header.update({key: encode(value) for key, value in description.items()})
    content = safetensors.numpy.save(tensors, metadata={"skintricate": json.dumps(header)})
    _write_atomically(path, content)


def read_model(path, custom_objects=None):
    """Read a file that ``write_model`` wrote.

    Returns
    -------
    description : dict
    state : NetworkState or None

    Raises
    ------
    ModelFileError
        If the file is truncated, of another kind, or of a version this package does not know.
    FileNotFoundError
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no model file {path!r}.")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["skintricate"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = header.pop("format_version")
        counts = header.pop("state")
        if version != FORMAT_VERSION:
            raise ModelFileError(
                f"{path!r} has format version {version}, this skintricate knows {FORMAT_VERSION}. Update skintricate."
            )
        classes = known_classes(custom_objects)
        description = {key: decode(value, classes) for key, value in header.items()}
        return description, _state(counts, tensors)
    except ModelFileError:
        raise
    except (safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise ModelFileError(
            f"{path!r} is not a complete skintricate model ({type(error).__name__}: {error}). "
            "Save it again with Model.save."
        ) from error


def _state(counts, tensors):
    """Return the state that counts and tensors describe."""
    if counts is None:
        return None
    if not all(type(counts[name]) is int and counts[name] >= 0 for name in (*COUNTS, "layers")):
        raise ValueError(f"the counts {counts} are not whole numbers")
    weights, optimizer_states = [], []
    for number in range(counts["layers"]):
        weights.append(tensors[f"weights.{number}"])
        prefix = f"optimizer.{number}."
        places = sorted(int(name[len(prefix) :]) for name in tensors if name.startswith(prefix))
        optimizer_states.append([tensors[f"{prefix}{place}"] for place in places])
    if not any(optimizer_states):
        optimizer_states = []
    return NetworkState(weights, optimizer_states, *(counts[name] for name in COUNTS))


def _write_atomically(path, content):
    """Write bytes to a new neighbour, then rename it."""
    path = os.path.abspath(path)
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
