"""Environments of the peers: a venv for each, with pinned versions, in the folder .peers."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ancestral.errors import AncestralError
from benchmarks.cases import exporting_code
from benchmarks.machine import CHECKOUT, environment
from benchmarks.peers.workloads import FOLDER, Workload, folder, weights

OURS = "ours"
PEERS: Mapping[str, str] = {
    "ctranslate2": "ctranslate2",
    "onnxruntime-genai": "onnxruntime_genai",
    "openvino-genai": "openvino_genai",
    "transformers": "transformers",
}
"""Names of the peers, with the module of each one's process."""
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
UNNEEDED: Mapping[str, tuple[str, ...]] = {"openvino-genai": ("torchvision",)}
"""Packages that are removed again: text needs no torchvision, and one that was built for another
variant of torch (CUDA) cannot be imported."""
_QUIET = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}


class PeerError(AncestralError, RuntimeError):
    """A peer that cannot be installed, cannot convert the model or cannot run it."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How the process of a peer is started.

    Attributes:
        name: name of the peer, or "ours".
        python: interpreter of its environment.
        module: module that the interpreter runs.
        environment: environment variables.
    """

    name: str
    python: Path
    module: str
    environment: Mapping[str, str]

    def command(self, *words: str) -> list[str]:
        """Return the command line with the given last words."""
        return [str(self.python), "-P", "-m", self.module, *words]


def launch(name: str, compute: str = "float32") -> Launch:
    """Return how to start a peer.

    Args:
        name: name of the peer, or "ours".
        compute: type that CTranslate2 computes in.

    Raises:
        PeerError: its environment is missing.
    """
    shown = name if compute == "float32" else f"{name} {compute}"
    if name == OURS:
        return Launch(shown, Path(sys.executable), "benchmarks.peers.ours", environment())
    python = FOLDER / name / "bin" / "python"
    if not _stamp(name).is_file():
        raise PeerError(f"{python}: no such environment; make the environments: make peers")
    # Only the checkout: a peer must not find our packages.
    variables = {**os.environ, **_QUIET, "PYTHONPATH": str(CHECKOUT), "COMPUTE_TYPE": compute}
    return Launch(shown, python, f"benchmarks.peers.{PEERS[name]}", variables)


def _stamp(name: str) -> Path:
    """Return the file that marks a finished environment; it holds its requirements."""
    return FOLDER / name / ".installed"


def install(name: str) -> None:
    """Make the environment of a peer with this Python, if its requirements have changed.

    Raises:
        PeerError: pip failed; the message ends with its last error.
    """
    wanted, stamp = (REQUIREMENTS / f"{name}.txt").read_text(), _stamp(name)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    place = FOLDER / name
    shutil.rmtree(place, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    python = place / "bin" / "python"
    pip = [str(python), "-P", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(name, [sys.executable, "-P", "-m", "venv", str(place)])
    _run(name, [*pip, "-r", str(REQUIREMENTS / f"{name}.txt")])
    for package in UNNEEDED.get(name, ()):
        _run(name, [str(python), "-P", "-m", "pip", "uninstall", "--quiet", "--yes", package])
    stamp.write_text(wanted)


def _run(name: str, command: list[str], variables: Mapping[str, str] | None = None) -> None:
    """Run a command of a peer; its lines are shown only if it fails.

    Raises:
        PeerError: the command failed; the message has its last line.
    """
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PeerError(f"{name}: {last_line(done.stdout)}")


def last_line(text: str) -> str:
    r"""Return the last line with "error" in a program's output, or else its last line.

    >>> last_line("Trying\nERROR: no wheel\nsee the log")
    'ERROR: no wheel'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no output"])[-1]


def converted(name: str, work: Workload) -> Path:
    """Return the folder that a peer loads; its converter writes it if it is missing.

    Raises:
        PeerError: the environment is missing, or the converter failed.
    """
    found = launch(name)
    path = folder(work) / f"{name}-{_version(name)}"
    if path.exists():
        return path
    source = weights(work)
    if name == "onnxruntime-genai" and work.kind == "gpt2":
        _write_genai_graph(work)
    part = path.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    _run(name, found.command("convert", str(source), str(part)), found.environment)
    part.rename(path)
    return path


def _version(name: str) -> str:
    """Return 8 hex digits that hash what converts a model for a program, except for the model."""
    digest = hashlib.sha256()
    if name == OURS:
        for content in exporting_code():
            digest.update(content)
    else:
        digest.update((REQUIREMENTS / f"{name}.txt").read_bytes())
    return digest.hexdigest()[:8]


def _write_genai_graph(work: Workload) -> None:
    """Write the graph of onnxruntime-genai in another process, so that this one has no torch."""
    command = [sys.executable, "-P", "-m", "benchmarks.peers.genai_graph", work.name]
    _run("onnxruntime-genai", command, environment())
