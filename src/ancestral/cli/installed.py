"""Installed packages: which backends can run, and what to install for a command."""

from collections.abc import Sequence
from pathlib import Path

from ancestral.errors import BackendUnavailable
from ancestral.plans.modules import is_there


def require(command: str, packages: Sequence[str], extra: str) -> None:
    """Check that the packages of a command are installed.

    Raises:
        BackendUnavailable: a package is missing; the error says what to install.
    """
    missing = [name for name in packages if not is_there(name)]
    if missing:
        what = f"{' and '.join(missing)} package{'s' if len(missing) > 1 else ''}"
        raise BackendUnavailable(
            f"`ancestral {command}` needs the {what}: pip install 'ancestral[{extra}]'"
        )


def installed_backends(device: str = "cpu") -> tuple[str, ...]:
    """Return the backends whose packages are installed; on the CPU, only those that need no GPU.

    Raises:
        BackendUnavailable: no backend is installed.
    """
    from ancestral.engine.backends import BACKENDS

    entries = BACKENDS.values()
    fit = (entry for entry in entries if device != "cpu" or not entry.gpu_only)
    found = tuple(entry.name for entry in fit if entry.missing is None)
    if not found:
        ways = "; ".join(f"{entry.name}: {entry.install}" for entry in entries)
        raise BackendUnavailable(f"no backend is installed; install one of these: {ways}")
    return found


def backends_for(bundle: Path, device: str = "cpu") -> tuple[str, ...]:
    """Return the installed backends that compute in a bundle's type; tensorrt only if compiled.

    Raises:
        BundleError: the bundle is damaged.
        BackendUnavailable: no installed backend computes in the bundle's type.
        PlanError: the folder of plans is not private to this user.
    """
    from ancestral.bundles.bundle import Bundle
    from ancestral.engine.backends import BACKENDS
    from ancestral.plans.store import PlanStore

    manifest = Bundle.open(bundle).manifest
    dtype, weights = manifest.dtype, manifest.files[manifest.weights].sha256
    fit = [entry for entry in BACKENDS.values() if entry.computes_in(dtype)]
    installed = installed_backends(device)
    found = tuple(
        entry.name
        for entry in fit
        if entry.name in installed and (not entry.compiled or PlanStore().modules(weights))
    )
    if not found:
        ways = "; ".join(f"{entry.name}: {entry.install}" for entry in fit)
        raise BackendUnavailable(
            f"{bundle}: no installed backend computes in {dtype}; install one of these: {ways}"
        )
    return found
