"""What is installed: which backends may run, and what to install for a command."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.errors import BackendUnavailable

if TYPE_CHECKING:
    from ancestral.engine.backends import BackendName


def require(command: str, packages: Sequence[str], extra: str) -> None:
    """Check that the packages of a command are here.

    Raises:
        BackendUnavailable: with what to install.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise BackendUnavailable(
            f"`ancestral {command}` needs {', '.join(missing)}: pip install 'ancestral[{extra}]'"
        )


def installed_backends(device: str = "cpu") -> tuple["BackendName", ...]:
    """The backends whose runtime is installed, in the order of `BACKENDS`.

    On GPUs alone: triton and tensorrt.

    Raises:
        BackendUnavailable: none is.
    """
    from ancestral.engine.backends import BACKENDS, INSTALL, missing

    fit = (name for name in BACKENDS if device != "cpu" or name not in {"triton", "tensorrt"})
    found = tuple(name for name in fit if missing(name) is None)
    if not found:
        ways = "; ".join(f"{name}: {INSTALL[name]}" for name in BACKENDS)
        raise BackendUnavailable(f"no backend is installed here; install one of them. {ways}")
    return found


def backends_for(bundle: Path, device: str = "cpu") -> tuple["BackendName", ...]:
    """The installed backends that compute in a bundle's type; tensorrt where it has plans here.

    Raises:
        BundleError: the bundle is not sound.
        BackendUnavailable: there is none.
        PlanError: the folder of plans is not the user's alone.
    """
    from ancestral.bundles.bundle import Bundle
    from ancestral.engine.backends import BACKENDS, INSTALL, computes_in

    manifest = Bundle.open(bundle).manifest
    dtype, weights = manifest.dtype, manifest.files[manifest.weights].sha256
    found = tuple(
        name
        for name in installed_backends(device)
        if computes_in(name, dtype) and (name != "tensorrt" or _has_plans(weights))
    )
    if not found:
        ways = "; ".join(f"{n}: {INSTALL[n]}" for n in BACKENDS if computes_in(n, dtype))
        raise BackendUnavailable(
            f"{bundle}: no backend is installed here that computes in {dtype}. {ways}"
        )
    return found


def _has_plans(weights: str) -> bool:
    """Whether `ancestral compile` made a plan here with weights of that hash."""
    from ancestral.plans.store import PlanStore

    return any(record.key.weights_sha256 == weights for record in PlanStore().records()[0])
