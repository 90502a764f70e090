"""`--speculate` and its companions: the samples of single steps, a report, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from .conftest import Cli, refused


@pytest.fixture
def corpus(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> Path:
    """Samples of the bundle, with x and labels."""
    out = tmp_path / "corpus.npz"
    assert cli("sample", tiny_bundle, "-n", 40, "--seed", 8, "-o", out).code == 0
    return out


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--speculate", "jacobi"), "jacobi: "),
        (("--speculate", "table", "--corpus", "CORPUS"), "jacobi+table: "),
        (("--speculate", "ngram", "--corpus", "CORPUS", "--block", "4"), "ngram: "),
        (("--draft", "BUNDLE"), "draft: "),
        (("--speculate", "whole"), "whole events: "),
        (("--speculate", "auto"), "drawn step by step: 3 rows"),
    ],
)
def test_samples_stay(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, corpus: Path, options: tuple, name: str
) -> None:
    paths = {"CORPUS": corpus, "BUNDLE": tiny_bundle}
    draw = ("sample", tiny_bundle, "-n", 3, "--seed", 2, "--threads", 1)
    assert cli(*draw, "-o", tmp_path / "plain.npz").code == 0
    given = [paths.get(each, each) for each in options]
    result = cli(*draw, *given, "-o", tmp_path / "found.npz")
    assert result.code == 0, result.err
    assert name in result.err
    plain, found = np.load(tmp_path / "plain.npz"), np.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(found["x"], plain["x"])
    np.testing.assert_allclose(found["log_prob"], plain["log_prob"], atol=1e-5)


def test_continuation_of_text(cli: Cli, bundles: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = bundles("text")
    (tmp_path / "corpus.txt").write_text("the cat sat on the mat. " * 5)
    draw = ("sample", bundle, "--prompt", "the cat", "--seed", 1, "--no-stream", "-o")
    assert cli(*draw, tmp_path / "plain.npz").code == 0
    more = ("--speculate", "ngram", "--corpus", tmp_path / "corpus.txt")
    result = cli(*draw, tmp_path / "found.npz", *more)
    assert result.code == 0, result.err
    assert "ngram: " in result.err
    plain, found = np.load(tmp_path / "plain.npz"), np.load(tmp_path / "found.npz")
    np.testing.assert_array_equal(found["x"], plain["x"])


def test_bench_compares(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    options = ("--backend", "onnxruntime", "--batch", 1, "--rounds", 1, "--threads", 1, "--json")
    result = cli("bench", tiny_bundle, *options, "--draft", tiny_bundle, "--block", 3)
    assert result.code == 0, result.err
    (row,) = json.loads(result.out)["speculation"]
    assert row["proposer"] == "draft"
    assert row["same"] == row["samples"] == 20
    # Blocks of 3 positions, all of whose proposals are right.
    assert (row["positions"], row["calls"]) == (180, 60)
    assert row["acceptance"] == {"3": 1.0}
    assert row["max_abs_nats"] < 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--speculate", "luck"), "--speculate: expected one of auto, jacobi"),
        (("--block", 4), "only used with --speculate"),
        (("--speculate", "jacobi", "--block", 0), "--block: expected an integer in 1"),
        (("--speculate", "table"), "expected --corpus FILE"),
        (("--speculate", "draft"), "expected --draft BUNDLE"),
        (("--speculate", "jacobi", "--draft", "x"), "--draft: expected with --speculate draft"),
        (("--speculate", "jacobi", "--corpus", "x.npz"), "--corpus: only used with"),
        (("--speculate", "ngram", "--corpus", "x.txt"), "the bundle has no tokenizer"),
        (("--speculate", "table", "--corpus", "x.txt"), "expected .npz or .npy events"),
        (("--speculate", "jacobi", "--presence-penalty", 1), "penalties depend on"),
        (("--speculate", "jacobi", "--observed", "OBSERVED", "--particles", 2), "--particles"),
    ],
)
def test_refused(cli: Cli, tiny_bundle: Path, tmp_path: Path, options: tuple, words: str) -> None:
    observed = tmp_path / "observed.npy"
    np.save(observed, np.full((3, 3), -1))
    given = [observed if each == "OBSERVED" else each for each in options]
    refused(cli("sample", tiny_bundle, "-n", 1, *given, "-o", tmp_path / "out.npz"), words)


def test_corpus_of_another_shape(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4), int))
    options = ("--speculate", "table", "--corpus", tmp_path / "x.npy", "-o", tmp_path / "o.npz")
    refused(cli("sample", tiny_bundle, *options), "expected events [3, 3], got [4, 4]")
