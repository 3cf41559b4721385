"""Put a program together: the ``.cl`` files and the expressions of activations, losses and optimizers.

The expressions of every built-in class are in one program, so that a device builds one program a
float type, whatever is trained. A user's class is appended and makes a program of its own.
"""

import functools
import logging
import threading
from dataclasses import dataclass
from importlib.resources import files

from skintricate.backend.programs import build_program, has_binary
from skintricate.exceptions import KernelBuildError
from skintricate.kernels.specialized import Earnings, definitions_of
from skintricate.kernels.stage import OF_FAMILIES, OPTIONAL_ROW_STAGES, OPTIONAL_STAGES, definitions

log = logging.getLogger("skintricate")

# Vectors of weights that a work-item updates at once: those that a lane has of a fragment, see gpu/warp_weights.cl.
UPDATED_AT_ONCE = 4
# Programs of one plan that are kept, with some hundred kilobytes each.
MOST_PROGRAMS_OF_PLANS = 32
# The files of a program, those of its family in a folder of their own; gpu/product.cl is read once for every size.
SHARED_SOURCES = ("epoch", "dropout", "turn")
# Those of layers that not every network has; whatever it asks for, it has these two of them.
OPTIONAL_SOURCES, NEEDED_BY_ALL = ("places", *OPTIONAL_ROW_STAGES), ("places", "shapes")
CPU_SOURCES = ("dense", "sparse", "clip", "elementwise", "softmax", "loss", "epoch", "validation", "rows", "resident")
GPU_PRODUCTS = ("narrow", "few_rows", "many_rows", "product", "mma", "warp", "warp_weights", "wide")
GPU_SOURCES = (*GPU_PRODUCTS, "elementwise", "loss", "rows", "tables", "staged", "resident")
SOURCES = {
    "cpu": (
        *(*SHARED_SOURCES, "cpu/tile", *OPTIONAL_SOURCES, "optional", "cpu/window", "cpu/convolution"),
        *(f"cpu/{name}" for name in CPU_SOURCES),
    ),
    "gpu": (
        *("gpu/group", *SHARED_SOURCES, "gpu/epoch", "gpu/dense", *OPTIONAL_SOURCES, "optional"),
        *("gpu/convolution", "gpu/sparse"),
        *(f"gpu/{name}" for name in GPU_SOURCES),
    ),
}
# The program of a GPU's large products, beside the other one; with blocks of rows, where their kernels have as many
# work-items as others.
LARGE_SOURCES = ("gpu/group", "gpu/dense", "gpu/mma", "gpu/large")
LARGE_BATCH_SOURCES = (
    *("gpu/group", "dropout", "gpu/dense", *OPTIONAL_SOURCES, "optional", "gpu/convolution", "gpu/sparse"),
    *("gpu/mma", "gpu/warp", "gpu/warp_weights", "gpu/slices", "gpu/elementwise", "gpu/loss", "gpu/rows", "gpu/large"),
)
# What belongs to an optional source in a family's folder.
BELONGING = {
    **dict.fromkeys(("cpu/window", "cpu/convolution", "gpu/convolution"), "convolution"),
    **dict.fromkeys(("cpu/sparse", "gpu/sparse"), "sparse"),
}


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
        values, derivatives, derivatives_of, loss_values, loss_gradients = [], [], [], [], []
        values_stored, derivatives_stored = [], []
        for c in self.activations:
            values.append((c.hyper_parameters, f"const real x = x_[i_]; x_[i_] = {c.value};"))
            values_stored.append((c.hyper_parameters, f"const real x = x_[i_]; store({c.value}, to_ + i_ * WIDTH);"))
            scaled, stored = "gradient_[i_] *= {};", "store(gradient_[i_] * ({}), to_ + i_ * WIDTH);"
            for cases, value, statement in (
                (derivatives, "load_value({0}_, i_)", scaled),
                (derivatives_of, "{0}_[i_]", scaled),
                (derivatives_stored, "load_value({0}_, i_)", stored),
            ):
                names = " ".join(f"const real {name} = {value.format(name)};" for name in "xy")
                cases.append((c.hyper_parameters, f"{names} {statement.format(c.derivative)}"))
        for c in self.losses:
            # Two codes a loss: of the outputs, and of the values before its link.
            for value, gradient in ((c.value, c.gradient), (c.link_value, c.link_gradient)):
                loss_values.append((c.hyper_parameters, f"return {value};"))
                loss_gradients.append((c.hyper_parameters, f"return {gradient};"))
        updates = [(c.scalar_names, _update(c)) for c in self.optimizers]
        apart = [(c.scalar_names, _update_apart(c)) for c in self.optimizers]
        return "\n".join(
            [
                _loops("activation_value", "real *x_", values),
                _loops("activation_derivative", "real *gradient_, VALUES x_, VALUES y_", derivatives),
                _loops("activation_derivative_of", "real *gradient_, const real *x_, const real *y_", derivatives_of),
                "#if LOCAL_SIZE == 1",
                _loops("activation_stored", "const real *x_, global scalar *to_", values_stored),
                _loops(
                    "activation_derivative_stored",
                    "const real *gradient_, VALUES x_, VALUES y_, global scalar *to_",
                    derivatives_stored,
                ),
                "#endif",
                _loops("optimizer_update", "real *g_, global scalar *w_, int stride_", updates),
                "#ifdef WHOLE_NETWORK",
                f"#define UPDATED_AT_ONCE {UPDATED_AT_ONCE}",
                _function(
                    "void optimizer_update_apart", "real *g_, const int *at_, global scalar *w_, int stride_", apart
                ),
                "#endif",
                _function("real loss_value", "real y, real t", loss_values),
                _function("real loss_gradient", "real y, real t", loss_gradients),
            ]
        )


