"""Programs that others wrote, in an environment of their own: `make test-clients`."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".clients" / "bin" / "python"
_OFFLINE = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
Client = Callable[..., None]

if "CLIENTS" in os.environ:
    # After our own packages, whose versions stay. A client that is missing is an error, not a skip.
    sys.path += map(str, PYTHON.parents[1].glob("lib/python*/site-packages"))
    importlib.import_module("tritonclient.http")


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """Return a function that runs a module of the clients' environment, without a network."""
    assert PYTHON.exists(), f"{PYTHON}: no such environment; make it: make test-clients"
    # A client must not find our packages, nor write to the user's cache.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= _OFFLINE | {"HF_HOME": str(tmp_path / "hf")}

    def run(module: str, *words: object) -> None:
        done = subprocess.run(
            [str(PYTHON), "-P", "-m", module, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]

    return run
