"""docs/own-model.md: its blocks run in order, print what they say, and keep the probabilities."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "own-model.md"
TEXT = DOCUMENT.read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The names that the blocks leave, and `printed`: the lines; in the folder that they ran in."""
    printed: list[str] = []
    names: dict[str, Any] = {
        "__name__": "own_model",
        "print": lambda *values: printed.append(" ".join(map(str, values))),
    }
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.chdir(tmp_path_factory.mktemp("own_model"))
        for block in blocks("python"):
            exec(compile(block, str(DOCUMENT), "exec"), names)
        yield names | {"printed": printed}


def test_prints_what_it_says(ran: dict[str, Any]) -> None:
    said = re.findall(r"^print\(.*\)  # (.*)$", "\n".join(blocks("python")), flags=re.MULTILINE)
    assert len(said) >= 7
    assert ran["printed"] == said


@pytest.mark.parametrize("name", ["engine", "reference"])
def test_passes_verify(ran: dict[str, Any], name: str) -> None:
    report = ran[name].verify()
    assert report.passed, report.failures
    assert report.backend == {"engine": "onnxruntime", "reference": "torch"}[name]


def test_samples_agree(ran: dict[str, Any]) -> None:
    samples, same = ran["samples"], ran["same"]
    assert samples.x.shape == (100, 12)
    assert np.array_equal(samples.x, same.x)
    moves = np.diff(samples.x, axis=1) % 5
    assert (moves <= 1).mean() > 0.95, "what it learned is drawn"


def test_quotes_the_refusal(ran: dict[str, Any]) -> None:
    assert [quote.split() for quote in blocks("text")] == [ran["refusal"].split()]
    assert not Path("never").exists()


def test_a_matrix_of_nn_linear_is_large(ran: dict[str, Any]) -> None:
    """Large enough that a second one, transposed, would have been refused."""
    from ancestral.export.weights import INLINE

    weight = ran["model"].hidden.weight
    assert weight.numel() * weight.element_size() > INLINE
