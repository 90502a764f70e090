"""A new virtual environment: create it, install into it, check it, remove it."""

import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from tests.install.interpreters import Interpreter
from tests.install.requirements import (
    Extra,
    Versions,
    asked,
    lower_bounds,
    torch_requirements,
)
from tests.install.rows import PACKAGES, Outcome, Row

CHECKS = Path(__file__).with_name("checks.py")
RUNTIMES = ("torch", "onnxruntime")
"""Packages that do not have a wheel for every Python."""
_VERSIONS = """
import importlib.metadata, json, sys
found = {each.metadata["Name"].lower(): each.version for each in importlib.metadata.distributions()}
print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """An installation to check.

    Attributes:
        wheel: wheel of the project.
        bundles: folder that `export_bundles` filled.
        extra: extra of the project.
        versions: which versions pip installs.
    """

    wheel: Path
    bundles: Path
    extra: Extra
    versions: Versions


def try_out(interpreter: Interpreter, what: Installation) -> Row:
    """Install into a new environment, run the checks there, and remove it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "environment"
        outcome, error = _tried(interpreter, what, environment)
        versions = _versions(environment)
    return Row(
        python=interpreter.version,
        extra=what.extra,
        asked=asked(what.extra, what.versions, versions),
        versions=versions,
        outcome=outcome,
        error=error,
        system=f"{platform.system()} {platform.machine()}",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _tried(interpreter: Interpreter, what: Installation, environment: Path) -> tuple[Outcome, str]:
    done = _run([interpreter.path, "-m", "venv", environment])
    if done.returncode != 0:
        return "failed", first_line(done)
    python = environment / "bin" / "python"
    held = environment / "held.txt"
    held.write_text("\n".join(lower_bounds(what.extra)) if what.versions == "oldest" else "")
    pip = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "-c", held]
    for requirement in torch_requirements(what.extra, what.versions):
        done = _run([*pip, requirement])
        if _lacking(done) != "torch":
            break
    if done.returncode == 0:
        done = _run([*pip, f"ancestral[{what.extra}] @ {what.wheel.resolve().as_uri()}"])
    if done.returncode == 0:
        own = {"XDG_CACHE_HOME": str(environment / "cache")}
        done = _run([python, CHECKS, what.extra, what.bundles.resolve()], own)
    if done.returncode == 0:
        return "passed", ""
    lacking = _lacking(done)
    return ("no wheel", f"of {lacking}") if lacking in RUNTIMES else ("failed", first_line(done))


def _run(
    command: Sequence[str | Path], variables: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run a command that sees neither this checkout nor the user's packages."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL"))}
    environment |= {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )


def _lacking(done: subprocess.CompletedProcess[str]) -> str | None:
    """Return the package without a wheel; None if there is none or the index was unreachable."""
    if done.returncode == 0 or "Retrying (Retry(" in done.stderr + done.stdout:
        return None
    found = re.search(r"No matching distribution found for ([\w.-]+)", done.stderr)
    return found[1] if found else None


def first_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first line of the error of a process: from pip, or from the last traceback."""
    if done.returncode < 0:
        return f"killed by signal {-done.returncode}"
    *_, last = done.stderr.split("Traceback (most recent call last):\n")
    lines = [line for line in last.splitlines() if line.strip() and not line.startswith(" ")]
    errors = [line for line in lines if line.startswith("ERROR:")]
    every = [*errors, *lines, *done.stdout.splitlines()[-1:], f"exit status {done.returncode}"]
    return every[0].strip()


def _versions(environment: Path) -> dict[str, str]:
    """Return the versions of `PACKAGES` in an environment, empty if it has no Python."""
    python = environment / "bin" / "python"
    if not python.exists():
        return {}
    done = _run([python, "-c", _VERSIONS, *PACKAGES])
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found
