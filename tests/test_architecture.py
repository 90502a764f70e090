"""What import-linter cannot check: which names are installed, and what an import loads."""

import subprocess
import sys
from pathlib import Path

import pytest

BARE_NAMES = ("engine", "export", "train", "triton_kernels")

# The first of the finders; it refuses every module of the named packages.
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)
        return None

sys.meta_path.insert(0, Block())
import {module}
"""


def run(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that sees the installed packages and no checkout."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )


def import_without(module: str, blocked: set[str], directory: Path) -> str:
    """Return the last line of the error of an import, or "" if it works."""
    result = run(BLOCK.format(names=blocked, module=module), directory)
    return result.stderr.strip().rpartition("\n")[2] if result.returncode else ""


@pytest.mark.parametrize("name", BARE_NAMES)
def test_folder_is_not_installed_under_its_bare_name(name: str, tmp_path: Path) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert run(code, tmp_path).stdout.strip() == "None"


def core_modules() -> list[str]:
    package = Path(__file__).resolve().parents[1] / "src" / "ancestral"
    names = sorted(file.stem for file in package.glob("*.py"))
    return ["ancestral" if name == "__init__" else f"ancestral.{name}" for name in names]


@pytest.mark.parametrize("module", core_modules())
def test_core_imports_without_frameworks(module: str, tmp_path: Path) -> None:
    blocked = {"torch", "onnx", "onnxscript", "onnxruntime", "tensorrt", "tensorrt_rtx", "triton"}
    assert import_without(module, blocked, tmp_path) == ""


@pytest.mark.parametrize("module", ["ancestral.engine", "ancestral.cli.main"])
def test_imports_without_torch_and_onnx(module: str, tmp_path: Path) -> None:
    assert import_without(module, {"torch", "onnx", "onnxscript"}, tmp_path) == ""


def test_block_has_an_effect(tmp_path: Path) -> None:
    """The planted fault of the tests above: a module that imports torch is refused."""
    assert "blocked: torch" in import_without("torch", {"torch"}, tmp_path)
