"""What a command imports: little for help, and torch and onnx only if it needs them."""

import subprocess
import sys
from pathlib import Path

from .conftest import Bundles

HEAVY = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "PIL")


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def loaded(code: str, folder: Path) -> list[str]:
    """Return the heavy packages that are loaded after the code has run."""
    tail = f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    result = run(f"import sys\n{code}\n{tail}", folder)
    assert result.returncode == 0, result.stderr
    return list(eval(result.stderr.strip().splitlines()[-1]))


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "from ancestral.cli.main import run\nassert run(['{}', '--help']) == 0"
    assert loaded(code.format("sample"), tmp_path) == []
    # The planted fault: a heavy import is detected.
    assert loaded("import numpy", tmp_path) == ["numpy"]


WITHOUT = """
import sys
for name in ("torch", "onnx", "onnxscript", "onnx_ir", "sklearn", "matplotlib"):
    sys.modules[name] = None
from ancestral.cli.main import run
"""
"""Code for a machine without these packages: every import of them fails."""


def test_commands_without_torch_and_onnx(tiny_bundle: Path, tmp_path: Path) -> None:
    code = f"""{WITHOUT}
bundle = {str(tiny_bundle)!r}
codes = [
    run(["info", bundle, "--check"]),
    run(["sample", bundle, "-n", "3", "-o", "out.npz"]),
    run(["sample", bundle, "-n", "3", "-o", "out.png"]),
    run(["log-prob", bundle, "out.npz"]),
    run(["verify", bundle]),
    run(["sample", bundle, "--backend", "torch"]),
]
print(codes, file=sys.stderr)
"""
    result = run(code, tmp_path)
    assert result.stderr.strip().splitlines()[-1] == "[0, 0, 0, 0, 0, 2]", result.stderr
    assert "torch cpu" not in result.stdout
    assert "onnxruntime cpu" in result.stdout


def test_bulk_without_its_packages(tmp_path: Path) -> None:
    code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name in ("pyarrow", "fsspec") else found(name, package)
)
from ancestral.cli.main import run
assert run(["bulk", "sample", "--help"]) == 0
print(run(["bulk", "status", "samples"]), file=sys.stderr)
"""
    result = run(code, tmp_path)
    error, code = result.stderr.strip().splitlines()[-2:]
    assert code == "2"
    assert "`ancestral bulk` needs the pyarrow and fsspec packages" in error
    assert "pip install 'ancestral[bulk]'" in error


def test_latents_without_torch_and_onnx(bundles: Bundles, tmp_path: Path) -> None:
    code = f"""{WITHOUT}
vae, codes = {str(bundles("bernoulli"))!r}, {str(bundles("codes"))!r}
lines = [
    [command, bundle, *rest]
    for bundle in (vae, codes)
    for command, *rest in (
        ["info"],
        ["sample", "-n", "4", "-o", "x.npz"],
        ["sample", "-n", "4", "--mean", "-o", "x.png"],
        ["bound", "x.npz"],
        ["encode", "x.npz", "-o", "q.npz"],
        ["decode", "q.npz", "-o", "x.png"],
        ["reconstruct", "x.npz", "-o", "x.png"],
        ["verify"],
    )
]
lines += [["interpolate", vae, "x.npz", "-o", "x.png"], ["latent-grid", vae, "-o", "x.png"]]
lines.insert(-2, ["sample", vae, "-n", "4", "-o", "x.npz"])
print([line for line in lines if run(line) != 0], file=sys.stderr)
"""
    result = run(code, tmp_path)
    assert result.stderr.strip().splitlines()[-1] == "[]", result.stderr
