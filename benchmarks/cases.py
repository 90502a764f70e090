"""The models that are measured: given shapes, random weights, exported once and kept.

    python -m benchmarks.cases W1 W2        export these cases, and the baseline's graphs

The folder name contains a hash of the exporting code: if that code changes, the case is exported
again.
"""

import argparse
import functools
import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine import CHECKOUT

if TYPE_CHECKING:
    from ancestral.train.models.families import Model
    from ancestral.train.models.graphs import GraphName

BUNDLES = CHECKOUT / "benchmarks" / ".bundles"
GRAPHS: "tuple[GraphName, ...]" = ("log_prob", "logits", "redraw", "step", "step_filtered")
"""Graphs of every case; a case with a prefix has `prefill` too."""
_SOURCES = (
    "benchmarks/plain_graph.py",
    "export/**/*.py",
    "src/ancestral/dataspec.py",
    "src/ancestral/bundles/manifest.py",
    "src/ancestral/philox.py",
    "src/ancestral/signature.py",
    "src/ancestral/step_tensors.py",
    "train/likelihoods/*.py",
    "train/models/*.py",
    "triton_kernels/**/*.py",
)
"""The code that determines an exported case."""


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and how it is sampled.

    Attributes:
        name: name on the command line and in the rows.
        about: description.
        config: fields of the model's configuration.
        family: family of the model.
        event_shape: shape of one event.
        levels: number of values.
        prefix: number of given positions.
        batches: batch sizes.
        shares: the case that this case shares its weights with; only the event is longer.
        plain: whether to export the baseline's graph too, for Transformers only. The other
            families are compared with running the whole network at every position.
        published: speedup of cached sampling that others published, in words, or "".
        tokenizer: tokenizer of its text; None if its values are not text.
    """

    name: str
    about: str
    config: Mapping[str, Any]
    family: str = "transformer"
    event_shape: tuple[int, ...] = (28, 28)
    levels: int = 256
    prefix: int = 0
    batches: tuple[int, ...] = (1,)
    shares: str | None = None
    plain: bool = False
    published: str = ""
    tokenizer: str | None = None

    @property
    def length(self) -> int:
        """Number of positions of an event."""
        return math.prod(self.event_shape)

    @property
    def graphs(self) -> "tuple[GraphName, ...]":
        """Names of the graphs that are exported."""
        return (*GRAPHS, "prefill") if self.prefix else GRAPHS

    @property
    def large_vocabulary(self) -> bool:
        """Whether there are 50,000 values or more.

        Then the limits on memory and loading apply, and 8 rows must be faster than the plain loop.
        """
        return self.levels >= 50_000


GPT2 = {"width": 768, "layers": 12, "heads": 12, "activation": "gelu_tanh", "tied": True}
_W2 = {"width": 128, "layers": 4, "heads": 4}
_WAVENET = {"width": 64, "skip": 256, "dilations": tuple(2**i for i in range(10))}
_PIXELCNN = {"width": 64, "layers": 7, "first_kernel": 7, "hidden": 256}
_GRU = {"width": 256, "layers": 2}
_TABLE = {"neighbours": ((-1, 0), (0, -1)), "cells": 16}
_LLAMA = {
    "width": 256,
    "layers": 4,
    "heads": 8,
    "kv_heads": 4,
    "hidden": 688,
    "positions": "rotary",
    "norm": "rms",
    "activation": "swiglu",
    "bias": False,
}
_TINY = {"width": 16, "layers": 1, "heads": 2}
_ABOUT = {
    "W1": "GPT-2 small's shape: 12 layers, width 768, 12 heads, 50,257 values; 16 + 64",
    "W2": "4 layers, width 128, 4 heads, 256 values, 784 positions",
    "digits": "4 layers, width 96, 4 heads, 17 values, 64 positions",
    "W2-long": "W2 with a cache 8 times longer",
    "wavenet": "WaveNet: 10 layers, receptive field 1,024, width 64, 256 values, 784 positions",
    "pixelcnn": "Gated PixelCNN: 7 layers, width 64, 256 values, 28 x 28",
    "pixelcnn-rgb": "the same on 32 x 32 x 3",
    "gru": "GRU: 2 layers, width 256, 256 values, 784 positions",
    "lstm": "LSTM: 2 layers, width 256, 256 values, 784 positions",
    "table": "a table over the upper and the left value, 16 cells each, 784 positions",
    "bulk-table": "a table over the upper and the left value: 16 values, 16 positions",
    "llama": "Llama's parts: 4 layers, width 256, 8 heads, 4,096 values, 512 positions",
    "gpt2": "GPT-2 small's shape: 12 layers, width 768, 12 heads, 50,257 values, 512 positions",
    "served": "Llama's parts: 4 layers, width 256, 8 heads, text of bytes, 512 positions",
    "tiny": "1 layer, width 16, 5 values, 12 positions: a rehearsal, not a result",
    "tiny-long": "tiny with a cache 8 times longer",
}
_PUBLISHED = {
    "wavenet": "21 times on a GPU (arXiv:1704.06001)",
    "pixelcnn": "183 times for PixelCNN++ on a GPU (arXiv:1704.06001)",
}


def _case(name: str, family: str, config: Mapping[str, Any], *batches: int, **more: Any) -> Case:
    published = _PUBLISHED.get(family, "")
    return Case(name, _ABOUT[name], config, family, batches=batches, published=published, **more)


_W1 = {"event_shape": (80,), "levels": 50_257, "prefix": 16, "plain": True}
_ALL = (
    _case("W1", "transformer", GPT2 | {"start": 50_256}, 1, 8, 32, **_W1),
    _case("W2", "transformer", _W2, 1, 16, 64, plain=True),
    _case("digits", "transformer", _W2 | {"width": 96}, 1, 16, event_shape=(8, 8), levels=17),
    _case("W2-long", "transformer", _W2, 1, 16, event_shape=(8 * 784,), shares="W2"),
    _case("wavenet", "wavenet", _WAVENET, 1, 16, 64),
    _case("pixelcnn", "pixelcnn", _PIXELCNN, 1, 16, 64),
    _case("pixelcnn-rgb", "pixelcnn", _PIXELCNN, 1, 16, event_shape=(32, 32, 3)),
    _case("gru", "recurrent", _GRU, 1, 64),
    _case("lstm", "recurrent", _GRU | {"cell": "lstm"}, 1, 64),
    _case("table", "table", _TABLE, 1, 64),
    _case("bulk-table", "table", _TABLE, 256, event_shape=(4, 4), levels=16),
    _case("llama", "transformer", _LLAMA, 16, event_shape=(512,), levels=4096),
    _case("gpt2", "transformer", GPT2, 16, event_shape=(512,), levels=50_257),
    _case("served", "transformer", _LLAMA, 16, event_shape=(512,), tokenizer="bytes", prefix=16),
    _case("tiny", "transformer", _TINY, 1, 3, event_shape=(3, 4), levels=5, prefix=3, plain=True),
    _case("tiny-long", "transformer", _TINY, 1, event_shape=(96,), levels=5, shares="tiny"),
)
CASES = {case.name: case for case in _ALL}


def model(case: Case) -> "Model":
    """Return the model of a case in evaluation mode, with the weights of seed 0.

    If it shares another case's weights, only its position table is longer.
    """
    import torch

    from ancestral.dataspec import DataSpec
    from ancestral.train.models.families import build_model, config_from_json

    torch.manual_seed(0)
    data = DataSpec(
        name=case.name,
        event_shape=case.event_shape,
        levels=case.levels,
        tokenizer=case.tokenizer,
    )
    made = build_model(config_from_json(case.family, case.config), data).eval()
    if case.shares is not None:
        weights = model(CASES[case.shares]).state_dict()
        short = weights.pop("inputs.position.weight")
        made.load_state_dict(weights, strict=False)
        with torch.no_grad():
            made.inputs.position.weight[: len(short)] = short
    return made


def bundle(case: Case) -> Path:
    """Return the path of the case's bundle; another process exports it if it is missing."""
    return _ready(case) / "bundle"


