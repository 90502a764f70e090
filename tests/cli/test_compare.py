"""`compare`: what it reads, prints and writes, and the sentences for bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.bundles.cost import Cost
from ancestral.cli import installed
from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.engine.losses import compare, windows
from ancestral.files.atomic import sha256

from .conftest import Bundles, Cli, refused, saved

RANDOM = np.random.default_rng(0)
IMAGES, CLASSES = RANDOM.integers(0, 3, (8, 3, 3)), RANDOM.integers(0, 2, 8)
FAST = ("--threads", 1)


def document(cli: Cli, *arguments: object) -> dict[str, Any]:
    result = cli("compare", *arguments, *FAST, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert isinstance(found, dict)
    return found


def test_report(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """One table on standard output; the file and the picture are what the library computes."""
    bundle, data = bundles("tiny"), saved(tmp_path, x=IMAGES, y=CLASSES)
    out, plot = tmp_path / "loss.json", tmp_path / "loss.png"
    options = ["--source-backend", "torch", "--seed", 3, "-o", out, "--plot", plot]
    result = cli("compare", bundle, bundle, "--data", data, *options, *FAST)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert len(lines) < 24
    assert "8 events, 72 positions" in result.out
    found = json.loads(out.read_text())
    engines = [Engine.load(bundle, backend, threads=1) for backend in ("onnxruntime", "torch")]
    expected = compare(*engines, IMAGES, CLASSES, 3)  # type: ignore[call-arg, arg-type]
    cost = expected.cost("given.npz", sha256(data))
    assert Cost(**{name: found[name] for name in Cost.model_fields}) == cost
    assert found["loss_by_unit"] == expected.loss_by_unit.tolist()
    assert expected.kl_by_position is not None
    assert found["kl_by_position"] == expected.kl_by_position.tolist()
    assert f"{cost.loss_nats:+.3e}" in result.out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_itself(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """A bundle loses nothing against itself, and the picture of that has no warning."""
    bundle, data = bundles("tiny"), saved(tmp_path, x=IMAGES)
    plot = ("--plot", tmp_path / "zero.png")
    found = document(cli, bundle, bundle, "--data", data, "--label", 1, "-n", 5, *plot)
    assert (found["events"], found["loss_nats"], found["upper_nats"]) == (5, 0, 0)


def test_idx(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Images in the format of MNIST are read without labels."""
    file = tmp_path / "images-idx3-ubyte"
    head = b"\0\0\x08\x03" + b"".join(each.to_bytes(4, "big") for each in IMAGES.shape)
    file.write_bytes(head + IMAGES.astype(np.uint8).tobytes())
    bundle = bundles("table")
    found = document(cli, bundle, bundle, "--data", file)
    engine = AutoregressiveEngine.load(bundle)
    bits = -engine.log_prob(IMAGES).sum() / (72 * np.log(2))
    assert found["bits_per_dim"] == pytest.approx(bits)
    wrong = cli("compare", bundles("tiny"), bundles("tiny"), "--data", file, *FAST)
    refused(wrong, "`labels` is required")


TEXTS = ("the cat sat on the mat and the dog sat on the log; one two three", "naive people", "ten")


