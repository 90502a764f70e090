"""Bundles with text: each way to begin a text, each kind of cache, and every graph."""

import fcntl
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine
from ancestral.export.bundle import export_bundle
from ancestral.train.models.families import build_model
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.transformer_config import TransformerConfig
from tests.serve.conftest import Running, Serve
from tests.text_toys import make_text, tokenizer_json
from tests.toys import make, widen

CONTEXT = 40
TOYS = ("text", "gru", "llama", "startless")
"""In all but the first tokens are bytes, and a line feed ends a text."""
WHOLE: tuple[GraphName, ...] = ("log_prob", "logits", "top_log_prob", "step", "step_full")
GRAPHS: dict[str, tuple[GraphName, ...]] = {
    "text": (*WHOLE, "prefill", "redraw", "step_filtered"),
    "gru": (*WHOLE, "step_filtered"),
    "llama": WHOLE,
    "startless": WHOLE,
}
"""Graphs of each toy; one without step_filtered draws with filters if `logprobs` is above 0."""


def _export(toy: str, out: Path) -> None:
    if toy == "text":
        files = {"tokenizer.json": tokenizer_json()}
        export_bundle(make_text(), out, graphs=GRAPHS[toy], files=files)
        return
    config = make(toy).config
    if isinstance(config, TransformerConfig):
        config = replace(config, layers=1)
    data = DataSpec(name=toy, event_shape=(CONTEXT,), levels=256, tokenizer="bytes", stop=(10,))
    torch.manual_seed(5)
    export_bundle(widen(build_model(config, data)).eval(), out, graphs=GRAPHS[toy])


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that exports a toy with text on first use. Processes share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "texts"
    folder.mkdir(exist_ok=True)

    def bundle(toy: str) -> Path:
        with (folder / f"{toy}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / toy).exists():
                _export(toy, folder / toy)
        return folder / toy

    return bundle


@pytest.fixture(scope="session")
def engine_of(texts: Callable[[str], Path]) -> Callable[[str], AutoregressiveEngine]:
    """Return a function that loads a toy with text, without a server."""
    engines: dict[str, AutoregressiveEngine] = {}

    def load(toy: str) -> AutoregressiveEngine:
        if toy not in engines:
            engines[toy] = AutoregressiveEngine.load(texts(toy), threads=1)
        return engines[toy]

    return load


@pytest.fixture(scope="module")
def running(serve: Serve, texts: Callable[[str], Path]) -> Running:
    """A server of all toys with text."""
    return serve(*map(texts, TOYS), slots=4)
