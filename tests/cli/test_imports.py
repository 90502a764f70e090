"""What a command loads: little for help, no torch and no onnx where they are not needed."""

import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "PIL")


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


def loaded(code: str, folder: Path) -> list[str]:
    """Those of the heavy packages that code leaves loaded."""
    tail = f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    result = run(f"import sys\n{code}\n{tail}", folder)
    assert result.returncode == 0, result.stderr
    return list(eval(result.stderr.strip().splitlines()[-1]))


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = "from ancestral.cli.main import run\nassert run(['{}', '--help']) == 0"
    assert loaded(code.format("sample"), tmp_path) == []
    # The planted fault: what is loaded is seen.
    assert loaded("import numpy", tmp_path) == ["numpy"]


def test_commands_without_torch_and_onnx(tiny_bundle: Path, tmp_path: Path) -> None:
    """As on a machine that has neither: the finders say that they are not there."""
    code = f"""
import sys
for name in ("torch", "onnx", "onnxscript", "onnx_ir", "sklearn", "matplotlib"):
    sys.modules[name] = None
from ancestral.cli.main import run
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