@pytest.mark.parametrize("kind", ["jsonl", "txt"])
def test_texts(kind: str, cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Texts are cut into windows, each a sequence of its own."""
    bundle, file = bundles("text"), tmp_path / f"texts.{kind}"
    texts = list(TEXTS) if kind == "jsonl" else [" ".join(TEXTS)]
    lines = [json.dumps(text if i else {"text": text, "id": 7}) for i, text in enumerate(texts)]
    file.write_text("\n".join(lines) if kind == "jsonl" else texts[0])
    engine = AutoregressiveEngine.load(bundle)
    ids = [engine.tokenizer().encode(text) for text in texts]
    _, lengths = windows(ids, 8)
    total = sum(
        engine.text_likelihood(text[at : at + 8]).total
        for text in ids
        for at in range(0, len(text), 8)
    )
    found = document(cli, bundle, bundle, "--data", file, "--window", 8)
    assert (found["unit"], found["events"]) == ("windows", len(lengths))
    assert found["positions"] == sum(map(len, ids)) == sum(found["positions_by_unit"])
    bits = -total / (found["positions"] * np.log(2))
    assert found["bits_per_dim"] == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize("kind", ["jsonl", "npz"])
def test_scores_of_another_system(kind: str, cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Log p of another system is compared at the positions that it has, the rest are counted."""
    bundle, file = bundles("gru"), tmp_path / f"scores.{kind}"
    engine = AutoregressiveEngine.load(bundle)
    x = RANDOM.integers(0, 4, (5, 6))
    theirs = engine.position_log_prob(x).astype(np.float64) - np.linspace(0.1, 0.3, 5)[:, None]
    theirs[:, 0] = np.nan
    if kind == "npz":
        np.savez(file, ids=x, log_prob=theirs)
    else:
        rows = [
            {"ids": ids.tolist(), "log_prob": [None, *nats[1:].tolist()]}
            for ids, nats in zip(x, theirs, strict=True)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    plot = ("--plot", tmp_path / "loss.png")
    found = document(cli, bundle, file, *plot)
    assert found["loss_nats"] == pytest.approx(-0.2, abs=1e-6)
    assert found["loss_error"] == pytest.approx(np.linspace(0.1, 0.3, 5).std(ddof=1) / 5**0.5)
    assert (found["left_out"], found["positions"]) == (5, 25)
    assert (found["source_sha256"], found["source_backend"], found["kl_mean"]) == (None,) * 3
    assert found["data_sha256"] == sha256(file)


def test_scores_with_a_label(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    bundle, file = bundles("tiny"), tmp_path / "scores.jsonl"
    engine = AutoregressiveEngine.load(bundle)
    nats = engine.position_log_prob(IMAGES, CLASSES).astype(np.float64)
    rows = [
        {"ids": x.ravel().tolist(), "log_prob": each.tolist(), "label": int(y)}
        for x, each, y in zip(IMAGES, nats, CLASSES, strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert document(cli, bundle, file)["loss_nats"] == pytest.approx(0, abs=1e-6)
    assert abs(document(cli, bundle, file, "--label", 1)["loss_nats"]) > 1e-3


def test_bounds(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Latent variable models are compared by bounds, which are called bounds."""
    bundle, data = bundles("bernoulli"), saved(tmp_path, x=IMAGES % 2)
    arguments = ("compare", bundle, bundle, "--data", data, "-k", 8, "--source-backend", "torch")
    result = cli(*arguments, "--plot", tmp_path / "loss.png", *FAST)
    assert result.code == 0, result.err
    assert "loss of the bound (IWAE, k = 8)" in result.out
    assert "upper bounds" in result.out
    assert "KL" not in result.out


def test_bad_options(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """Each is one sentence about what was typed."""
    tiny, text = bundles("tiny"), bundles("text")
    data = saved(tmp_path, x=IMAGES, y=CLASSES)
    scores, texts = tmp_path / "scores.jsonl", tmp_path / "texts.txt"
    scores.write_text('{"ids": [1, 2], "log_prob": [-1, -1]}\n')
    texts.write_text("the cat sat on the mat and the dog sat on the log")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((tiny, tiny), "`--data` is required"),
        ((tiny, tiny, "--data", tmp_path / "none.npz"), "no such file"),
        ((tiny, tmp_path / "none", "--data", data), "none"),
        ((tiny, bundles("table"), "--data", data), "source: expected ordering"),
        ((tiny, bundles("bernoulli"), "--data", data), "of the same kind"),
        ((tiny, tiny, "--data", data, "-n", 1), "-n: expected 2 .. 8"),
        ((tiny, tiny, "--data", data, "-n", 9), "-n: expected 2 .. 8"),
        ((tiny, tiny, "--data", data, "--window", 3), "--window: only used with texts"),
        ((tiny, tiny, "--data", data, "--label", 2), "expected values in 0 .. 1"),
        ((tiny, tiny, "--data", data, "--seed", -1), "--seed: expected"),
        ((tiny, tiny, "--data", data, "-o", "loss.txt"), "ends in .json"),
        ((tiny, tiny, "--data", data, "--plot", "loss.pdf"), "--plot: expected"),
        ((tiny, tiny, "--data", data, "-o", tiny / "loss.json"), "is inside"),
        ((tiny, tiny, "--data", texts), "expected an .npy or .npz"),
        ((text, text, "--data", texts, "--window", 25), "--window: expected 1 .. 24"),
        ((text, text, "--data", texts, "--binarise"), "--binarise: only used with events"),
        ((text, text, "--data", texts), "at least 2 events or windows"),
        ((text, text, "--data", scores), 'an object with the field "text"'),
        ((tiny, scores, "--data", data), "--data: not used with a file of log-prob"),
        ((tiny, scores, "-n", 3), "-n: not used with a file"),
        ((tiny, scores, "--source-backend", "torch"), "--source-backend: only used"),
        ((tiny, scores), "`labels` is required"),
        ((text, scores), "at least 2 events or windows"),
    ]
    for arguments, words in cases:
        refused(cli("compare", *arguments, *FAST), words)


def test_missing_matplotlib(
    cli: Cli, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package is reported before the work, with what to install."""
    monkeypatch.setattr(installed, "is_there", lambda name: name != "matplotlib")
    bundle, plot = bundles("tiny"), tmp_path / "loss.png"
    result = cli("compare", bundle, bundle, "--data", saved(tmp_path, x=IMAGES), "--plot", plot)
    assert result.code != 0
    assert "needs the matplotlib package: pip install 'ancestral[plot]'" in result.err
    assert not plot.exists()
