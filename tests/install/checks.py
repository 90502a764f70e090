"""Checks of an installation, run by its own Python.

    python checks.py {cpu|train,export,cpu} BUNDLES

The program imports nothing from this checkout, so that it tests what was installed. The folder
BUNDLES has the bundles and the expected values of `tests.install.bundles`.
"""

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import ancestral
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine

TOOLS = {"triton", "tensorrt", "tensorrt_rtx"}
"""Packages of extras that this program does not check."""
ABSENT = {
    "cpu": TOOLS | {"torch", "onnx", "onnx_ir", "onnxscript", "sklearn", "matplotlib", "ml_dtypes"},
    "train,export,cpu": TOOLS,
}
"""Packages that an extra does not install."""
OPTIONAL = (
    "train",
    "export",
    "triton_kernels",
    "engine.backends",
    "cli.held_out",
    "cli.present.evaluation",
    "cli.stages",
)
"""Folders and modules that may need a package that an extra does not install; no others may."""


def check_imports(extra: str) -> None:
    """Check that every module imports, or needs a package that the extra does not install."""
    imported = 0
    for name in _modules():
        try:
            importlib.import_module(name)
            imported += 1
        except ModuleNotFoundError as error:
            lacking = (error.name or "").partition(".")[0]
            if lacking not in ABSENT[extra] or not _is_optional(name):
                raise
    print(f"{imported} modules imported")
    if extra == "cpu" and importlib.util.find_spec("torch") is not None:
        raise RuntimeError("ancestral[cpu]: expected no torch, but it is installed")


def _modules() -> list[str]:
    root = Path(ancestral.__file__).parent
    files = [file.relative_to(root.parent).with_suffix("") for file in sorted(root.rglob("*.py"))]
    return [".".join(file.parts).removesuffix(".__init__") for file in files]


def _is_optional(module: str) -> bool:
    return any(f"{module}.".startswith(f"ancestral.{name}.") for name in OPTIONAL)


def check_bundles(folder: Path, backend: str) -> None:
    """Check that the bundles verify, and give the values that were computed at their export."""
    with np.load(folder / "expected.npz") as file:
        expected = dict(file)
    engine = AutoregressiveEngine.load(folder / "tiny", backend=backend)
    limit = _verified(engine)
    drawn = engine.sample(len(expected["tiny.x"]), labels=1, seed=5)
    _equal("samples of tiny", drawn.x, expected["tiny.x"])
    _near("log p of samples", drawn.log_prob, expected["tiny.log_prob"], limit)
    _near("log p in parallel", engine.log_prob(drawn.x, labels=1), drawn.log_prob, limit)

    latent = LatentEngine.load(folder / "linear", backend=backend)
    limit = _verified(latent)
    x = expected["linear.x"]
    _near("bound", latent.bound(x, k=16, seed=5).iwae, expected["linear.iwae"], limit)
    for made in (latent.encode(x)["mean"], latent.reconstruct(x), latent.sample(4).x):
        if not np.isfinite(made).all():
            raise RuntimeError(f"linear: expected finite numbers, got {made}")
    _verified(LatentEngine.load(folder / "codes", backend=backend))
    print(f"bundles verified on {backend}")


def _verified(engine: Engine) -> float:
    """Verify; return the limit on the error of a log-probability, in nats."""
    report = engine.verify()
    if not report.passed:
        raise RuntimeError(f"{engine.bundle.path.name} on {report.backend}: {report.failures}")
    return float(report.limit_nats)


def _equal(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    if not np.array_equal(found, expected):
        raise RuntimeError(f"{what}: {np.sum(found != expected)} of {expected.size} values differ")


def _near(what: str, found: np.ndarray, expected: np.ndarray, limit: float) -> None:
    worst = np.abs(found - expected).max()
    if not worst <= 2 * limit:
        raise RuntimeError(f"{what}: {worst:.3g} nats apart; the limit of each is {limit:.3g}")


def check_commands(folder: Path, work: Path) -> None:
    """Check that the commands that use a bundle run."""
    tiny, linear = folder / "tiny", folder / "linear"
    run("--version")
    run("--help")
    run("doctor")
    run("info", tiny)
    run("verify", tiny, "--backend", "onnxruntime", "--json")
    run("sample", tiny, "-n", 4, "--label", 1, "-o", work / "x.npz")
    run("sample", tiny, "-n", 4, "--label", 1, "--temperature", 0.8, "-o", work / "x.png")
    run("log-prob", tiny, work / "x.npz", "-o", work / "log_prob.npz")
    run("classify", tiny, work / "x.npz")
    run("sample", linear, "-n", 4, "-o", work / "z.npz")
    run("bound", linear, work / "z.npz", "-k", 8)
    run("bench", tiny, "--batch", 1, "--backend", "onnxruntime")
    print("commands ran")


def check_training(work: Path) -> None:
    """Train and export tiny models, which verifies them on PyTorch and ONNX Runtime."""
    for model in ("transformer", "vae"):
        checkpoint, bundle = work / f"{model}-run", work / model
        run("train", "--recipe", "tiny", "--model", model, "-o", checkpoint, "--threads", 1)
        run("export", checkpoint, "-o", bundle)
        print(f"{model} trained, exported, verified")
    run("verify", work / "transformer", "--trace", "--graph", "step")


def run(*words: object) -> None:
    """Run the installed `ancestral`."""
    command = [Path(sys.executable).with_name("ancestral"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
        raise RuntimeError(f"ancestral {words[0]}: exit status {done.returncode}: {last}")


def main(words: Sequence[str]) -> None:
    """Run every check of an extra; raise an exception if one fails."""
    extra, folder = words[0], Path(words[1])
    print(f"ancestral {ancestral.__version__} in {Path(ancestral.__file__).parent}")
    check_imports(extra)
    check_bundles(folder, "onnxruntime")
    with tempfile.TemporaryDirectory() as work:
        check_commands(folder, Path(work))
        if extra != "cpu":
            check_bundles(folder, "torch")
            check_training(Path(work))


if __name__ == "__main__":
    main(sys.argv[1:])
