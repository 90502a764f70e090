"""Run likelihood models on every backend with the probabilities that they have in PyTorch.

    load(path, backend="onnxruntime", **options)   load a bundle on a backend; returns an Engine
    export_bundle(model, path, ...)                 export a model to a bundle
    Sampling(temperature, top_k, top_p, min_p)      settings of a draw
    AncestralError, InvalidInput, ...               exceptions, see `ancestral.errors`

Each name is imported on first use: `import ancestral` does not import torch, onnx or numpy.
Everything else is in the packages `ancestral.train`, `.export` and `.engine`.

>>> import ancestral
>>> ancestral.Sampling(temperature=0.7).temperature
0.7
"""

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

__version__ = "0.1.0"

_ERRORS = (
    "AncestralError",
    "BackendUnavailable",
    "BundleError",
    "CheckpointError",
    "ExportError",
    "InvalidInput",
    "NotADistribution",
    "ParityError",
    "PlanError",
    "TrainingError",
)
_PLACES = {
    "Sampling": "ancestral.sampling:Sampling",
    "export_bundle": "ancestral.export.bundle:export_bundle",
    "load": "ancestral.engine:Engine.load",
    **{name: f"ancestral.errors:{name}" for name in _ERRORS},
}
"""Module and attribute of each public name; `__init__.pyi` has their types."""


def __getattr__(name: str) -> Any:
    """Import a name of `_PLACES` on first use.

    Raises:
        AttributeError: `name` is not in `_PLACES`.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_PLACES[name])


def __dir__() -> list[str]:
    """List the public names, for completion at an interactive prompt."""
    return sorted({*globals(), *_PLACES} - {"Any", "Path", "resolve_name"})


def _check_links(package: Path) -> None:
    """Refuse a checkout in which the symbolic links are plain files or missing.

    Raises:
        ImportError: one of the four folders is not a directory; the message says how to fix it.
    """
    folders = ("train", "export", "engine", "triton_kernels")
    missing = [folder for folder in folders if not (package / folder).is_dir()]
    if missing:
        raise ImportError(
            f"{package}: no directory {', '.join(missing)}; this checkout has no symbolic links"
            " (Linux and macOS are supported). Create them in its root:"
            " git config core.symlinks true && git checkout -- src/ancestral"
        )


_check_links(Path(__file__).parent)
