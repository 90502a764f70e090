"""A likelihood model keeps its probabilities, from PyTorch to every backend that samples it.

    load(path, backend="onnxruntime", **options)   a bundle on a backend: its engine
    export_bundle(model, path, ...)                 a model to a bundle
    Sampling(temperature, top_k, top_p, min_p)      how values are drawn
    AncestralError, InvalidInput, ...               what is raised, see `ancestral.errors`

Each name is imported when it is first used: `import ancestral` by itself imports neither torch nor
onnx nor numpy. Everything else is in the packages `ancestral.train`, `.export` and `.engine`.

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
"""Where each name comes from; `__init__.pyi` has their types."""


def __getattr__(name: str) -> Any:
    """A name of `_PLACES`, imported when it is first used.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return resolve_name(_PLACES[name])


def __dir__() -> list[str]:
    """The names that there are, for the completion of an interactive prompt."""
    return sorted({*globals(), *_PLACES} - {"Any", "Path", "resolve_name"})


def _check_links(package: Path) -> None:
    """Refuse a checkout whose links came out as plain files, or not at all.

    Raises:
        ImportError: one of the four folders is no directory; the message says how to mend it.
    """
    folders = ("train", "export", "engine", "triton_kernels")
    missing = [folder for folder in folders if not (package / folder).is_dir()]
    if missing:
        raise ImportError(
            f"expected directories (or links to them) in {package}, got none for"
            f" {', '.join(missing)}: this checkout has no symbolic links. In its root run"
            " 'git config core.symlinks true && git checkout -- src/ancestral'"
            " (Linux and macOS are supported)"
        )


_check_links(Path(__file__).parent)
