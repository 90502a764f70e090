"""The simulated library compared with the types of the real modules."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TypeGuard

import pytest

from ancestral.plans.modules import MODULES, Module, installed_modules
from tests.engine.simulated_tensorrt import COMMON, JUST_IN_TIME, SIMULATED
from tests.tensorrt_bindings import libraries, missing

Stubs = Callable[[Module], str]


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    """Return a function that reads a module's types of the classes on the run path."""
    found: dict[Module, str] = {}

    def stub(module: Module) -> str:
        if module not in found:
            found[module] = _read(module, tmp_path_factory.mktemp(module))
        return found[module]

    return stub


def _read(module: Module, folder: Path) -> str:
    if find_spec(f"{module}_bindings") is None:
        pytest.skip(f"the bindings of {module} are not installed")
    environment = dict(os.environ)
    if module == "tensorrt" and module not in installed_modules():
        if missing():
            pytest.skip(f"not installed: {missing()}")
        # With RTLD_LAZY the bindings load with the libraries of the other module.
        (folder / "sitecustomize.py").write_text(
            "import os, sys\nsys.setdlopenflags(os.RTLD_LAZY)\n"
        )
        paths = [str(folder), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment["LD_LIBRARY_PATH"] = str(libraries(folder))
    name = f"{module}_bindings.{module}"
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from mypy.stubgen import main; main()",
            "-q",
            "-m",
            name,
            "-o",
            str(folder),
        ],
        env=environment,
        check=True,
    )
    lines = (folder / f"{module}_bindings" / f"{module}.pyi").read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"[\w@]", line)]
    blocks = [
        "\n".join(lines[start:stop])
        for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]
    # Some of the other classes are not valid Python.
    classes = {found[1]: each for each in blocks if (found := re.match(r"class (\w+)", each))}
    kept = [
        each for name, each in classes.items() if name in {*COMMON, *JUST_IN_TIME, "EngineStat"}
    ]
    imports = [each for each in blocks if each.startswith(("import ", "from "))]
    return "\n".join([*imports, "__version__: str", *kept])


@pytest.mark.tensorrt
@pytest.mark.parametrize("module", MODULES)
def test_simulation_has_only_real_names(stubs: Stubs, module: Module) -> None:
    """Every name of the simulation is in the real module, so every simulated call exists."""
    real = {each.name: _names(each) for each in ast.parse(stubs(module)).body if _is_class(each)}
    classes = COMMON | JUST_IN_TIME if module == "tensorrt_rtx" else COMMON
    for name, simulated in classes.items():
        own = {each for each in vars(simulated) if not each.startswith("_")}
        assert own <= real[name], f"{name}: {sorted(own - real[name])}"
    assert {each for each in vars(SIMULATED[module]) if not each.startswith("_")} <= set(real)
    assert "execute_async_v4" not in real["IExecutionContext"]


def _is_class(node: ast.stmt) -> TypeGuard[ast.ClassDef]:
    return isinstance(node, ast.ClassDef)


def _names(node: ast.ClassDef) -> set[str]:
    """Return the names of methods and attributes."""
    functions = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    return functions | {
        each.target.id
        for each in node.body
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
