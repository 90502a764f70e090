"""docs/own-*.md: the blocks of each page run in order and print the output in their comments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.own_pages import DOCS, expected_output, run

slow = pytest.mark.slow
PAGES = (
    "own-masks.md",
    pytest.param("own-vae.md", marks=slow),
    pytest.param("own-cache.md", marks=slow),
    pytest.param("own-text.md", marks=slow),
)


@pytest.mark.parametrize("page", PAGES)
def test_prints_the_output_in_comments(page: str, tmp_path: Path) -> None:
    with run(page, tmp_path) as names:
        assert len(expected_output(page)) >= 3
        assert names["printed"] == expected_output(page)
        assert names["engine"].backend.name == "onnxruntime"
        _CHECKS[page](names)


def test_every_page_is_run() -> None:
    named = {page if isinstance(page, str) else page.values[0] for page in PAGES}
    assert {path.name for path in DOCS.glob("own-*.md")} == named | {"own-model.md"}


def _masks(names: dict[str, Any]) -> None:
    """Check that probabilities sum to 1, and that the refusal names the method."""
    engine, data = names["engine"], names["data"]
    every = np.array([[int(bit) for bit in f"{i:09b}"] for i in range(2**data.length)])
    total = np.exp(engine.log_prob(every)).sum()
    assert abs(total - 1) < 1e-4, "probabilities do not sum to 1"
    assert "in predict" in names["refusal"]
    assert not Path("never").exists()


def _vae(names: dict[str, Any]) -> None:
    assert names["engine"].verify().passed


def _cache(names: dict[str, Any]) -> None:
    x = names["samples"].x
    assert (x[:, 6:9] == x[:, 3:6]).mean() > 0.8, "samples do not repeat"


def _text(names: dict[str, Any]) -> None:
    found = names["engine"].generate(names["ids"], seed=2)
    assert [len(each.prompt) for each in found] == [2, 3, 1]
    stop = names["words"].index(".")
    assert all((each.tokens[-1] == stop) == (each.ended == "stop") for each in found)
    assert any(each.ended == "stop" for each in found)


_CHECKS = {
    "own-masks.md": _masks,
    "own-vae.md": _vae,
    "own-cache.md": _cache,
    "own-text.md": _text,
}
