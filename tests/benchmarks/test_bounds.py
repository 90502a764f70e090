"""Rows of a variational autoencoder against PyTorch: all quantities, with the parity of the run."""

from dataclasses import replace
from pathlib import Path

from benchmarks.bounds import MLP, measure
from benchmarks.recorder import Recorder
from benchmarks.rows import CaseRow, read


def test_rows(tmp_path: Path) -> None:
    config = {"widths": (8,), "latent": 2, "likelihood": "bernoulli"}
    case = replace(MLP, name="small", config=config, event_shape=(3, 4))
    measure(case, Recorder.begin(1, results=tmp_path), tmp_path)
    weights, bound, decoding, floor = read(CaseRow, tmp_path / "small.jsonl")
    assert [weights.baseline, bound.baseline, decoding.baseline] == ["PyTorch eager"] * 3
    assert floor.baseline == "only the GEMM"
    assert weights.parity.verified
    assert weights.parity.sample_nats is not None