def _definitions(optional):
    """Return the numbers that kernels and host must agree on, and the optional sources that there are, as macros."""
    macros = definitions() | {name.upper(): "" for name in optional}
    return "\n".join(f"#define {name} {number}" for name, number in macros.items())


def source_names(tile, optional, build):
    """Return the names of the files of one of a tile's builds in their order, with these of the optional ones."""
    sources = SOURCES[tile.family]
    if build == "large":
        sources = (*(LARGE_BATCH_SOURCES if tile.has_wgmma else LARGE_SOURCES), *tile.large_sources)
    wanted = {*optional, *NEEDED_BY_ALL, "optional"} if optional else set()
    absent = (name for name in (*OPTIONAL_SOURCES, "optional") if name not in wanted)
    unused = {*(tile.unused_sources if build == "all" else ()), *absent}
    return [name for name in sources if name not in unused and BELONGING.get(name) not in unused]


def _update(optimizer):
    """Return the statements that load weight, gradient and states, update and store all but the weight."""
    places = [f"w_ + (size_t)stride_ * {k} + i_ * WIDTH" for k in range(1 + len(optimizer.states))]
    loads = [f"real {name} = load({place});" for name, place in zip(("w", *optimizer.states), places)]
    stores = [f"store({name}, {place});" for name, place in zip(optimizer.states, places[1:])]
    update = map(str.strip, optimizer.update.strip().splitlines())
    return "\n        ".join(["const real g = g_[i_];", *loads, *update, *stores, "g_[i_] = w;"])


def _update_apart(optimizer):
    """Return the statements that update vectors at places apart, and store all but the weights.

    All are loaded first. Where a place is negative nobody uses what is loaded, and nothing is stored.
    """
    names = ("w", *optimizer.states)
    place = "w_ + (size_t)stride_ * {} + LARGER(at_[i_], 0)"
    loads = [f"ahead_[i_][{k}] = load({place.format(k)});" for k in range(len(names))]
    takes = [f"real {name} = ahead_[i_][{k}];" for k, name in enumerate(names)]
    stores = [f"store({name}, {place.format(k)});" for k, name in enumerate(names) if k]
    update = map(str.strip, optimizer.update.strip().splitlines())
    loop = f'_Pragma("unroll") for (int i_ = 0; i_ < {UPDATED_AT_ONCE}; i_++)'
    return "\n        ".join(
        [
            f"real ahead_[{UPDATED_AT_ONCE}][{len(names)}];",
            f"{loop} {{ {' '.join(loads)} }}",
            f"{loop} {{",
            *["const real g = g_[i_];", *takes, *update, "g_[i_] = w;"],
            f"if (at_[i_] >= 0) {{ {' '.join(stores)} }}",
            "}",
            "break;",
        ]
    )


def _loops(name, arguments, cases):
    """Return a function that goes through ``count_`` vectors, by a loop for each code."""
    loops = [(names, f"for (int i_ = 0; i_ < count_; i_++) {{\n        {body}\n    }} break;") for names, body in cases]
    return _function(f"void {name}", f"int count_, {arguments}", loops)


def _function(declaration, arguments, cases):
    """Return a function that switches over codes; each case names its hyper-parameters first."""
    body = []
    for code, (parameters, statements) in enumerate(cases):
        names = "".join(f"const scalar {p} = p_[{k}]; " for k, p in enumerate(parameters))
        body.append(f"    case {code}: {{ {names}\n        {statements}\n    }}")
    otherwise = "" if declaration.startswith("void") else "    return (real)0;"
    return "\n".join(
        [
            f"static inline {declaration}(int code_, {arguments}, global const scalar *p_) {{",
            "    switch (code_) {",
            *body,
            "    }",
            otherwise,
            "}",
        ]
    )


def _text(name, tile, optional):
    """Return the text of a source: a file, that of products once for every size of a tile, or what calls others."""
    if name == "optional":
        return _calls({*optional, *NEEDED_BY_ALL})
    if name == "gpu/product":
        return "\n".join(f"#define SIZE {size}\n{read_source(name)}\n#undef SIZE" for size in tile.sizes)
    return read_source(name)


