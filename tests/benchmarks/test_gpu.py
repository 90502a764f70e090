"""The GPU measurement, tested without a GPU: its arithmetic, its rows and its messages."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.errors import ParityError
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from benchmarks.gpu import ceilings, models
from benchmarks.gpu.clock import rotated
from benchmarks.gpu.loops import windows
from benchmarks.gpu.measure import results
from benchmarks.gpu.part import OURS, Bench, Cell, Work
from benchmarks.gpu.rows import Failed, GpuRow, Skipped, record, recorded, table
from benchmarks.rows import append, number, parsed, read

from .gpu_rows import CEILINGS, EXACT, rehearsing, sample_row

FP32 = torch.float32


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return rehearsing(tmp_path)


def test_floor_is_the_larger_of_two_times() -> None:
    assert Work(8e9, 1e9, FP32).floor_ms(CEILINGS) == ("copy", pytest.approx(2.0))
    assert Work(8e6, 1e12, FP32).floor_ms(CEILINGS) == ("float32", pytest.approx(20.0))
    assert Work(8e6, 1e12, torch.bfloat16).floor_ms(CEILINGS) == ("bfloat16", pytest.approx(1.25))
    assert Work(8e6, 1e12, FP32).floor_ms({}) is None


def test_row_has_quantiles_ratio_share_and_rate(bench: Bench) -> None:
    got = sample_row(bench, least_ratio=1.5, least_share=0.5)
    assert (got.p20, got.p50, got.p80, len(got.rounds)) == (2.0, 2.0, pytest.approx(3.2), 3)
    assert (got.baseline, got.baseline_rounds, got.ratio) == ("theirs", (3.0, 6.0, 3.0), 1.5)
    assert (got.ceiling, got.share, got.rate, got.rate_unit) == ("copy", 0.5, 2e12, "B/s")
    assert [target.met for target in got.targets] == [True, True]
    missed = sample_row(bench, least_ratio=1.6, least_share=0.6)
    assert [target.met for target in missed.targets] == [False, False]
    assert got.rehearsal
    unpaired = sample_row(bench, unpaired=True, least_ratio=1.5)
    assert (unpaired.baseline, unpaired.ratio, unpaired.targets) == (None, None, ())
    unknown = sample_row(replace(bench, ceilings={}), least_share=0.5)
    assert (unknown.share, unknown.rate, unknown.targets) == (None, 2e12, ())
    computed = sample_row(bench, work=Work(8.0, 1e11, FP32))
    assert (computed.share, computed.rate, computed.rate_unit) == (1.0, 5e13, "op/s")


def test_nothing_measured_meets_no_target(bench: Bench) -> None:
    only_share = sample_row(bench, unpaired=True, least_ratio=1.0, least_share=0.1)
    assert [target.words for target in only_share.targets] == ["share >= 0.1"]
    only_ratio = sample_row(bench, work=None, least_ratio=1.0, least_share=0.1)
    assert [target.words for target in only_ratio.targets] == ["baseline / ours >= 1"]


def test_a_row_for_each_baseline(bench: Bench) -> None:
    """Each baseline has a row, with the details of ours and its own details."""
    rounds = {OURS: (2.0,), "a": (3.0,), "b": (4.0,)}
    details = {OURS: {"build_s": 1.0}, "b": {"baseline_build_s": 2.0}}
    got = bench.rows("2 x 2", FP32, rounds, EXACT, details=details)
    assert [(row.baseline, row.details) for row in got] == [
        ("a", {"build_s": 1.0}),
        ("b", {"build_s": 1.0, "baseline_build_s": 2.0}),
    ]


def test_work_of_a_step() -> None:
    """A step of GPT-2 small has the work that was counted by hand.

    The model has 124,439,808 parameters; the 1,024 vectors of positions are only looked up.
    """
    with torch.device("meta"):
        config = TransformerConfig(**models.GPT2.case.config)
        model = Transformer(config, DataSpec(name="text", event_shape=(1024,), levels=50_257))
    numbers, positions = 124_439_808, 1024 * 768
    assert sum(each.numel() for each in model.parameters()) == numbers
    work = models.step_work(model, 2, 511, torch.bfloat16)
    cached = 2 * 12 * 2 * 512 * 768
    assert work.bytes == 2 * (numbers - positions + cached + 2 * 768)
    vectors = sum(each.numel() for each in model.parameters() if each.ndim == 1)
    assert work.operations == 2 * (2 * (numbers - positions - vectors) + 4 * 12 * 768 * 512)
    assert models.cache_numbers(model, 2) == 2 * 12 * 2 * 1024 * 768


def test_windows_are_spread_over_an_event() -> None:
    assert windows(784, 4, 64) == [66, 262, 458, 654]
    assert windows(4, 1, 2) == [1]


def test_inputs_take_turns() -> None:
    assert rotated("ab", torch.device("cuda")) == list("abababab")
    assert rotated("ab", torch.device("cpu")) == ["a", "b"]


def test_ceilings_are_the_rates_of_their_rows(bench: Bench) -> None:
    cells = ceilings.cells(bench)
    rows = [
        each for each in results(cells, replace(bench, part="ceilings")) if isinstance(each, GpuRow)
    ]
    assert set(ceilings.of(rows)) == {"copy", "float32", "bfloat16"}
    work = Work(2 * 4096, 0, FP32)
    assert ceilings.of(rows)["copy"] == pytest.approx(work.bytes / rows[0].p50 * 1e3)
    assert ceilings.of(rows)["float32"] == pytest.approx(2 * 64**3 / rows[1].p50 * 1e3)


def test_row_is_read_as_it_was_written(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "gpu-linear.jsonl"
    rows = [
        sample_row(bench, least_ratio=1.0, details={OURS: {"peak_mb": 1.5}}),
        sample_row(bench, work=None),
    ]
    for each in rows:
        append(each, file)
    assert read(GpuRow, file) == rows
    with pytest.raises(ValueError, match="expected the fields"):
        parsed(GpuRow, {})


def test_results_are_read_as_they_were_recorded(bench: Bench) -> None:
    for result in (sample_row(bench), Skipped("a", "time"), Failed("b", "wrong")):
        assert recorded(record(result)) == result


@pytest.mark.parametrize(
    "fault",
    [{"relative": 5e-6}, {"relative": float("nan")}, {"unexplained": 1}, {"verified": False}],
    ids=str,
)
def test_no_speed_without_parity(bench: Bench, tmp_path: Path, fault: dict[str, Any]) -> None:
    wrong = sample_row(bench, replace(EXACT, **fault))
    with pytest.raises(ParityError, match="no row is written"):
        append(wrong, tmp_path / "gpu-linear.jsonl")
    assert not list(tmp_path.glob("*.jsonl"))
    cells = [Cell("wrong", lambda _: [wrong]), Cell("right", lambda _: [sample_row(bench)])]
    first, second = results(cells, bench)
    assert isinstance(first, Failed)
    assert second == sample_row(bench) or isinstance(second, GpuRow)


def test_a_non_finite_number_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="finite"):
        append(sample_row(bench, details={OURS: {"host_share": math.nan}}), tmp_path / "rows.jsonl")


def test_a_broken_cell_leaves_the_others(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_: Bench) -> Iterator[GpuRow]:
        yield sample_row(bench)
        raise ValueError("no such kernel\nand more")

    cells = [Cell("broken", broken), Cell("whole", lambda _: [Skipped("theirs", "absent")])]
    got = list(results(cells, bench))
    assert [type(each) for each in got] == [GpuRow, Failed, Skipped]
    assert str(got[1]) == "FAILED: linear, broken: ValueError: no such kernel"
    assert "Traceback" in capsys.readouterr().err
    late = list(results(cells, replace(bench, until=time.monotonic())))
    assert [str(each) for each in late] == [
        "skipped: linear, broken, because the time is over",
        "skipped: linear, whole, because the time is over",
    ]


def test_table_says_yes_or_no(bench: Bench) -> None:
    result = replace(sample_row(bench, least_ratio=1.5, least_share=0.9), rehearsal=False)
    head, met, missed = table([result])
    assert head.split()[-2:] == ["target", "met"]
    assert met.endswith("baseline / ours >= 1.5  yes")
    assert missed.endswith("share >= 0.9            NO")
    assert "2000 GB/s" in met
    assert all(line.endswith("rehearsal") for line in table([sample_row(bench)])[1:])
    assert [number(each) for each in (0.012345, 123.4, None)] == ["0.0123", "123", ""]
