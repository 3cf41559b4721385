"""The examples in the docstrings run, and every public class is documented."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import skintricate

MODULES = [
    module.name
    for module in pkgutil.walk_packages(skintricate.__path__, "skintricate.")
    if not module.name.endswith("__main__")
]
PUBLIC = [
    "skintricate",
    "skintricate.layers",
    "skintricate.losses",
    "skintricate.optimizers",
    "skintricate.initializers",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) >= 10


@pytest.mark.parametrize("name", PUBLIC)
def test_parameters_are_documented(name):
    module = importlib.import_module(name)
    for cls in filter(inspect.isclass, (getattr(module, exported) for exported in module.__all__)):
        parameters = [p for p in inspect.signature(cls).parameters if p not in ("args", "kwargs")]
        undocumented = [p for p in parameters if p not in inspect.getdoc(cls)]
        assert not undocumented, f"{cls.__name__}: {undocumented}"