def plain_graph(case: Case) -> Path:
    """Return the path of the baseline's graph; another process exports it if it is missing."""
    return _ready(case) / "plain" / "model.onnx"


def _ready(case: Case) -> Path:
    # In another process, so that the one that measures does not import PyTorch.
    folder = bundle_folder(case)
    if not folder.is_dir():
        command = [sys.executable, "-m", "benchmarks.cases", case.name, "--key", _key(case.name)]
        subprocess.run(command, cwd=CHECKOUT, check=True)
    return folder


def bundle_folder(case: Case) -> Path:
    """Return the folder of a case, whose name changes with the case and the exporting code."""
    return BUNDLES / f"{case.name}-{_key(case.name)}"


@functools.cache
def _key(name: str) -> str:
    """Return 12 hex digits that hash the case and the exporting code, read once per process."""
    case = CASES[name]
    shape = [case.family, case.config, case.event_shape, case.levels, case.shares, case.plain]
    text = [] if case.tokenizer is None else [case.tokenizer]
    digest = hashlib.sha256(json.dumps([*shape, case.graphs, *text]).encode())
    for content in exporting_code():
        digest.update(content)
    return digest.hexdigest()[:12]


def exporting_code() -> Iterator[bytes]:
    """Yield the path and the content of each file that determines an exported case."""
    for file in sorted(file for part in _SOURCES for file in CHECKOUT.glob(part)):
        yield str(file.relative_to(CHECKOUT)).encode() + file.read_bytes()


def export(case: Case, folder: Path) -> None:
    """Export a case, and remove what older code exported."""
    from ancestral.export.bundle import export_bundle
    from ancestral.train.models.transformer import Transformer
    from benchmarks.plain_graph import export_plain

    made = model(case)
    BUNDLES.mkdir(exist_ok=True)
    (BUNDLES / ".gitignore").write_text("*\n")
    for old in BUNDLES.glob(f"{case.name}-{'[0-9a-f]' * 12}*"):
        shutil.rmtree(old)
    work = folder.with_suffix(".part")
    export_bundle(
        made,
        work / "bundle",
        graphs=case.graphs,
        progress=lambda line: print(f"{case.name}: {line}"),
    )
    if isinstance(made, Transformer) and case.plain:
        print(f"{case.name}: the baseline's graph")
        export_plain(made, work / "plain" / "model.onnx")
    work.rename(folder)


def main() -> None:
    """Export the cases on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["W1", "W2", "W2-long"], metavar="case")
    parser.add_argument("--key", help="hash in the folder's name; default: of the current code")
    options = parser.parse_args()
    for case in [CASES[name] for name in options.cases]:
        folder = BUNDLES / f"{case.name}-{options.key}" if options.key else bundle_folder(case)
        if not folder.is_dir():
            export(case, folder)


if __name__ == "__main__":
    main()