def _calls(sources):
    """Return the functions that make the stages of some optional sources, by their kind."""

    def cases(stages, call):
        names = [name for source in stages if source in sources for name in stages[source] if name not in OF_FAMILIES]
        return [f"    case {name.upper()}: {call.format(name)}" for name in names]

    return "\n".join(
        [
            "#define OPTIONAL",
            "FUNCTION void optional_rows(ROW_ARGUMENTS) {",
            "    switch (stage->kind) {",
            *cases(OPTIONAL_ROW_STAGES, "{}_rows(step, stage, block, n0, count, scratch); break;"),
            "    }",
            "}",
            "/* A tile of a stage that is not one of rows; says whether the stage is one. */",
            "static inline bool optional_tile(STEP step, STAGE stage, int tile) {",
            "    switch (stage->kind) {",
            *cases(OPTIONAL_STAGES, "{}(step, stage, tile); return true;"),
            "    }",
            "    return false;",
            "}",
        ]
    )


@functools.cache
def read_source(name):
    """Return the text of a ``.cl`` file of this folder."""
    return files("skintricate.kernels").joinpath(f"{name}.cl").read_text()


class Program:
    """The kernels of a device, a float type and a vocabulary, in as many programs as the tile has builds.

    Each is made when one of its kernels is first asked for. A plan that has earned it has one more, with the resident
    kernel alone; the last of these are kept.

    Parameters
    ----------
    device : Device
    dtype : {"float32", "float64"}
    vocabulary : Vocabulary
    tile : Tile or GroupTile
    optional : sequence of str, default=()
        The optional sources that its networks need.
    specializes_plans : bool, default=True
        Whether plans may earn programs of their own.
    """

    def __init__(self, device, dtype, vocabulary, tile, optional=(), specializes_plans=True):
        self.tile = tile
        self.vocabulary = vocabulary
        self.itemsize = 4 if dtype == "float32" else 8
        self._device, self._options, self._optional = device, tile.options(dtype), optional
        self._programs, self._free = {}, {}
        self._of_plans, self._lock = {}, threading.Lock()
        self._earnings = Earnings(self._is_kept) if specializes_plans and tile.build_of_a_plan else None

    def borrow(self, name, plan=None):
        """Return a kernel object whose arguments belong to the borrower until ``give_back``.

        With ``plan`` it is that of the plan's own program. Making one costs a tenth of a millisecond, as much as a step
        of a small network.
        """
        program = None if plan is None else self.built_for(plan)
        try:
            return self._free[name, plan and plan.key].pop()
        except (KeyError, IndexError):
            return self._device.cl.Kernel(program or self.built(self.tile.build_of(name)), name)

    def give_back(self, kernels):
        """Take kernels back, a sequence of ``(kernel, name, plan)``."""
        for kernel, name, plan in kernels:
            if plan is None or plan.key in self._of_plans:
                self._free.setdefault((name, plan and plan.key), []).append(kernel)

    def trained(self, plan, seconds):
        """Count seconds in which a plan has run in the resident schedule."""
        if self._earnings is not None:
            self._earnings.trained(plan, seconds)

    def specializes(self, plan):
        """Say whether a plan has earned a program of its own, which then is there."""
        if self._earnings is None or not self._earnings.suffice(plan):
            return False
        try:
            self.give_back([(self.borrow("resident", plan), "resident", plan)])
        except (KernelBuildError, self._device.cl.Error) as error:
            log.warning("A network goes on in the program of all, since its own one did not build: %s", error)
            self._earnings.refuse(plan)
            return False
        return True

    def built(self, name):
        """Return the ``pyopencl.Program`` of one of the tile's builds."""
        if name not in self._programs:
            build = self.tile.builds[name]
            source = self._source(source_names(self.tile, self._optional, name))
            self._programs[name] = self._device.program(source, [*self._options, *build.options], build.revise)
        return self._programs[name]

    def built_for(self, plan):
        """Return the ``pyopencl.Program`` of a plan, which is then the last to be forgotten."""
        with self._lock:
            program = self._of_plans.pop(plan.key, None)
            if program is None:
                log.info("A network has trained for so long that it gets a program of its own.")
                source, options, revise = self._parts_for(plan)
                program = build_program(self._device, source, options, revise)
            self._of_plans[plan.key] = program
            while len(self._of_plans) > MOST_PROGRAMS_OF_PLANS:
                oldest = next(iter(self._of_plans))
                del self._of_plans[oldest]
                self._free.pop(("resident", oldest), None)
        return program

    def _is_kept(self, plan):
        """Say whether the program of a plan is on disk."""
        return has_binary(self._device, *self._parts_for(plan)[:2])

    def _parts_for(self, plan):
        """Return the source of a plan's program, its options and what is done to its binary."""
        build = self.tile.build_of_a_plan
        names = source_names(self.tile, self._optional, "all")
        names = ["gpu/specialized" if name == "gpu/tables" else name for name in names if name != "gpu/staged"]
        source = self._source(names, definitions_of(plan))
        return source, [*self._options, *build.options], build.revise

    def _source(self, names, definitions=""):
        """Return the source of a program of these files, with further macros."""
        return "\n".join(
            [
                _definitions(self._optional),
                definitions,
                read_source("common"),
                read_source("random"),
                self.vocabulary.source(),
                *(_text(name, self.tile, self._optional) for name in names),
            ]
        )
