"""Programs: every kernel builds, alone too, and a build that fails says why."""

import re

import pytest

from skintricate.backend import open_device
from skintricate.exceptions import DeviceError, KernelBuildError
from skintricate.kernels import Vocabulary
from skintricate.kernels.program import read_source, source_names
from skintricate.kernels.stage import OPTIONAL_ROW_STAGES
from skintricate.kernels.tile import GroupTile
from skintricate.layers import Activation, Identity, TanH
from skintricate.losses import MeanSquared
from skintricate.optimizers import Basic
from skintricate.training.vocabulary import built_in, program_for


class Broken(Activation):
    value = "undeclared_name * x"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_program_has_every_kernel(dtype, float64):
    program = program_for(open_device(float64), dtype, [])
    tile, declared = program.tile, set()
    kernel = re.compile(
        r"^(?:KERNEL |LARGE_KERNEL |TILE_KERNEL(?:_OF_MANY)?\(|DEFINE_TENSOR_ROWS\()(\w+)", re.MULTILINE
    )
    for name in {name for build in tile.builds for name in source_names(tile, (), build)}:
        declared |= set(kernel.findall(read_source(name)))
    built = [program.built(name).all_kernels() for name in tile.builds]
    assert {kernel.function_name for kernels in built for kernel in kernels} == declared - {"NAME"}
    assert len(declared) > 5


def test_programs_of_built_in_classes_are_one(device):
    device = open_device(device)
    first = program_for(device, "float32", [TanH()], MeanSquared(), Basic())
    second = program_for(device, "float32", [])
    assert all(second.built(name) is first.built(name) for name in first.tile.builds)


def test_a_failed_build_names_options_and_log(device):
    with pytest.raises(KernelBuildError, match="undeclared_name") as caught:
        program_for(open_device(device), "float32", [Broken()]).borrow("rows")
    assert "-DSCALAR=float" in str(caught.value)
    assert isinstance(caught.value, DeviceError)


def test_codes_of_a_vocabulary():
    vocabulary = Vocabulary([Identity], [MeanSquared], [Basic])
    more = vocabulary.including([TanH, Broken, TanH], [MeanSquared], [])
    assert more.activations == (Identity, TanH, Broken)
    assert (more.losses, more.optimizers) == ((MeanSquared,), (Basic,))
    assert more.code("activations", Broken) == 2
    assert built_in().code("activations", Identity) == 0


@pytest.mark.parametrize("name", ["common", "random"])
def test_sources_can_be_compiled_alone(name, device):
    """With the defaults of its tunables, as a reader of the file would."""
    source = read_source(name) + "\nkernel void nothing(global int *x) { x[0] = 1; }\n"
    assert open_device(device).program(source, []).nothing.function_name == "nothing"


GPU = GroupTile(132, has_tensor_cores=True, has_wgmma=True)


@pytest.mark.parametrize(
    ("tile", "build"),
    [
        *[(GPU, "all"), (GPU, "large"), (GroupTile(132, has_tensor_cores=True), "large")],
        *[(GPU.for_many(500, 200), "all"), (GPU.for_many(1, 5000), "all")],
    ],
    ids=["all", "large", "without wgmma", "whole network", "many rows"],
)
def test_files_of_a_program_share_no_name_of_a_function(tile, build):
    """No machine without such a GPU builds these programs with every layer's kernels in them."""
    definition = re.compile(r"^(?:static inline|INLINED|FUNCTION|KERNEL|LARGE_KERNEL)[\w ]*?[ *](\w+)\(", re.MULTILINE)
    files = {}
    for name in source_names(tile, tuple(OPTIONAL_ROW_STAGES), build):
        if name != "optional":
            for function in set(definition.findall(read_source(name))) - {"NAME"}:  # a macro's
                files.setdefault(function, []).append(name)
    assert len(files) > 30
    assert [names for names in files.values() if len(set(names)) > 1] == []
