"""docs/own-model.md: blocks run in order, print the output in their comments, and pass verify."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.own_pages import blocks, expected_output, run

PAGE = "own-model.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with run(PAGE, tmp_path_factory.mktemp("own_model")) as names:
        yield names


def test_prints_the_output_in_comments(ran: dict[str, Any]) -> None:
    assert len(expected_output(PAGE)) >= 6
    assert ran["printed"] == expected_output(PAGE)


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
    assert (moves <= 1).mean() > 0.95, "samples do not follow the data"


def test_quotes_the_refusal(ran: dict[str, Any]) -> None:
    assert [quote.split() for quote in blocks(PAGE, "text")] == [ran["refusal"].split()]
    assert not Path("never").exists()


def test_matrix_of_nn_linear_is_large(ran: dict[str, Any]) -> None:
    """The weight is so large that a second, transposed copy of it would be refused."""
    from ancestral.export.weights import INLINE

    weight = ran["model"].hidden.weight
    assert weight.numel() * weight.element_size() > INLINE
