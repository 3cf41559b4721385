"""Put a program together: the ``.cl`` files and the expressions of activations, losses and optimizers.

The expressions of every built-in class are in one program, so that a device builds one program a
float type, whatever is trained. A user's class is appended and makes a program of its own.
"""

import functools
from dataclasses import dataclass
from importlib.resources import files

from skintricate.kernels.stage import PHASE_KINDS, STAGE_KERNELS
from skintricate.kernels.tile import Tile

SOURCES = ("tile", "dense", "clip", "elementwise", "softmax", "loss", "rows", "epoch", "resident")


@dataclass(frozen=True)
class Vocabulary:
    """The expressions of a program: activations, losses and optimizers in a fixed order.

    Parameters
    ----------
    activations, losses, optimizers : tuple of type
        Classes with the attributes that their base classes document.
    """

    activations: tuple
    losses: tuple
    optimizers: tuple

    def including(self, activations, losses, optimizers):
        """Return a vocabulary with the classes that this one lacks appended."""

        def extended(known, more):
            return (*known, *dict.fromkeys(c for c in more if c not in known))

        return Vocabulary(
            extended(self.activations, activations),
            extended(self.losses, losses),
            extended(self.optimizers, optimizers),
        )

    def code(self, kind, cls):
        """Return the number by which a stage names a class."""
        return getattr(self, kind).index(cls)

    def source(self):
        """Return the OpenCL C functions that evaluate the expressions by their code."""
        value = [(c.hyper_parameters, f"return {c.value};") for c in self.activations]
        derivative = [(c.hyper_parameters, f"return {c.derivative};") for c in self.activations]
        loss_value, loss_gradient = [], []
        for c in self.losses:
            # Two codes a loss: of the outputs, and of the values before its link.
            loss_value += [(c.hyper_parameters, f"return {c.value};"), (c.hyper_parameters, f"return {c.link_value};")]
            loss_gradient += [
                (c.hyper_parameters, f"return {c.gradient};"),
                (c.hyper_parameters, f"return {c.link_gradient};"),
            ]
        return "\n".join(
            [
                _function("activation_value", "real x", value, "return x;"),
                _function("activation_derivative", "real x, real y", derivative, "return (real)1;"),
                _function("loss_value", "real y, real t", loss_value, "return (real)0;"),
                _function("loss_gradient", "real y, real t", loss_gradient, "return (real)0;"),
                _function(
                    "optimizer_update",
                    "real w, real g, global scalar *states_, int stride_",
                    [(c.scalar_names, _update(c)) for c in self.optimizers],
                    "return w;",
                ),
            ]
        )


def _kinds():
    """Return the names of the kinds of stages and phases."""
    return "\n".join(
        f"#define {name.upper()} {kind}" for names in (STAGE_KERNELS, PHASE_KINDS) for kind, name in enumerate(names)
    )


def _update(optimizer):
    """Return the statements that load an optimizer's states, update and store them."""
    places = [f"states_ + (size_t)stride_ * {k}" for k in range(len(optimizer.states))]
    loads = [f"real {name} = load({place});" for name, place in zip(optimizer.states, places)]
    stores = [f"store({name}, {place});" for name, place in zip(optimizer.states, places)]
    return "\n        ".join([*loads, *map(str.strip, optimizer.update.strip().splitlines()), *stores, "return w;"])


def _function(name, arguments, cases, otherwise):
    """Return a function that switches over codes; each case names its hyper-parameters first."""
    body = []
    for code, (parameters, statements) in enumerate(cases):
        names = "".join(f"const scalar {p} = p_[{k}]; " for k, p in enumerate(parameters))
        body.append(f"    case {code}: {{ {names}\n        {statements}\n    }}")
    return "\n".join(
        [
            f"static inline real {name}(int code_, {arguments}, global const scalar *p_) {{",
            "    switch (code_) {",
            *body,
            f"    default: {otherwise}",
            "    }",
            "}",
        ]
    )


@functools.cache
def read_source(name):
    """Return the text of a ``.cl`` file of this folder."""
    return files("skintricate.kernels").joinpath(f"{name}.cl").read_text()


class Program:
    """The kernels of a device, a float type and a vocabulary.

    Parameters
    ----------
    device : Device
    dtype : {"float32", "float64"}
    vocabulary : Vocabulary
    """

    def __init__(self, device, dtype, vocabulary):
        self.tile = Tile.of(device, dtype)
        self.vocabulary = vocabulary
        self.itemsize = 4 if dtype == "float32" else 8
        source = "\n".join(
            [_kinds(), read_source("common"), read_source("random"), vocabulary.source(), *map(read_source, SOURCES)]
        )
        self._program = device.program(source, self.tile.options(dtype))
        self._cl = device.cl
        self._free = {}

    def borrow(self, name):
        """Return a kernel object whose arguments belong to the borrower until ``give_back``.

        Making one costs a tenth of a millisecond, as much as a step of a small network.
        """
        try:
            return self._free[name].pop()
        except (KeyError, IndexError):
            return self._cl.Kernel(self._program, name)

    def give_back(self, kernels):
        """Take kernels back, a sequence of ``(name, kernel)``."""
        for name, kernel in kernels:
            self._free.setdefault(name, []).append(kernel)
