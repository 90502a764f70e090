"""The Triton backend: the same probabilities and draws, in every loop and dtype."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.bundles.quantisation import Compute, Quantisation, QuantisedTensor
from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Engine, Sampling, step_graph, step_loop
from ancestral.engine.backends.triton import TritonBinding
from ancestral.engine.noise import Noise
from ancestral.errors import BackendUnavailable, InvalidInput, NotADistribution
from ancestral.export.quantise import quantise_bundle
from ancestral.export.recast import recast
from ancestral.parity import tolerance
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import GraphName
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.quantisation.places import places
from ancestral.train.quantisation.quantise import quantise
from ancestral.triton_kernels.operators import table
from ancestral.triton_kernels.overridable import Kernels
from ancestral.triton_kernels.quantised_linear import Quantised, kernel
from tests.conftest import Load, device_of
from tests.laws.faults import plant
from tests.laws.laws import assert_close, assert_same_draws, limits
from tests.toys import widen

pytestmark = pytest.mark.kernels
Bundles = Callable[[str], Path]
Small = Callable[..., AutoregressiveEngine]
SEED = 3


def small_model() -> Transformer:
    """Return a model of four positions with grouped heads, labels and the upper neighbour."""
    torch.manual_seed(5)
    data = DataSpec(name="small", event_shape=(2, 2), levels=3, num_classes=2)
    config = TransformerConfig(width=16, layers=1, heads=2, kv_heads=1, hidden=24, above=True)
    model = widen(Transformer(config, data)).eval()
    assert isinstance(model, Transformer)
    return model


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ancestral.export.bundle import export_bundle

    folder = tmp_path_factory.mktemp("small") / "bundle"
    graphs: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step", "step_filtered")
    export_bundle(small_model(), folder, graphs=graphs)
    return folder


@pytest.fixture(scope="session")
def small(small_bundle: Path) -> Small:
    """Return a function that loads the small model on a backend."""

    def engine(backend: str = "triton", **arguments: object) -> AutoregressiveEngine:
        device = device_of(backend)
        return AutoregressiveEngine.load(small_bundle, backend, device=device, **arguments)

    return engine


def test_verify(small: Small) -> None:
    """Every graph and loop passes, with interpreted kernels or on a GPU."""
    report = small().verify()
    assert report.passed, report.failures
    assert report.unexplained == 0
    assert report.draws > 0
    assert report.dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("toy", ["tiny", "llama", "startless", "gru", "wavenet", "channels"])
def test_families(load: Load, toy: str) -> None:
    report = load(toy, "triton").verify()
    assert report.passed, report.failures


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["scale wrong", "window", "mask shifted"])
def test_faults_fail(bundles: Bundles, tmp_path: Path, fault: str) -> None:
    assert not plant(bundles("tiny"), tmp_path, fault, "tiny", "triton").verify().passed


@pytest.mark.slow
def test_samples_are_those_of_torch(small: Small) -> None:
    """With seeds in the kernel, samples and their log-probabilities are the reference's."""
    engine, label = small(), np.arange(6) % 2
    got, expected = (each.sample(6, labels=label, seed=SEED) for each in (engine, small("torch")))
    x, reference = (engine.data.in_order(each.x) for each in (got, expected))
    u = Noise(SEED, 0).uniforms(*x.shape)
    with torch.no_grad():
        logits = small_model().double().logits(torch.from_numpy(reference), torch.from_numpy(label))
    edges = logits.softmax(-1).cumsum(-1)[..., :-1].numpy()
    margin = np.abs(edges - u[..., None]).min(axis=-1)
    assert_same_draws(x, reference, margin, limits(engine).cdf)
    again = engine.log_prob(got.x, label)
    assert_close(got.log_prob, again, limits(engine).nats, "log p of samples")


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.0), Sampling(0.7, top_k=2), Sampling(top_p=0.6)], ids=str
)
def test_filtered(small: Small, sampling: Sampling) -> None:
    got, expected = (
        each.sample(3, labels=1, seed=SEED, sampling=sampling) for each in (small(), small("torch"))
    )
    assert np.array_equal(got.x, expected.x)
    limit = limits(small("torch")).nats
    assert_close(got.log_q, expected.log_q, limit, f"log q, {sampling}")
    assert_close(got.log_prob, expected.log_prob, limit, f"log p, {sampling}")


