"""The TensorRT backend: its sessions and loops with a simulated library, without a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Sampling, step_loop
from ancestral.engine.backends import tensorrt_loop
from ancestral.engine.backends.cuda_graphs import STEPS
from ancestral.engine.backends.tensorrt_loop import TensorRtBinding
from ancestral.engine.backends.tensorrt_plans import GraphPlans
from ancestral.engine.noise import Noise
from ancestral.errors import InvalidInput, PlanError
from ancestral.plans.modules import MODULES, Module
from tests.conftest import Load
from tests.engine.long_run import long_run
from tests.engine.simulated_plans import engine
from tests.laws.laws import assert_close, limits
from tests.toys import TOYS

Bundles = Callable[..., Path]
SEED = 3
SLOW = pytest.mark.slow
SOME = ("tiny", "startless", "gru", "wavenet")
"""Toys with appended and replaced caches, rings, blocks, and a first position of 1."""


@pytest.fixture
def tiny(tiny_bundle: Path, tmp_path: Path) -> AutoregressiveEngine:
    made = engine(tiny_bundle, tmp_path)
    assert isinstance(made, AutoregressiveEngine)
    return made


@pytest.mark.parametrize(
    ("toy", "dtype"),
    [
        *((toy, "float32") for toy in SOME),
        *(pytest.param(toy, "float32", marks=SLOW) for toy in TOYS if toy not in SOME),
        *(pytest.param(toy, "float16", marks=SLOW) for toy in ("llama", "gru")),
    ],
)
def test_verify(bundles: Bundles, tmp_path: Path, toy: str, dtype: str) -> None:
    """Every graph and loop passes: caches appended in place, rings, states in two buffers."""
    made = engine(bundles(toy, dtype), tmp_path)
    report = made.verify()
    assert report.passed, report.failures
    assert report.unexplained == 0
    assert (report.backend, report.dtype) == ("tensorrt", dtype)


@pytest.mark.parametrize("toy", ["bernoulli", "codes"])
def test_verify_latent(bundles: Bundles, tmp_path: Path, toy: str) -> None:
    """With plans of at most 3 rows of 2 latents, larger batches run in pieces along both axes."""
    report = engine(bundles(toy), tmp_path, batch=(1, 2, 3), latents=(1, 1, 2)).verify()
    assert report.passed, report.failures
    assert report.backend == "tensorrt"


@pytest.mark.parametrize(
    ("toy", "module"),
    [("tiny", "tensorrt"), ("tiny", "tensorrt_rtx"), ("gru", "tensorrt"), ("wavenet", "tensorrt")],
)
def test_samples_are_those_of_torch(
    bundles: Bundles, load: Load, tmp_path: Path, toy: str, module: Module
) -> None:
    """Samples are PyTorch's, with batches of 4 and a remainder, and an odd number of steps."""
    made, torch_engine = engine(bundles(toy), tmp_path, module, (1, 2, 4)), load(toy, "torch")
    assert isinstance(made, AutoregressiveEngine)
    assert isinstance(torch_engine, AutoregressiveEngine)
    labels = None if made.data.num_classes is None else np.arange(10) % 2
    got, expected = (each.sample(10, labels=labels, seed=SEED) for each in (made, torch_engine))
    assert np.array_equal(got.x, expected.x)
    assert_close(got.log_prob, expected.log_prob, limits(torch_engine).nats, "log p")
    again = made.log_prob(got.x, labels)
    assert_close(got.log_prob, again, limits(torch_engine).nats, "log p in pieces of 4")


def test_filtered_and_completed(tiny: AutoregressiveEngine, load: Load) -> None:
    """Filtered samples and completions are PyTorch's: rows are copied, values forced."""
    reference = load("tiny", "torch")
    assert isinstance(reference, AutoregressiveEngine)
    sampling = Sampling(0.7, top_k=2)
    observed = np.full((3, 3), -1)
    observed[0], observed[2, 1] = [1, 2, 0], 1
    for each in ("sample", "complete"):
        got, expected = (
            one.sample(5, labels=1, seed=SEED, sampling=sampling, observed=observed)
            if each == "sample"
            else one.complete(observed, particles=6, labels=0, seed=SEED)
            for one in (tiny, reference)
        )
        assert np.array_equal(got.x, expected.x)


