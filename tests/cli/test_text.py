"""Text in, text out: `sample --prompt`, `log-prob --text`, and `info` of a text model."""

import json
import math
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.text.tokenizer import Tokenizer
from tests.tamper import add_file, change_manifest, copied
from tests.text_toys import END

from .conftest import Bundles, Cli, refused
from .test_imports import WITHOUT
from .test_imports import run as run_in_process

PROMPTS = ("the cat sat", "a", "one two three four")


@pytest.fixture(scope="module")
def bundle(bundles: Bundles) -> Path:
    return bundles("text")


@pytest.fixture(scope="module")
def engine(bundle: Path) -> AutoregressiveEngine:
    engine = Engine.load(bundle, threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    return engine


@pytest.fixture(scope="module")
def tokenizer(engine: AutoregressiveEngine) -> Tokenizer:
    return engine.tokenizer()


def all_prompts() -> list[str]:
    return [option for text in PROMPTS for option in ("--prompt", text)]


def test_one_prompt(
    cli: Cli, bundle: Path, engine: AutoregressiveEngine, tokenizer: Tokenizer
) -> None:
    result = cli("sample", bundle, "--prompt", "the cat", "--max-new", 6, "--seed", 2)
    assert result.code == 0, result.err
    (row,) = engine.generate([tokenizer.encode("the cat")], 6, seed=2)
    tokens = row.tokens[:-1] if row.ended == "stop" else row.tokens
    assert result.out == "the cat" + tokenizer.decode(tokens.tolist()) + "\n"
    assert f"mean log p {row.log_p.mean():.3f} nats/token" in result.err
    assert f"{len(row.tokens)} tokens drawn" in result.err


def test_several_prompts(
    cli: Cli, bundle: Path, engine: AutoregressiveEngine, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Each prompt has n continuations in a row; the npz has the engine's numbers, padded."""
    out = tmp_path / "out.npz"
    arguments = ["sample", bundle, *all_prompts(), "-n", 2, "--first-index", 5, "-o", out]
    result = cli(*arguments, "--max-new", 4, "--batch", 4)
    assert result.code == 0, result.err
    assert result.out == ""
    got = np.load(out)
    ids = [tokenizer.encode(text) for text in PROMPTS for _ in range(2)]
    rows = engine.generate(ids, 4, first_index=5)
    assert got["ended"].tolist() == [row.ended for row in rows]
    assert int(got["first_index"]) == 5
    for i, row in enumerate(rows):
        start, end = int(got["prompt_length"][i]), int(got["length"][i])
        assert got["x"][i, :start].tolist() == ids[i]
        assert got["x"][i, start:end].tolist() == row.tokens.tolist()
        assert (got["x"][i, end:] == -1).all()
        np.testing.assert_allclose(got["log_p"][i, start:end], row.log_p, atol=1e-5)
        np.testing.assert_allclose(got["log_q"][i, start:end], row.log_q, atol=1e-5)
        np.testing.assert_allclose(got["log_p"][i, :start], row.prompt_log_p, atol=1e-5)
        assert (got["log_p"][i, end:] == 0).all()


def test_file_of_prompts_and_ids(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    """The order is --prompt, the file's lines, --prompt-ids; an empty line is an empty prompt."""
    file = tmp_path / "prompts.txt"
    file.write_bytes("café\r\n\nthe dog\n".encode())
    options = ["--max-new", 2, "--prompt-ids", "84 260", "--prompts", file, "--prompt", "one"]
    result = cli("sample", bundle, *options, "-o", tmp_path / "out.txt")
    assert result.code == 0, result.err
    text = (tmp_path / "out.txt").read_text()
    heads = re.findall(r"^=== sample (\d): log p -[\d.]+ nats, (\w+) ===$", text, re.MULTILINE)
    assert [head[0] for head in heads] == ["0", "1", "2", "3", "4"]
    bodies = re.split(r"(?:^|\n)=== .* ===\n", text)[1:]
    for body, start in zip(bodies, ("one", "café", "", "the dog", "t"), strict=True):
        assert body.startswith(start)


def test_ids_without_a_tokenizer(cli: Cli, bundles: Bundles) -> None:
    llama = bundles("llama")
    result = cli("sample", llama, "--prompt-ids", "1 2 3", "--prompt-ids", "0", "--max-new", 2)
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines()]
    assert [len(line) for line in lines] == [5, 3]
    assert lines[0][:3] == ["1", "2", "3"]
    refused(cli("sample", llama, "--prompt", "text"), "no tokenizer", "--prompt-ids")
    refused(cli("sample", llama, "--prompt-ids", "1", "--stop", "x"), "no tokenizer", "token id")


def test_labels_and_no_start(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    result = cli("sample", bundles("tiny"), "--prompt-ids", "1", "-n", 3, "-o", out)
    assert "labels 0 .. 1 in a cycle" in result.err
    assert np.load(out)["labels"].tolist() == [0, 1, 0]
    result = cli("sample", bundles("startless"), "--prompt-ids", "1 2")
    assert "mean log p(x_2.. | x_1) of a prompt" in result.err
    refused(cli("sample", bundles("startless"), "--prompt-ids", ""), "no start symbol")


@pytest.mark.parametrize("by", ["text", "id"])
def test_stop(
    cli: Cli, bundle: Path, engine: AutoregressiveEngine, tokenizer: Tokenizer, by: str
) -> None:
    """`--stop` ends the text, is not shown, and replaces the bundle's stop tokens."""
    (row,) = engine.generate([[84]], stop=(), seed=1)
    stop = next(i for i in row.tokens.tolist() if len(tokenizer.encode(tokenizer.decode([i]))) == 1)
    value = tokenizer.decode([stop]) if by == "text" else stop
    result = cli("sample", bundle, "--prompt-ids", "84", "--seed", 1, "--stop", value)
    assert result.code == 0, result.err
    before = row.tokens[: row.tokens.tolist().index(stop)].tolist()
    assert result.out == tokenizer.decode([84, *before]) + "\n"
    assert "ended: 1 at a stop token" in result.err
    refused(cli("sample", bundle, "--prompt", "a", "--stop", "zzqq"), "one token", "'zzqq'")
    assert cli("sample", bundle, "--prompt", "a", "--stop", END).code == 0


def test_stream_shows_the_same(cli: Cli, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--stream` prints the same text in parts; by default text streams only to a terminal."""
    arguments = ["sample", bundle, "--prompt", "café", "--seed", 3]
    whole = cli(*arguments)
    assert cli(*arguments, "--stream").out == whole.out
    from ancestral.cli import generation

    monkeypatch.setattr(generation.sys.stdout, "isatty", lambda: True, raising=False)
    assert generation._streams(generation.Prompts(), "-", 1)
    assert not generation._streams(generation.Prompts(), "-", 2)
    assert not generation._streams(generation.Prompts(), "out.txt", 1)
    assert not generation._streams(generation.Prompts(stream=False), "-", 1)


def test_ids_stream(cli: Cli, bundles: Bundles) -> None:
    arguments = ["sample", bundles("llama"), "--prompt-ids", "1 2", "--seed", 3]
    assert cli(*arguments, "--stream").out == cli(*arguments).out


def interrupt_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send Ctrl-C when the loop reads its tokens for the given time, counted from 1."""
    from ancestral.engine.prompt_batch import PromptBatch

    real, looks = PromptBatch._look, 0
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def look(self: Any, *arguments: Any) -> None:
        nonlocal looks
        looks += 1
        if looks == call:
            signal.raise_signal(signal.SIGINT)
        real(self, *arguments)

    monkeypatch.setattr(PromptBatch, "_look", look)


def test_interrupt_keeps_what_is_finished(
    cli: Cli, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.npz"
    interrupt_at(3, monkeypatch)
    options = ["--max-new", 2, "--batch", 1, "--stop", 1]
    result = cli("sample", bundle, *all_prompts(), *options, "-o", out)
    assert result.code == 130
    assert "2 of 3 continuations were finished" in result.err
    assert len(np.load(out)["x"]) == 2


def test_interrupt_of_a_stream(cli: Cli, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text shown before an interrupt ends with a line end."""
    arguments = ["sample", bundle, "--prompt", "one", "--stop", 1, "--stream"]
    whole = cli(*arguments).out
    interrupt_at(3, monkeypatch)
    result = cli(*arguments)
    assert result.code == 130
    assert "interrupted" in result.err
    assert result.out[-1] == "\n"
    assert 3 < len(result.out) < len(whole)
    assert whole.startswith(result.out[:-1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prompt", "the " * 40], ["prompt 0", "at most 24 tokens", "shorten"]),
        (["--prompt-ids", "1 x"], ["--prompt-ids", "'1 x'"]),
        (["--prompt-ids", "293"], ["0 .. 292, got 293"]),
        (["--prompt", "a", "--max-new", "0"], ["--max-new"]),
        (["--prompt", "a", "-n", "0"], ["n: expected an integer"]),
        (["--prompt", "a", "--stop", "293"], ["stop", "0 .. 292"]),
        (["--prompt", "a", "--stream", "-n", "2"], ["--stream", "got 2"]),
        (["--prompt", "a", "-o", "out.png"], [".npz or .txt"]),
        (["--prompt", "a", "--particles", "3"], ["--particles", "not used with a prompt"]),
        (["--prompts", "nowhere.txt"], ["nowhere.txt"]),
        (["--max-new", "3"], ["--max-new", "only used with a prompt"]),
        (["--prompt", "caf\udcc3"], ["a lone surrogate"]),
    ],
)
def test_refused(cli: Cli, bundle: Path, options: list[str], words: list[str]) -> None:
    refused(cli("sample", bundle, *options), *words)


def test_prompts_that_are_not_text(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"caf\xe9\n")
    refused(cli("sample", bundle, "--prompts", file), "UTF-8")
    file.write_bytes(b"")
    refused(cli("sample", bundle, "--prompts", file), "the file is empty")


def numbers(out: str) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in out.splitlines()}


def test_log_prob_of_a_text(
    cli: Cli, bundle: Path, engine: AutoregressiveEngine, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    text = "the café sat on the log 😀\n" * 4
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    out = tmp_path / "out.npz"
    result = cli("log-prob", bundle, "--text", tmp_path / "text.txt", "--stride", 7, "-o", out)
    assert result.code == 0, result.err
    ids, got, printed = tokenizer.encode(text), np.load(out), numbers(result.out)
    found = engine.text_likelihood(ids, 7)
    assert got["ids"].tolist() == ids
    np.testing.assert_allclose(got["log_prob"], found.log_prob, atol=1e-5)
    assert got["seen"].tolist() == found.seen.tolist()
    sizes = tuple(int(printed[name]) for name in ("tokens", "context", "stride"))
    assert sizes == (len(ids), 24, 7)
    nats = float(printed["nats"])
    assert nats == pytest.approx(found.total, abs=1e-3)
    assert float(printed["nats/token"]) == pytest.approx(nats / len(ids), rel=1e-5)
    assert float(printed["perplexity"]) == pytest.approx(math.exp(-nats / len(ids)), rel=1e-4)
    size = len(text.encode())
    assert float(printed["bits/byte"]) == pytest.approx(-nats / math.log(2) / size, rel=1e-4)
    assert "at least 17 before it" in result.out
    assert "other tokenisations of the same text" in result.err


def test_log_prob_of_ids(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(20) % 4)
    result = cli("log-prob", bundles("startless"), "--ids", tmp_path / "ids.npy")
    assert result.code == 0, result.err
    assert "given the first token" in result.out
    assert "log p(x_2.. | x_1)" in result.out
    assert "bits/byte" not in result.out
    assert numbers(result.out)["tokens"] == "19"


def test_log_prob_refused(cli: Cli, bundle: Path, bundles: Bundles, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"")
    refused(cli("log-prob", bundle, "--text", text), "is empty")
    text.write_bytes(b"caf\xe9")
    refused(cli("log-prob", bundle, "--text", text), "UTF-8")
    text.write_bytes(b"the cat")
    refused(cli("log-prob", bundles("llama"), "--text", text), "no tokenizer", "--ids")
    refused(cli("log-prob", bundle, "--text", text, "--stride", 25), "stride", "1 .. 24, got 25")
    refused(cli("log-prob", bundle, "--text", text, "--ids", text), "one of", "got 2")
    refused(cli("log-prob", bundle), "one of", "got 0")
    np.save(tmp_path / "x.npy", np.zeros((1, 24), np.int64))
    refused(cli("log-prob", bundle, tmp_path / "x.npy", "--stride", 3), "--stride")
    refused(cli("log-prob", bundle, "--text", tmp_path / "nowhere.txt"), "nowhere.txt")


def test_info(cli: Cli, bundle: Path, bundles: Bundles) -> None:
    document = json.loads(cli("info", bundle, "--json").out)
    assert (document["context"], document["vocabulary"], document["start"]) == (24, 293, 0)
    assert document["data"]["tokenizer"] == "tokenizers"
    assert document["data"]["stop"] == [0]
    assert document["cache_bytes_per_position"] == 2 * 24 * 4
    shown = cli("info", bundle).out
    for words in ("24 positions", "293 values", "token 0", "tokenizers, ends at 0", "192 bytes/"):
        assert words in shown
    assert "no start symbol: the first value must be given" in cli("info", bundles("startless")).out
    assert json.loads(cli("info", bundles("startless"), "--json").out)["start"] is None
    assert "a learned start symbol" in cli("info", bundles("tiny")).out
    assert "vocabulary" not in cli("info", bundles("bernoulli")).out


def test_words(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    words = copied(bundles("llama"), tmp_path)
    add_file(words, "vocab.txt", b"the\ncat\nsat\n<unk>\n", tokenizer="words")
    result = cli("sample", words, "--prompt", "the dog", "--max-new", 3)
    assert result.code == 0, result.err
    assert result.out.startswith("the <unk> ")
    assert len(result.out.split()) == 5


def test_palette_colours_the_picture(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    copy = copied(tiny_bundle, tmp_path)
    palette = [[200, 0, 0], [0, 150, 3], [1, 2, 250]]

    def coloured(values: dict[str, Any]) -> None:
        values["data"]["palette"] = palette

    change_manifest(copy, coloured)
    assert cli("sample", copy, "-n", 1, "-o", tmp_path / "out.png").code == 0
    (x,) = Engine.load(copy, threads=1).sample(1, labels=0).x
    with Image.open(tmp_path / "out.png") as picture:
        pixels = np.asarray(picture)
    assert [pixels[10, 10 + 16 * i].tolist() for i in range(3)] == [palette[v] for v in x[0]]


def test_text_without_torch(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat")
    code = f"""{WITHOUT}
bundle = {str(bundle)!r}
codes = [
    run(["sample", bundle, "--prompt", "the cat", "--stream"]),
    run(["sample", bundle, "--prompt", "the cat", "-o", "out.npz"]),
    run(["log-prob", bundle, "--text", "text.txt"]),
]
sys.modules["tokenizers"] = None
codes += [
    run(["info", bundle]),
    run(["sample", bundle, "-n", "1"]),
    run(["sample", bundle, "--prompt", "the cat"]),
]
print(codes, file=sys.stderr)
"""
    result = run_in_process(code, tmp_path)
    lines = result.stderr.strip().splitlines()
    assert lines[-1] == "[0, 0, 0, 0, 0, 2]", result.stderr
    assert "pip install 'ancestral[text]'" in lines[-2]