@pytest.mark.slow
def test_completion(small: Small) -> None:
    """A completion, with particles copied between rows and forced values, is torch's."""
    observed = np.array([[-1, 2], [-1, 1]])
    got, expected = (
        each.complete(observed, particles=6, labels=0, seed=SEED)
        for each in (small(), small("torch"))
    )
    assert np.array_equal(got.x, expected.x)
    assert (got.x[:, 0, 1] == 2).all()
    assert abs(got.log_prob_observed - expected.log_prob_observed) <= limits(small("torch")).nats


@pytest.mark.slow
def test_rows_do_not_depend_on_their_batch(small: Small) -> None:
    """With our own matrix product, a row's bits are the same in every batch."""
    engine, label = small(batch_invariant=True), np.arange(5) % 2
    whole = engine.sample(5, labels=label, seed=SEED)
    parts = list(engine.sample_batches(5, labels=label, seed=SEED, batch=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert np.array_equal(np.concatenate([part.x for part in parts]), whole.x)
    assert np.array_equal(np.concatenate([part.log_prob for part in parts]), whole.log_prob)


def check_idle_steps(engine: AutoregressiveEngine) -> None:
    """Check that warm-up steps between any two steps change no result."""
    rows, (first, t) = 3, (engine.bundle.manifest.first_position, engine.data.length)
    observed = np.full((rows, t), -1)
    observed[:, :first] = 0
    given = {} if engine.data.num_classes is None else {"label": np.arange(rows) % 2}
    signature = engine.session("step").signature
    given |= step_graph.settings(signature, Sampling(), rows, engine.data.levels)
    drawn = []
    for idle in (False, True):
        binding = engine.session("step").bind({"b": rows, "s": 1})
        assert isinstance(binding, TritonBinding)
        step_loop.begin(binding, step_loop.Start(observed, given, first, noise=Noise(SEED, 0)))
        for _ in range(t - first):
            if idle:
                binding.idle_step()
            binding.run(1)
        drawn.append([binding.read(name) for name in ("values", "log_p", "position")])
    assert all(np.array_equal(*pair) for pair in zip(*drawn, strict=True))


@pytest.mark.slow
def test_idle_steps(small: Small) -> None:
    check_idle_steps(small())


@pytest.mark.slow
@pytest.mark.parametrize("toy", ["gru", "wavenet", "pixelcnn"])
def test_idle_steps_of_states_and_rings(load: Load, toy: str) -> None:
    engine = load(toy, "triton")
    assert isinstance(engine, AutoregressiveEngine)
    check_idle_steps(engine)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(small: Small, dtype: str) -> None:
    report = small(dtype=dtype).verify()
    assert report.passed, report.failures
    assert report.dtype == dtype
    assert report.max_abs_nats > 1e-4, "as near as float32: not a 16-bit run"
    assert report.limit_nats < 16 * tolerance("triton", dtype).nats_per_position


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_log_prob(small: Small, dtype: str) -> None:
    """The error of 16 bits is larger than float32's, and within the table's tolerance."""
    x, label = np.arange(8).reshape(2, 2, 2) % 3, np.array([0, 1])
    exact, got = (each.log_prob(x, label) for each in (small("torch"), small(dtype=dtype)))
    error = np.abs(got - exact)
    assert (error <= tolerance("triton", dtype).nats_per_position * 4).all()
    assert error.max() > 1e-4
    drawn = small(dtype=dtype).sample(2, labels=label, seed=SEED)
    assert np.isfinite(drawn.log_prob).all()


def test_bundle_of_sixteen_bits(small_bundle: Path, tmp_path: Path) -> None:
    """The backend computes in the bundle's type unless `dtype` is given."""
    dtype = "bfloat16"
    bundle = recast(small_bundle, tmp_path / "bundle", dtype)
    load = partial(AutoregressiveEngine.load, bundle, "triton", device=device_of("triton"))
    assert load().backend.dtype == dtype
    assert load(dtype="float32").backend.dtype == "float32"
    x, label = np.arange(8).reshape(2, 2, 2) % 3, np.array([0, 1])
    exact = AutoregressiveEngine.load(bundle, "torch").log_prob(x, label)
    error = np.abs(load().log_prob(x, label) - exact)
    assert (error <= 2 * tolerance("triton", dtype).nats_per_position * 4).all()
    binding = load().session("step").bind({"b": 2, "s": 1})
    cache = np.full((2, 1, 4, 8), 1.5, np.float32)
    binding.write("k_0", cache)
    assert np.array_equal(binding.read("k_0"), cache)


def test_not_a_number(small: Small) -> None:
    """Samples of a label whose vector is NaN are named in the error, on every backend."""
    for backend in ("triton", "torch"):
        engine = small(backend, model=broken(small_model()))
        message = r"sample 11: .* at position 0, sample 13: .* at position 0"
        with pytest.raises(NotADistribution, match=message):
            engine.sample(4, labels=[0, 1, 0, 1], seed=0, first_index=10)
        with pytest.raises(NotADistribution, match=r"sample 5: logits are .* at position 0"):
            engine.complete(np.array([[-1, 2], [-1, 1]]), 2, labels=1, first_index=5)
        engine.sample(1, labels=0, seed=0)


def broken(model: Transformer) -> Transformer:
    """Return the model with a hook that sets its second label to NaN after each load."""

    def spoil(module: Transformer, _: object) -> None:
        with torch.no_grad():
            module.inputs.label.weight[1] = torch.nan

    model.register_load_state_dict_post_hook(spoil)
    return model


@pytest.mark.parametrize(
    ("backend", "arguments", "message"),
    [
        ("triton", {"dtype": "float64"}, "dtype: expected one of"),
        ("torch", {"dtype": "bfloat16"}, "dtype: backend 'torch' takes only model"),
        ("onnxruntime", {"batch_invariant": True}, "or use backend 'triton'"),
    ],
)
def test_refused(small: Small, backend: str, arguments: Mapping[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        small(backend, **arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_no_gpu(small_bundle: Path) -> None:
    load = partial(Engine.load, small_bundle, backend="triton")
    with pytest.raises(BackendUnavailable, match="device 'cuda': TRITON_INTERPRET=1 interprets"):
        load(device="cuda")


def every_weight(
    bits: Literal[4, 8], symmetric: bool, compute: Compute, model: Model
) -> Quantisation:
    """Plan to quantise every weight in groups of 16, also the small ones; tables are symmetric."""
    tensors = {
        place.name: QuantisedTensor(
            bits=bits, group=16, symmetric=symmetric or place.kind == "table"
        )
        for place in places(model)
    }
    return Quantisation(compute=compute, scales="float32", tensors=tensors, kept={})


@pytest.mark.parametrize("compute", ["float32", "int8"])
def test_quantised(monkeypatch: pytest.MonkeyPatch, compute: Compute) -> None:
    """Logits of a quantised model are the reference's; our kernel computes them from codes."""
    device = device_of("triton")
    x, label = torch.arange(8).reshape(2, 4) % 3, torch.tensor([0, 1])
    plain, model = small_model(), small_model()
    quantise(model, every_weight(4, False, compute, model))
    with torch.no_grad():
        expected, other = (each.logits(x, label) for each in (model, plain))
    model, x, label = model.to(device), x.to(device), label.to(device)

    def furthest() -> float:
        with torch.no_grad(), Kernels(table()):
            return float((model.logits(x, label).cpu() - expected).abs().max())

    limit = 1e-5 * float(expected.abs().max())
    assert furthest() < limit
    assert float((other - expected).abs().max()) > 100 * limit, "the same as before quantisation"
    launch = kernel.launch

    def faulty(x: Tensor, weight: Quantised, *rest: Any) -> Tensor:
        return launch(x, weight._replace(scale=1.001 * weight.scale), *rest)

    monkeypatch.setattr(kernel, "launch", faulty)
    assert furthest() > limit


@pytest.mark.slow
@pytest.mark.parametrize("compute", ["float32", "int8"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "zero"])
@pytest.mark.parametrize("bits", [8, 4], ids=["int8", "int4"])
@pytest.mark.parametrize("toy", ["llama", "startless"])
def test_verify_quantised(
    bundles: Bundles,
    tmp_path: Path,
    toy: str,
    bits: Literal[4, 8],
    symmetric: bool,
    compute: Compute,
) -> None:
    plan = partial(every_weight, bits, symmetric, compute)
    bundle = quantise_bundle(bundles(toy), tmp_path / "bundle", plan)
    report = Engine.load(bundle, "triton", device=device_of("triton")).verify()
    assert report.passed, report.failures
    assert report.unexplained == 0