def test_blocks_in_turns(
    tiny: AutoregressiveEngine, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block in pieces works, although some rows begin at addresses that the library refuses."""
    monkeypatch.setattr(tensorrt_loop, "rows_in_block", lambda block, levels: 3)
    observed = np.full((7, 3, 3), -1)
    observed[:, :2] = np.arange(42).reshape(7, 2, 3) % 3
    reference = load("tiny", "torch")
    assert isinstance(reference, AutoregressiveEngine)
    got, expected = (
        each.sample(7, labels=0, seed=SEED, observed=observed) for each in (tiny, reference)
    )
    assert np.array_equal(got.x, expected.x)


@pytest.mark.parametrize("toy", ["tiny", "gru"])
def test_graphs_of_many_steps(bundles: Bundles, tmp_path: Path, toy: str) -> None:
    """Any number of steps gives the same results: by graphs of many steps and of one."""
    made = engine(bundles(toy), tmp_path)
    assert isinstance(made, AutoregressiveEngine)
    ones = long_run(made, [1] * 40)
    for counts in ([STEPS], [40], [3, 37], [1, 16, 23], [STEPS, 1, STEPS + 7]):
        got = long_run(made, counts)
        assert all(np.array_equal(*pair) for pair in zip(got, ones, strict=True)), counts
    lane = made.backend._lane
    keys = [key for graphs in lane.made for key in graphs.replayed]
    assert {steps for _, steps in keys} == {1, STEPS}
    assert {turn for turn, steps in keys if steps == STEPS} == {0}
    assert len(set(keys)) == 3


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_gather(tiny: AutoregressiveEngine, steps: int) -> None:
    """Rows are gathered from either buffer of a pair, and in caches with one buffer."""
    session = tiny.session("step")
    binding = session.bind({"b": 3, "s": 1})
    given = {"label": np.array([0, 1, 1]), "temperature": np.ones(3, np.float32)}
    step_loop.begin(binding, step_loop.Start(np.full((3, 9), -1), given, noise=Noise(SEED, 0)))
    binding.run(steps)
    names = [pair.input for pair in session.signature.carried]
    before = {name: binding.read(name) for name in names}
    assert steps == 0 or any((each[0] != each[2]).any() for each in before.values())
    binding.gather(np.array([2, 0, 2]))
    assert all(np.array_equal(binding.read(name), before[name][[2, 0, 2]]) for name in names)


def test_memory(tiny: AutoregressiveEngine) -> None:
    session = tiny.session("step")
    before = tiny.backend.memory
    assert (before.weights, before.scratch, before.tensors) == (1000, 4096, 0)
    binding = session.bind({"b": 2, "s": 1})
    assert isinstance(binding, TensorRtBinding)
    carried = {pair.input: pair.update for pair in session.signature.carried}
    expected = sum(
        int(np.prod(spec.shape({"b": 2, "s": 1})))
        * spec.host.itemsize
        * (2 if spec.name in carried and not spec.name.startswith(("k_", "v_")) else 1)
        for spec in session.signature.inputs
    )
    assert tiny.backend.memory.tensors == binding.bytes == expected
    del binding
    assert tiny.backend.memory.tensors == 0
    assert tiny.backend.room == (2**29, 64)


def test_inputs_are_checked(tiny: AutoregressiveEngine) -> None:
    session = tiny.session("step")
    binding = session.bind({"b": 2, "s": 1})
    binding.write("values", np.ones((1, 9), np.int64), slice(1, 2))
    assert binding.read("values")[:, 0].tolist() == [0, 1]
    for name, array, message in (
        ("u", np.zeros((2, 9)), r"u: expected float32 \(2, 9\), got float64"),
        ("u", np.zeros((1, 9), np.float32), r"got float32 \(1, 9\)"),
        ("offsets", np.zeros(1, np.int64), "tensor: expected one of"),
    ):
        with pytest.raises(InvalidInput, match=message):
            binding.write(name, array)
    x = np.zeros((2, 9), np.int64)
    for inputs, message in (
        ({"x": x}, "label: expected int64"),
        ({"x": x.astype(np.int32), "label": x[:, 0]}, "x: expected int64"),
        ({"x": x, "label": x[:1, 0]}, "label: expected .* at"),
    ):
        with pytest.raises(InvalidInput, match=message):
            tiny.session("log_prob").run(inputs)


# Planted faults: memory that is wrongly shared, or wrongly not shared.


def _one_address(self: TensorRtBinding, in_place: frozenset[str]) -> Any:
    return ALLOCATED(self, in_place | {pair.input for pair in self._plans.signature.carried})


def _two_addresses(self: TensorRtBinding, in_place: frozenset[str]) -> Any:
    return ALLOCATED(self, frozenset())


def _swapped(self: TensorRtBinding, turn: int) -> Any:
    return ADDRESSES(self, 1 - turn)


ALLOCATED, ADDRESSES = TensorRtBinding._allocated, TensorRtBinding._addresses
FAULTS: dict[str, tuple[str, Any, type[Exception] | None]] = {
    "a replaced pair at one address": ("_allocated", _one_address, None),
    "a cache appended in place at two addresses": ("_allocated", _two_addresses, PlanError),
    "the other turn's addresses": ("_addresses", _swapped, None),
}


def fresh(made: AutoregressiveEngine) -> bool:
    """Return whether a loop begins with initial values after its warm-up."""
    session = made.session("step")
    binding = session.bind({"b": 2, "s": 1})
    return all(
        (binding.read(pair.input) == pair.initial).all() for pair in session.signature.carried
    )


@pytest.mark.parametrize("toy", ["tiny", "gru"])
def test_loop_begins_with_initial_values(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: str
) -> None:
    made = engine(bundles(toy), tmp_path)
    assert isinstance(made, AutoregressiveEngine)
    assert fresh(made)
    monkeypatch.setattr(TensorRtBinding, "_begin", lambda self: None)
    assert not fresh(made)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("toy", ["tiny", "gru"])
def test_faults_of_the_loop_fail(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, toy: str
) -> None:
    name, wrong, error = FAULTS[fault]
    monkeypatch.setattr(TensorRtBinding, name, wrong)
    made = engine(bundles(toy), tmp_path)
    if error is not None and toy == "tiny":
        with pytest.raises(error, match="has to be where"):
            made.verify()
    elif error is None:
        assert not made.verify().passed


def test_wrong_profile_fails(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = GraphPlans.plan
    monkeypatch.setattr(GraphPlans, "plan", lambda *args: (plan(*args)[0], 0))
    with pytest.raises(PlanError, match=r"offsets \(\d,\).*is outside of profile 0"):
        engine(bundles("tiny"), tmp_path).verify()


def cold(self: TensorRtBinding) -> None:
    """Set up contexts as the warm-up does, but run nothing."""
    for turn, context in enumerate(self._contexts):
        context.shape(self._sizes)
        context.bind(self._addresses(turn))
    self._begin()


def drawn(made: AutoregressiveEngine) -> Any:
    binding = made.session("step").bind({"b": 3, "s": 1})
    given = {"label": np.zeros(3, np.int64), "temperature": np.ones(3, np.float32)}
    start = step_loop.Start(np.full((3, 9), -1), given, noise=Noise(SEED, 0))
    return step_loop.draw(binding, start).values


def test_capture_before_the_first_run(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tensorrt` fails; `tensorrt_rtx` reports that it cannot capture, and runs single steps."""
    rtx, other = (engine(tiny_bundle, tmp_path / name, name) for name in reversed(MODULES))
    assert isinstance(rtx, AutoregressiveEngine)
    assert isinstance(other, AutoregressiveEngine)
    expected = drawn(rtx)
    monkeypatch.setattr(TensorRtBinding, "_warm_up", cold)
    with pytest.raises(PlanError, match=r"cannot run it \(a capture before the first run\)"):
        drawn(other)
    with pytest.warns(RuntimeWarning, match="cannot be captured"):
        assert np.array_equal(drawn(rtx), expected)


def test_more_rows_than_a_plan_takes(tiny: AutoregressiveEngine) -> None:
    with pytest.raises(PlanError, match=r"b=65 s=1 needed, the plan has .*--batch 1,65,65"):
        tiny.session("step").bind({"b": 65, "s": 1})
