"""`sample` and `log-prob`: they write every form of file, with the engine's numbers."""

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import AutoregressiveEngine, Engine, Sampling
from tests.tamper import change_manifest

from .conftest import Cli, refused


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Engine:
    return Engine.load(tiny_bundle, threads=1)


def test_npz_is_what_the_engine_draws(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine
) -> None:
    out = tmp_path / "made" / "out.npz"
    result = cli("sample", tiny_bundle, "-n", 5, "--label", 1, "--seed", 3, "-o", out)
    assert result.code == 0, result.err
    assert result.out == ""
    got, expected = np.load(out), engine.sample(5, labels=1, seed=3)
    np.testing.assert_array_equal(got["x"], expected.x)
    np.testing.assert_allclose(got["log_prob"], expected.log_prob, rtol=1e-5)
    np.testing.assert_array_equal(got["labels"], np.ones(5))
    assert (int(got["seed"]), int(got["first_index"])) == (3, 0)


def test_labels_take_turns_by_sample_index(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    assert cli("sample", tiny_bundle, "-n", 4, "-o", tmp_path / "a.npz").code == 0
    options = ["-n", 3, "--first-index", 1, "-o", tmp_path / "b.npz"]
    result = cli("sample", tiny_bundle, *options)
    assert "labels 0 .. 1 in a cycle" in result.err
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert a["labels"].tolist() == [0, 1, 0, 1]
    for name in ("x", "labels", "log_prob"):
        np.testing.assert_allclose(b[name], a[name][1:], rtol=1e-5)


def test_filters_reach_the_engine(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert cli("sample", tiny_bundle, "-n", 6, "--temperature", 0, "-o", out).code == 0
    got = np.load(out)
    np.testing.assert_array_equal(got["log_q"], np.zeros(6))
    assert len(np.unique(got["x"][::2], axis=0)) == 1


def test_bias_and_penalties_reach_the_engine(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine
) -> None:
    out = tmp_path / "out.npz"
    options = ["--logit-bias", "0=-inf,1=0.5", "--logit-bias", "2=-1", "--repetition-penalty", 1.3]
    options += ["--presence-penalty", 0.4, "--frequency-penalty", "-0.2"]
    result = cli("sample", tiny_bundle, "-n", 6, "--label", 1, *options, "-o", out)
    assert result.code == 0, result.err
    bias = {0: -np.inf, 1: 0.5, 2: -1.0}
    sampling = Sampling(
        logit_bias=bias, repetition_penalty=1.3, presence_penalty=0.4, frequency_penalty=-0.2
    )
    expected = engine.sample(6, labels=1, sampling=sampling)
    np.testing.assert_array_equal(np.load(out)["x"], expected.x)
    np.testing.assert_allclose(np.load(out)["log_q"], expected.log_q, rtol=1e-5)


def test_logprobs(cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine) -> None:
    """A line for each token on standard output, arrays in an .npz."""
    options = ["--prompt-ids", "0 1", "--prompt-ids", "2", "--label", 1, "--max-new", 3]
    result = cli("sample", tiny_bundle, *options, "--logprobs", 2)
    assert result.code == 0, result.err
    assert isinstance(engine, AutoregressiveEngine)
    rows = engine.generate([[0, 1], [2]], 3, labels=1, logprobs=2)
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == [str(i) for i in [0, 1, *rows[0].tokens]]
    for i, line in enumerate(lines[1:4]):
        top = rows[0].top
        assert top is not None
        assert [int(line[0]), int(line[1].rstrip("*"))] == [2 + i, rows[0].tokens[i]]
        assert line[1].endswith("*") == (top.ids[i, 0] == rows[0].tokens[i])
        assert [int(each) for each in line[3::2]] == top.ids[i].tolist()
        np.testing.assert_allclose([float(each) for each in line[4::2]], top.log_p[i], atol=1e-4)
    out = tmp_path / "out.npz"
    assert cli("sample", tiny_bundle, *options, "--logprobs", 2, "-o", out).code == 0
    arrays = np.load(out)
    for i, row in enumerate(rows):
        new = slice(len(row.prompt), len(row.prompt) + 3)
        assert row.top is not None
        np.testing.assert_array_equal(arrays["top_ids"][i, new], row.top.ids)
        np.testing.assert_allclose(arrays["top_log_p"][i, new], row.top.log_p, rtol=1e-5)
        np.testing.assert_array_equal(arrays["top_filtered_ids"][i, new], row.top.filtered_ids)
        np.testing.assert_allclose(arrays["top_log_q"][i, new], row.top.log_q, rtol=1e-5)
        assert (arrays["top_ids"][i, : new.start] == -1).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--logit-bias", "5"], ["--logit-bias: expected ID=NATS", "'5'"]),
        (["--logit-bias", "a=1"], ["--logit-bias: expected ID=NATS", "'a=1'"]),
        (["--logit-bias", "3=1"], ["--logit-bias: expected an integer in 0 .. 2, got 3"]),
        (["--logit-bias", "1=nan"], ["--logit-bias: expected numbers in [-1000, 1000] or -inf"]),
        (["--logit-bias", "0=-inf,1=-inf,2=-inf"], ["--logit-bias", "not banned"]),
        (["--repetition-penalty", "0"], ["--repetition-penalty: expected a number in"]),
        (["--presence-penalty", "inf"], ["--presence-penalty: expected a number in"]),
        (["--frequency-penalty", "-101"], ["--frequency-penalty: expected a number in"]),
        (["--logprobs", "2"], ["--logprobs: only used with a prompt"]),
        (["--prompt-ids", "1", "--logprobs", "4"], ["--logprobs: expected at most 3"]),
        (["--prompt-ids", "1", "--logprobs", "21"], ["--logprobs: expected an integer in 0 .. 20"]),
        (
            ["--prompt-ids", "1", "-n", "1", "--stream", "--logprobs", "2"],
            ["--stream: not used with --logprobs"],
        ),
    ],
)
def test_refused_settings(
    cli: Cli, tiny_bundle: Path, options: list[str], words: list[str]
) -> None:
    refused(cli("sample", tiny_bundle, *options), *words)


