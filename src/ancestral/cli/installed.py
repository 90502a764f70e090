"""What is installed: which backends may run, and what to install for a command."""

import importlib.util
from collections.abc import Sequence
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
    """The backends whose runtime is installed, in the order of `BACKENDS`; triton on GPUs alone.

    Raises:
        BackendUnavailable: none is.
    """
    from ancestral.engine.backends import BACKENDS, INSTALL

    fit = (name for name in BACKENDS if device != "cpu" or name != "triton")
    found = tuple(name for name in fit if importlib.util.find_spec(name) is not None)
    if not found:
        ways = "; ".join(f"{name}: {INSTALL[name]}" for name in BACKENDS)
        raise BackendUnavailable(f"no backend is installed here; install one of them. {ways}")
    return found
