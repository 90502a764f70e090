"""`import ancestral` offers a few names, each imported on first use."""

import ast
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import ancestral
from ancestral import errors
from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.export.bundle import export_bundle
from ancestral.sampling import Sampling

HEAVY = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "pydantic", "PIL")
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type)}
NAMES = {"Sampling", "export_bundle", "load"} | ERRORS


def loaded(code: str) -> list[str]:
    """Return the heavy packages that are loaded after code has run in a new process."""
    tail = f"print([name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-P", "-c", f"import sys\n{code}\n{tail}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(ast.literal_eval(result.stdout.splitlines()[-1]))


def test_each_name_is_the_object_of_its_module() -> None:
    expected = {"Sampling": Sampling, "export_bundle": export_bundle, "load": Engine.load}
    expected |= {name: getattr(errors, name) for name in ERRORS}
    assert {name: getattr(ancestral, name) for name in NAMES} == expected


def test_tab_completion_finds_the_names() -> None:
    assert {name for name in dir(ancestral) if not name.startswith("_")} >= NAMES
    assert "__version__" in dir(ancestral)
    assert not {"Any", "Path", "resolve_name"} & set(dir(ancestral))


@pytest.mark.parametrize("name", ["nothing", "Sample", "__wrapped__"])
def test_unknown_name_is_refused(name: str) -> None:
    assert not hasattr(ancestral, name)
    with pytest.raises(AttributeError, match=f"module 'ancestral' has no attribute '{name}'"):
        getattr(ancestral, name)


def test_import_loads_nothing_heavy() -> None:
    assert loaded("import ancestral; dir(ancestral); ancestral.InvalidInput") == []
    # The planted faults: names load their packages on use, and this is detected.
    assert "numpy" in loaded("import ancestral; ancestral.Sampling")
    assert "onnx" in loaded("import ancestral; ancestral.export_bundle")


def test_types_have_the_same_names() -> None:
    """The stub for type checkers and the table of names have the same names."""
    stub = ast.parse(Path(ancestral.__file__).with_suffix(".pyi").read_text())
    named = {
        each.asname for node in stub.body if isinstance(node, ast.ImportFrom) for each in node.names
    }
    assert named - {None} | {"load"} == NAMES == set(ancestral._PLACES)


def test_load(tiny_bundle: Path) -> None:
    engine = ancestral.load(tiny_bundle, backend="onnxruntime", threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    assert len(engine.sample(3, labels=0, sampling=ancestral.Sampling(temperature=0.5))) == 3
    with pytest.raises(ancestral.BundleError):
        ancestral.load(tiny_bundle / "nothing")


def test_example() -> None:
    assert doctest.testmod(ancestral).failed == 0
