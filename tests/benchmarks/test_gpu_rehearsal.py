"""Rehearsals of every part with interpreted kernels, and the baseline of the part `steps`."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from benchmarks.gpu import models, processes
from benchmarks.gpu.loops import Loops
from benchmarks.gpu.measure import results
from benchmarks.gpu.part import PARTS, Bench
from benchmarks.gpu.rows import Failed, GpuRow, Skipped
from benchmarks.gpu.static_cache import ATTENTIONS, StaticLoop, StaticTransformer, decode
from benchmarks.machine import CHECKOUT
from benchmarks.rows import read
from tests.conftest import INTERPRETED

from .gpu_rows import rehearsing

FP32 = torch.float32
UNCOMPILED = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return rehearsing(tmp_path)


def small(**settings: Any) -> Transformer:
    torch.manual_seed(3)
    config = {"width": 16, "layers": 2, "heads": 2} | settings
    data = DataSpec(name="small", event_shape=(6,), levels=7)
    return Transformer(TransformerConfig(**config), data).eval()


@pytest.mark.parametrize(
    "settings", [{}, {"activation": "gelu_tanh", "tied": True, "start": 6}], ids=["image", "gpt2"]
)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_compiled_loop_computes_the_same_model(settings: dict[str, Any], name: str) -> None:
    """The loop's logits and log-probabilities are the model's, whatever its caches held before."""
    model = small(**settings)
    with torch.no_grad():
        model.norm.weight.mul_(3)
        loop = StaticLoop(model, 5, decode, fused=ATTENTIONS[name])
        loop.run(0, 6)
        values, log_ps = loop.run(0, 6)
        x = torch.stack(values, dim=1)
        expected = model.position_log_prob(x, None)
        torch.testing.assert_close(torch.stack(log_ps, dim=1), expected)
        static, token = StaticTransformer(model, 5, fused=ATTENTIONS[name]), torch.full((5,), 7)
        for at in range(6):
            logits = static(token, torch.tensor([at]))
            torch.testing.assert_close(logits, model.logits(x, None)[:, at])
            token = x[:, at]


def test_compiled_loop_refuses_other_models() -> None:
    for settings in ({"positions": "rotary"}, {"kv_heads": 1}, {"activation": "swiglu"}):
        with pytest.raises(InvalidInput, match="a Transformer like GPT-2"):
            StaticTransformer(small(**settings), 2, fused=False)


BASELINES = {
    "ceilings": set(),
    "cached_attention": {"SDPA", "FlexAttention"},
    "masked_attention": {"FlashAttention", "SDPA, exact"},
    "linear": {"cuBLAS"},
    "sample_token": {"softmax and race", "compiled"},
    "steps": {*ATTENTIONS, "ours, not batch_invariant"},
}


@pytest.fixture
def interpreting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip unless kernels are interpreted, and turn off `torch.compile`.

    On a GPU, `make gpu` runs the parts themselves.
    """
    if not INTERPRETED:
        pytest.skip("a rehearsal needs TRITON_INTERPRET=1 in the environment")
    # The baselines run uncompiled: tracing them takes longer than everything else.
    monkeypatch.setattr(torch, "compile", lambda function, **settings: function)


def rehearse(part: str, bench: Bench) -> list[GpuRow | Skipped | Failed]:
    bench = replace(bench, part=part)
    cells = importlib.import_module(f"benchmarks.gpu.{part}").cells(bench)
    with torch.no_grad():
        return list(results(cells, bench))


@UNCOMPILED
@pytest.mark.kernels
@pytest.mark.usefixtures("interpreting")
@pytest.mark.parametrize(
    "part",
    [pytest.param(each, marks=[pytest.mark.slow] * (each == "steps")) for each in BASELINES],
)
def test_rehearsal(bench: Bench, part: str) -> None:
    rows = rehearse(part, bench)
    assert all(isinstance(each, GpuRow) for each in rows), [str(each) for each in rows]
    assert {each.baseline for each in rows} - {None} == BASELINES[part]
    assert all(each.rehearsal and each.part == part for each in rows)
    assert all(each.p50 > 0 for each in rows)


@UNCOMPILED
@pytest.mark.kernels
@pytest.mark.usefixtures("interpreting")
@pytest.mark.parametrize("part", ["linear", "cached_attention", "sample_token"])
def test_a_wrong_kernel_has_no_row(
    bench: Bench, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted fault: results that are 5% off fail in every cell, and no row is returned."""
    kernel = importlib.import_module(f"ancestral.triton_kernels.{part}.kernel")
    right = kernel.launch

    def wrong(*args: Any) -> Any:
        result = right(*args)
        (result.log_p if part == "sample_token" else result).mul_(1.05)
        return result

    monkeypatch.setattr(kernel, "launch", wrong)
    got = rehearse(part, bench)
    assert got
    assert all(isinstance(each, Failed) for each in got), [str(each) for each in got]


@pytest.mark.kernels
@pytest.mark.slow
@pytest.mark.usefixtures("interpreting")
def test_a_bundle_is_verified(bench: Bench) -> None:
    models.export(models.TINY, bench.bundles)
    loops = Loops(models.TINY, bench.device, bench.bundles)
    assert loops.verified(FP32) == (True, 0)
    assert Loops(models.IMAGE, bench.device, bench.bundles).verified(FP32) == (None, 0)


@pytest.mark.slow
def test_a_whole_rehearsal(tmp_path: Path) -> None:
    """A rehearsal that is started from the command line passes, without the slowest part."""
    parts = ["checks", *(each for each in PARTS if each != "steps")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.gpu", "--rehearse"),
            *("--out", str(tmp_path), "--parts", *parts),
        ],
        cwd=CHECKOUT,
        env=processes.environment(rehearsal=False),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped: tensorrt, because a plan runs only on a GPU" in done.stdout
    for part in [each for each in BASELINES if each != "steps"]:
        rows = read(GpuRow, tmp_path / f"gpu-{part}.jsonl")
        assert rows
        assert all(each.rehearsal for each in rows)
    assert "a rehearsal, no results" in done.stdout
