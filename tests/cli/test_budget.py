"""`export --budget`: the bundle is within the budget on data that the search has not seen."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from ancestral.bundles.bundle import Bundle
from ancestral.cli import installed
from ancestral.engine import AutoregressiveEngine
from ancestral.engine.losses import compare
from ancestral.files.atomic import sha256
from ancestral.precision import budget
from ancestral.precision.choice import Plan
from ancestral.precision.search import Search
from tests.sharp_toy import SHARP
from tests.tamper import copied, sign

from .conftest import Bundles, Cli, Result, invoke, refused, saved

BUDGET = 3e-2
Small = tuple[Path, Result]
"""A folder with a bundle within the budget, and the result of the command that wrote it."""


@pytest.fixture(scope="module")
def drawn(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw events from the toy."""
    x = AutoregressiveEngine.load(bundles(SHARP), threads=1).sample(800, seed=1).x
    return saved(tmp_path_factory.mktemp("drawn"), x=x)


@pytest.fixture(scope="module")
def small(bundles: Bundles, drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Export the toy within the budget, with a report and a picture."""
    folder = tmp_path_factory.mktemp("small")
    files = ("--report", folder / "points.json", "--plot", folder / "points.png")
    options = ("--data", drawn, "--budget", BUDGET, *files, "--no-verify")
    return folder, invoke("export", bundles(SHARP), "-o", folder / "bundle", *options)


def test_planted_sensitive_weight(small: Small, bundles: Bundles, drawn: Path) -> None:
    """Only the head, which 4 bits ruin, has more; report, manifest and a new measurement agree."""
    folder, result = small
    source, out = bundles(SHARP), folder / "bundle"
    assert result.code == 0, result.err
    assert "weights in int4 and int8" in result.err
    manifest = Bundle.open(out).manifest
    plan, cost = manifest.quantisation, manifest.cost
    assert plan is not None
    assert cost is not None
    bits = {name: how.bits for name, how in plan.tensors.items()}
    assert bits.pop("head.weight") == 8
    assert set(bits.values()) == {4}
    assert len(bits) == 5
    # The held-out half: every second event, which the search has not seen.
    x = np.load(drawn)["x"][1::2]
    engines = [AutoregressiveEngine.load(each) for each in (out, source)]
    again = compare(engines[0], engines[1], x)
    assert again.cost("given.npz", sha256(drawn)) == cost
    assert cost.upper_nats <= BUDGET
    found = json.loads((folder / "points.json").read_text())
    assert found["upper_nats"] == cost.upper_nats
    assert found["calibration_units"] == 400
    assert found["quantisation"] == plan.model_dump(mode="json")
    assert (folder / "points.png").read_bytes().startswith(b"\x89PNG")
    points = {point["name"]: point for point in found["points"]}
    chosen = next(point for point in points.values() if point["chosen"])
    assert chosen["ms"] > 0
    assert chosen["nats"] == cost.loss_nats
    assert points["all int4, groups of 32"]["nats"] > BUDGET
    assert points["all int4, groups of 32"]["ms"] is None
    assert sum(point["size"] < chosen["size"] for point in points.values()) == 2
    for path, size in ((source, points["float32"]["size"]), (out, chosen["size"])):
        assert stored(path) == size
    assert all(name in result.out for name in points)


def stored(bundle: Path) -> int:
    """Return the bytes of the weights of a bundle, without the header of their file."""
    data = Bundle.open(bundle).weights_file.read_bytes()
    return len(data) - 8 - int.from_bytes(data[:8], "little")


def test_over_budget_is_never_visible(
    cli: Cli, bundles: Bundles, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the search is wrong, the bundle that was there stays, and nothing else is left."""
    seen: list[list[str]] = []

    def cheapest(self: Search) -> Plan:
        seen.append(sorted(os.listdir(tmp_path / "out")))
        return self.plans[0]

    monkeypatch.setattr(Search, "next", cheapest)
    monkeypatch.setattr(budget, "_EXPORTS", 1)
    folder, out = tmp_path / "out", tmp_path / "out" / "small"
    shutil.copytree(bundles("table"), out)
    before = {file: sha256(file) for file in out.rglob("*") if file.is_file()}
    result = cli(
        "export", bundles(SHARP), "--data", drawn, "-o", out, "--overwrite", "--budget", BUDGET
    )
    refused(result, "--budget: expected a loss that some quantised weight keeps, got 0.03")
    assert "over the budget" in result.err
    assert seen == [["small"]]
    assert os.listdir(folder) == ["small"]
    assert {file: sha256(file) for file in out.rglob("*") if file.is_file()} == before


def test_bad_input(cli: Cli, bundles: Bundles, drawn: Path, tmp_path: Path) -> None:
    """Each is one sentence about what was typed, and nothing is written."""
    sharp, out = bundles(SHARP), tmp_path / "out"
    x = np.load(drawn)["x"]
    few, other = saved(tmp_path, x=x[:3]), tmp_path / "other.npz"
    np.savez(other, x=np.zeros((8, 3, 3), np.int64))
    text = tmp_path / "text.txt"
    text.write_text("a text")
    data = ("--data", drawn)
    cases: list[tuple[tuple[object, ...], str]] = [
        (("--budget", 0, *data), "--budget: expected a number of nats above 0, got 0"),
        (("--budget", -1e-3, *data), "--budget: expected a number of nats above 0, got -0.001"),
        (("--budget", "nan", *data), "--budget: expected a number of nats above 0, got nan"),
        (("--budget", "inf", *data), "--budget: expected a number of nats above 0, got inf"),
        (
            ("--budget-bits-per-dim", 0, *data),
            "--budget-bits-per-dim: expected a number of bits above 0, got 0",
        ),
        (("--budget", 1, "--budget-bits-per-dim", 1, *data), "expected one of the two, got both"),
        (("--budget", 1), "`--data` is required with --budget"),
        (("--budget", 1, *data, "--group", 32), "--group: not used with --budget"),
        (("--budget", 1, *data, "--dtype", "float16"), "--dtype: expected float32 with --budget"),
        (("--budget", 1, *data, "--plot", "a.pdf"), "--plot: expected a name that ends in .png"),
        (("--budget", 1, *data, "--report", drawn), "--report: expected a name that ends in"),
        (
            ("--budget", 1, *data, "--rounding", "gptq", "--weights", "int8"),
            "--rounding: only used",
        ),
        (("--weights", "int4", "--rounding", "gptq"), "`--data` is required with --rounding gptq"),
        (("--rounding", "gptq", *data), "only used with --weights"),
        (("--report", "a.json"), "--report: only used with --budget"),
        (("--plot", "a.png"), "--plot: only used with --budget"),
        (("--budget", 1, "--data", few), "--data: expected at least 4 events, two to choose"),
        (("--budget", 1, "--data", other), "expected events [n, 6]"),
        (("--budget", 1, "--data", text), "expected an .npy or .npz"),
        (("--budget", 1, *data, "-n", 1), "-n: expected 2 .. 800"),
        (
            ("--budget", 1e-6, *data, "-n", 40),
            "--data: with all weights in int8, the standard error",
        ),
    ]
    for arguments, words in cases:
        refused(cli("export", sharp, "-o", out, *arguments), words)
        assert not out.exists()
    inside = ("--budget", 1, *data, "--report", sharp / "a.json")
    refused(cli("export", sharp, "-o", out, *inside), "is inside")


def test_too_few_data_says_how_many(
    cli: Cli, bundles: Bundles, drawn: Path, tmp_path: Path
) -> None:
    """The number of events has a standard error that fits the budget."""
    options = ("--data", drawn, "-n", 40, "--budget", 4e-4, "--weights", "int8")
    result = cli("export", bundles(SHARP), "-o", tmp_path / "out", *options)
    refused(result, "all weights in int8, the standard error ", " over 40 events (half of them")
    error = float(result.err.partition("standard error ")[2].split()[0])
    needed = int(result.err.partition("; pass about ")[2].split()[0].replace(",", ""))
    assert needed == pytest.approx(40 * (error / 4e-4) ** 2, rel=0.05)
    assert needed > 40


@pytest.mark.slow
def test_hopeless(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """If no quantised weight is within the budget, the error says what 8 bits lose."""
    x = np.zeros((400, 6), np.int64)
    data = saved(tmp_path, x=x)
    options = ("--data", data, "--budget", 1e-9, "--weights", "int8")
    result = cli("export", bundles(SHARP), "-o", tmp_path / "out", *options)
    refused(result, "--budget: expected a loss that some quantised weight keeps, got 1e-09")
    assert "all weights in int8 lose " in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_sources(cli: Cli, bundles: Bundles, small: Small, drawn: Path, tmp_path: Path) -> None:
    """A source whose probabilities are already rounded, or wrong, is refused."""
    out, call = tmp_path / "out", ("--data", drawn, "--budget", 1e-2)
    cases = [
        (small[0] / "bundle", "expected a float32 bundle, got one with weights in int4 and int8"),
        (bundles("codes"), "got a VQ-VAE"),
        (planted(bundles(SHARP), tmp_path / "wrong", 1.5), "expected a bundle that passes"),
        (planted(bundles(SHARP), tmp_path / "nan", np.nan), "expected a bundle that passes"),
    ]
    for source, words in cases:
        refused(cli("export", source, "-o", out, *call), words)
        assert not out.exists()


def planted(bundle: Path, folder: Path, factor: float) -> Path:
    """Return a copy of a bundle whose first 8,192 numbers are multiplied; its hashes are valid."""
    folder.mkdir()
    copy = copied(bundle, folder)
    file = Bundle.open(copy).weights_file
    data = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    numbers = np.frombuffer(data, np.float32, 2**13, begin)
    numbers *= np.float32(factor)
    file.write_bytes(data)
    sign(copy)
    return copy


def test_missing_matplotlib(
    cli: Cli, bundles: Bundles, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing package is reported before the work."""
    monkeypatch.setattr(installed, "is_there", lambda name: name != "matplotlib")
    call = ("--data", drawn, "--budget", 1, "--plot", tmp_path / "a.png", "-o", tmp_path / "out")
    result = cli("export", bundles(SHARP), *call)
    assert result.code != 0
    assert "needs the matplotlib package: pip install 'ancestral[plot]'" in result.err
