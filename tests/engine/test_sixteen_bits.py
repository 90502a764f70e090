"""16-bit bundles keep their probabilities on the backends that run them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.errors import BackendUnavailable, ExportError, InvalidInput, NotADistribution
from ancestral.export.passes import sixteen_bits
from ancestral.export.recast import recast
from ancestral.parity import tolerance
from tests.conftest import Load
from tests.tamper import copied, sign

Bundles = Callable[..., Path]
WHERE = {"torch": ("float16", "bfloat16"), "onnxruntime": ("float16",)}
pytestmark = pytest.mark.slow
CASES = [(backend, dtype) for backend, dtypes in WHERE.items() for dtype in dtypes]


@pytest.mark.parametrize(
    "toy",
    [
        *("llama", "convolved", "startless", "gru", "codes"),
    ],
)
@pytest.mark.parametrize(("backend", "dtype"), CASES)
def test_verify(load: Load, toy: str, backend: str, dtype: str) -> None:
    """Every graph of a 16-bit bundle agrees: steps, prefill, parallel graphs, those of latents.

    On torch it also computes in 16 bits: float32 with rounded weights would be nearer. (ONNX
    Runtime runs nodes without 16-bit kernels in float32, so it may lose no bits.)
    """
    report = load(toy, backend, dtype).compare()
    assert (report.dtype, report.failures) == (dtype, ())
    if backend == "torch":
        own = report.sampled.own_nats
        assert report.max_abs_nats > 10 * tolerance(backend, "float32").factor * own


def test_same_samples(load: Load) -> None:
    """Backends draw the same samples from a seed, but for near ties."""
    drawn = {}
    for backend in WHERE:
        engine = load("gru", backend, "float16")
        assert isinstance(engine, AutoregressiveEngine)
        drawn[backend] = engine.sample(64, seed=3)
    x, y = (samples.x.reshape(64, -1) for samples in drawn.values())
    limit = tolerance("torch", "float16")
    # A row differs after its first near tie. Allowed: near ties at two edges of each draw, with a
    # probability of twice the limit at each.
    most = 4 * limit.cdf * x.size
    assert (x != y).any(axis=1).sum() <= most
    same = (x == y).all(axis=1)
    apart = np.abs(drawn["torch"].log_prob - drawn["onnxruntime"].log_prob)[same]
    assert apart.max() <= 2 * limit.nats_per_position * x.shape[1]


@pytest.mark.parametrize(("backend", "dtype"), CASES)
def test_samples_evaluated_again(load: Load, backend: str, dtype: str) -> None:
    """The parallel graph gives a sample's log p of the cached steps, within the tolerance."""
    engine = load("llama", backend, dtype)
    assert isinstance(engine, AutoregressiveEngine)
    samples = engine.sample(32, seed=5)
    again = engine.log_prob(samples.x)
    limit = 2 * tolerance(backend, dtype).nats_per_position * engine.data.length
    assert np.abs(samples.log_prob - again).max() <= limit


@pytest.mark.parametrize(("backend", "dtype"), CASES)
def test_caches(load: Load, backend: str, dtype: str) -> None:
    """Caches have the bundle's type; on the host bfloat16 is stored as float32."""
    engine = load("llama", backend, dtype)
    session = engine.session("step")
    assert session.signature.input("k_0").dtype == dtype
    assert session.signature.input("log_p").dtype == "float32"
    binding = session.bind({"b": 3, "s": 1})
    held = session.signature.input("k_0").host
    assert held == {"float16": np.float16, "bfloat16": np.float32}[dtype]
    before = np.full((3, 2, 6, 8), 1 + 2.0**-9, held)
    binding.write("k_0", before)
    kept = binding.read("k_0")
    assert kept.dtype == held
    assert kept[0, 0, 0, 0] == (1 if dtype == "bfloat16" else 1 + 2.0**-9)
    with pytest.raises(InvalidInput, match="expected float"):
        binding.write("k_0", before.astype(np.float64))


def test_unsupported_types(bundles: Bundles) -> None:
    with pytest.raises(BackendUnavailable, match=r"'onnxruntime', got bfloat16; use"):
        Engine.load(bundles("table", "bfloat16"), backend="onnxruntime")
    with pytest.raises(InvalidInput, match="'torch' takes only model; leave the option out"):
        Engine.load(bundles("table", "float16"), backend="torch", dtype="float32")
    assert Engine.load(bundles("table", "float16"), dtype="float16").backend.dtype == "float16"


def test_overflow(bundles: Bundles, tmp_path: Path) -> None:
    """Planted activations beyond float16 fail `verify`, and `sample` refuses the NaN."""
    source = copied(bundles("startless"), tmp_path)
    file = source / "graphs" / "weights.safetensors"
    weights = load_file(file)
    weights["blocks.0.up.weight"] *= 6e4
    save_file(weights, file)
    sign(source)
    reports = {}
    for dtype in ("float16", "bfloat16"):
        engine = Engine.load(recast(source, tmp_path / dtype, dtype), backend="torch")
        reports[dtype] = engine.verify()
        if dtype == "float16":
            assert isinstance(engine, AutoregressiveEngine)
            with pytest.raises(NotADistribution, match="activations may overflow in this dtype"):
                engine.sample(4, observed=np.full((4, 6), -1) + 2 * (np.arange(6) == 0))
    assert not reports["float16"].passed
    assert reports["bfloat16"].passed, reports["bfloat16"].failures


def test_head_in_16_bits(bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: no product counts as the last one, so the head is in 16 bits; nothing is written."""
    monkeypatch.setattr(sixteen_bits, "before_results", lambda *_: set())
    with pytest.raises(ExportError, match="the last projection: expected float32, got float16"):
        recast(bundles("llama"), tmp_path / "out", "float16")
    assert list(tmp_path.iterdir()) == []
