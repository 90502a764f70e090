"""A long prefix runs through the step graph in pieces of a few rows, in bounded memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ancestral.engine import Engine
from ancestral.engine.backends import onnxruntime_session as module
from ancestral.engine.budget import positions_in_block, rows_in_block

Bundles = Callable[[str], Path]


@pytest.mark.parametrize("piece", [1, 2, 3])
@pytest.mark.parametrize("toy", ["llama", "startless", "gru"])
def test_pieces(bundles: Bundles, monkeypatch: pytest.MonkeyPatch, toy: str, piece: int) -> None:
    """Pieces give the samples and log-probabilities of whole blocks of all rows."""
    engine = Engine.load(bundles(toy), backend="onnxruntime", threads=1)
    observed = np.full((3, engine.data.length), -1, np.int64)
    observed[:, :-1] = np.arange(3 * (engine.data.length - 1)).reshape(3, -1) % engine.data.levels
    whole = engine.sample(3, observed=observed)
    blocks: list[int] = []

    def few(block: int, levels: int) -> int:
        blocks.append(block)
        return piece

    monkeypatch.setattr(module, "rows_in_block", lambda block, levels: 1)
    monkeypatch.setattr(module, "positions_in_block", few)
    pieces = Engine.load(bundles(toy), backend="onnxruntime", threads=1).sample(
        3, observed=observed
    )
    assert blocks
    assert blocks[0] > piece
    assert np.array_equal(pieces.x, whole.x)
    assert np.allclose(pieces.log_prob, whole.log_prob, rtol=0, atol=1e-5)


def test_sizes() -> None:
    """A block with many logits is cut into pieces; one that fits is not."""
    assert rows_in_block(960, 50_257) == 1
    assert positions_in_block(960, 50_257) == 2**22 // 50_257
    assert positions_in_block(16, 50_257) == 16
    assert positions_in_block(8192, 4) == 64
    assert positions_in_block(9, 2**30) == 1