def test_observed_values_are_kept(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    observed = np.full((3, 3), -1)
    observed[1] = [2, 0, 1]
    np.savez(tmp_path / "observed.npz", observed=observed)
    options = ["-n", 4, "--observed", tmp_path / "observed.npz", "-o", tmp_path / "out.npz"]
    assert cli("sample", tiny_bundle, *options).code == 0
    x = np.load(tmp_path / "out.npz")["x"]
    np.testing.assert_array_equal(x[:, 1], np.tile([2, 0, 1], (4, 1)))
    assert len(np.unique(x[:, 0], axis=0)) > 1


def test_picture_has_a_column_for_each_label(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    assert cli("sample", tiny_bundle, "-n", 6, "-o", tmp_path / "out.png").code == 0
    with Image.open(tmp_path / "out.png") as picture:
        width, height = picture.size
    assert (width - 2) * 3 == (height - 2) * 2


@pytest.mark.parametrize("out", ["-", "out.txt"])
def test_levels_as_lines(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine, out: str
) -> None:
    target = out if out == "-" else tmp_path / out
    result = cli("sample", tiny_bundle, "-n", 3, "--label", 0, "-o", target)
    assert result.code == 0
    text = result.out if out == "-" else (tmp_path / out).read_text()
    rows = np.loadtxt(io.StringIO(text), dtype=np.int64)
    np.testing.assert_array_equal(rows, engine.sample(3, labels=0).x.reshape(3, -1))


@pytest.mark.parametrize("n", [1, 2])
def test_text_is_bytes(cli: Cli, tiny_bundle: Path, tmp_path: Path, n: int) -> None:
    """Samples of a text model are written as bytes; several texts have headings."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "text"))
    change_manifest(bundle, lambda values: values["data"].update(tokenizer="bytes"))
    out = tmp_path / "out.txt"
    assert cli("sample", bundle, "-n", n, "--label", 0, "-o", out).code == 0
    texts = [x.astype(np.uint8).tobytes() for x in Engine.load(bundle).sample(n, labels=0).x]
    content = out.read_bytes()
    if n == 1:
        assert content == texts[0]
    else:
        heads = [line for line in content.split(b"\n") if line.startswith(b"=== sample ")]
        assert len(heads) == n
        assert all(head + b"\n" + text in content for head, text in zip(heads, texts, strict=True))


def test_no_picture_of_sequences(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "sequence"))
    change_manifest(bundle, lambda values: values["data"].update(event_shape=[9]))
    result = cli("sample", bundle, "-n", 1, "-o", tmp_path / "out.png")
    assert result.code == 2
    assert "are not images" in result.err


def test_log_prob_reads_what_sample_wrote(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    samples, nats = tmp_path / "samples.npz", tmp_path / "nats.npz"
    assert cli("sample", tiny_bundle, "-n", 8, "-o", samples).code == 0
    result = cli("log-prob", tiny_bundle, samples, "-o", nats)
    assert result.code == 0, result.err
    expected = np.load(samples)["log_prob"]
    np.testing.assert_allclose(np.load(nats)["log_prob"], expected, atol=1e-5)
    assert "standard error" in result.err
    mean, error, bits, bits_error = map(float, re.findall(r"-?\d+\.\d+", result.err))
    unit = 9 * np.log(2)
    assert mean == pytest.approx(expected.mean(), abs=1e-4)
    assert error == pytest.approx(expected.std(ddof=1) / 8**0.5, abs=1e-4)
    assert bits == pytest.approx(-mean / unit, abs=1e-4)
    assert bits_error == pytest.approx(error / unit, abs=1e-4)


def test_log_prob_prints_a_line_for_each_event(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine
) -> None:
    x = np.arange(18).reshape(2, 3, 3) % 3
    np.save(tmp_path / "x.npy", x)
    result = cli("log-prob", tiny_bundle, tmp_path / "x.npy", "--label", 1)
    assert result.code == 0, result.err
    got = [float(line) for line in result.out.splitlines()]
    np.testing.assert_allclose(got, engine.log_prob(x, labels=1), atol=1e-5)


def test_log_prob_by_steps(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """The very bits that `sample` wrote, and another way than the parallel one."""
    samples, nats = tmp_path / "samples.npz", tmp_path / "nats.npz"
    assert cli("sample", tiny_bundle, "-n", 64, "-o", samples).code == 0
    assert cli("log-prob", tiny_bundle, samples, "--path", "steps", "-o", nats).code == 0
    with np.load(samples) as drawn, np.load(nats) as again:
        assert np.array_equal(drawn["log_prob"], again["log_prob"])
    assert cli("log-prob", tiny_bundle, samples, "-o", nats).code == 0
    with np.load(samples) as drawn, np.load(nats) as parallel:
        assert not np.array_equal(drawn["log_prob"], parallel["log_prob"])
    refused(cli("log-prob", tiny_bundle, samples, "--path", "zigzag"), "--path", "zigzag")


def test_log_prob_with_top(cli: Cli, tiny_bundle: Path, tmp_path: Path, engine: Engine) -> None:
    """A line for each position, or arrays; what cannot be is refused."""
    file, out = tmp_path / "x.npy", tmp_path / "top.npz"
    x = np.arange(18).reshape(2, 3, 3) % 3
    np.save(file, x)
    expected = engine.log_prob(x, labels=1, top=2)
    result = cli("log-prob", tiny_bundle, file, "--label", 1, "--top", 2)
    assert result.code == 0, result.err
    lines = [line.split() for line in result.out.splitlines() if not line.startswith("event")]
    assert [line[0] for line in lines] == [str(t) for t in range(9)] * 2
    ids = np.array([[int(line[3]), int(line[5])] for line in lines])
    assert np.array_equal(ids, expected.top.ids.reshape(18, 2))
    marks = [line[1].endswith("*") for line in lines]
    assert np.array_equal(marks, expected.top.most_likely.ravel())
    assert cli("log-prob", tiny_bundle, file, "--label", 1, "--top", 2, "-o", out).code == 0
    with np.load(out) as arrays:
        assert np.array_equal(arrays["top_ids"], expected.top.ids)
        np.testing.assert_allclose(arrays["top_log_prob"], expected.top.log_prob, atol=1e-5)
        assert np.array_equal(arrays["most_likely"], expected.top.most_likely)
    for k, words in ((21, "1 .. 20"), (0, "1 .. 20"), (4, "at most 3")):
        refused(cli("log-prob", tiny_bundle, file, "--label", 1, "--top", k), "top", words)
    refused(cli("log-prob", tiny_bundle, file, "--top", 1, "--path", "steps"), "--top")
