"""The process of one peer: it converts weights, or answers requests in lines of JSON.

    PYTHON -P -m benchmarks.peers.ctranslate2 convert WEIGHTS FOLDER
    PYTHON -P -m benchmarks.peers.ctranslate2 serve

It runs in the peer's own environment: here, and in the peers' own files, only the standard library,
numpy and the peer are imported. A request is an object with the fields of one method of `Peer` and
its name in "do"; an answer has the result, or "error". The log-probabilities are in nats.
"""

import ctypes
import importlib.metadata
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SEED = 0
UNUSED = 1
"""A value that no prompt and no scored sequence has: onnxruntime-genai needs one for padding."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How values are drawn.

    Attributes:
        temperature: divisor of the logits.
        top_p: mass of the nucleus; 1 draws from all values.
    """

    temperature: float = 1.0
    top_p: float = 1.0


class Peer(Protocol):
    """A program that samples from an autoregressive model."""

    def load(self, folder: Path, threads: int) -> None:
        """Load the converted model, in place of the one that is loaded."""

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        """Draw `new` values after each prompt [b, p], and return them, [b, new]."""

    def log_p(self, tokens: Array) -> Array:
        """Return log p(x_t | x_<t) of tokens [n] except the first, in nats, [n - 1]."""


def log_p_of(logits: Array, tokens: Array) -> Array:
    """Return the log-probabilities of tokens [n], in nats, by logits [n, v]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    taken = np.take_along_axis(wide, tokens[:, None], axis=1)[:, 0]
    return taken - np.log(np.exp(wide).sum(axis=1))


def main(peer: Peer, packages: tuple[str, ...], convert: Callable[[Path, Path], None]) -> None:
    """Run the command on the command line.

    Args:
        peer: the peer, without a model.
        packages: packages whose versions the rows show.
        convert: function that writes the peer's own folder from one of transformers.
    """
    if sys.argv[1] == "convert":
        convert(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    # Libraries print too: their lines go to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    end_with_parent()
    versions = {name: importlib.metadata.version(name) for name in packages}
    for line in sys.stdin:
        try:
            answer = _answer(peer, json.loads(line)) | {"versions": versions}
        except Exception as error:  # noqa: BLE001 - the runner reports it and continues
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(peer: Peer, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    match request["do"]:
        case "load":
            peer.load(Path(request["folder"]), request["threads"])
            return {}
        case "draw":
            prompt = np.array(request["prompt"], np.int64)
            settings = Settings(request["temperature"], request["top_p"])
            begin = time.perf_counter()
            drawn = np.asarray(peer.draw(prompt, request["new"], settings))
            seconds = time.perf_counter() - begin
            expected = (len(prompt), request["new"])
            if drawn.shape != expected:
                raise ValueError(f"draw: expected tokens {expected}, got {drawn.shape}")
            return {"seconds": seconds, "tokens": drawn.tolist()}
        case "log_p":
            return {"log_p": np.asarray(peer.log_p(np.array(request["tokens"]))).tolist()}
        case other:
            raise ValueError(f"do: expected 'load', 'draw' or 'log_p', got {other!r}")


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, even if this process is stopped."""
    if sys.platform == "linux":
        death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)
