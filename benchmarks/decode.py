"""The timed loops: ours and the baseline in turns, two cache lengths in turns, the host's share."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import Engine, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.session import Binding
from ancestral.signature import GraphSignature, TensorSpec
from benchmarks.cases import Case, plain_graph
from benchmarks.plain_loop import PlainLoop

WARM_UPS = 1
"""Whole passes of each loop before the rounds."""


@dataclass(frozen=True, slots=True)
class Given:
    """What both loops start from: the values before `prefix` and the uniforms of all positions."""

    values: NDArray[np.int64]
    u: NDArray[np.float32]
    prefix: int

    @classmethod
    def of(cls, case: Case, rows: int) -> "Given":
        """Uniform values before the prefix, by seed."""
        u = Noise(0, 0).uniforms(rows, case.length)
        values = (Noise(1, 0).uniforms(rows, case.length) * case.levels).astype(np.int64)
        values[:, case.prefix :] = -1
        return cls(values, u, case.prefix)

    @property
    def decoded(self) -> int:
        """Positions that are drawn one by one."""
        return self.u.shape[1] - self.prefix


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the events: seconds of the prefill (0 without prefix) and of all steps."""

    prefill_s: float
    decode_s: float
    values: NDArray[np.int64]
    log_p: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """Interleaved rounds of both loops, in milliseconds, and how far their samples' log p is off.

    Attributes:
        decode: a step of ours.
        plain_decode: a step of the baseline.
        prefill: of ours, the whole block; empty without a prefix.
        plain_prefill: of the baseline.
        sample_nats: largest |log p along our steps - log p by the parallel graph| of an event.
        baseline_nats: the same of the baseline's samples, by its own logits.
        equal_rows: share of rows that both loops drew alike; near ties part the others.
    """

    decode: tuple[float, ...]
    plain_decode: tuple[float, ...]
    prefill: tuple[float, ...]
    plain_prefill: tuple[float, ...]
    sample_nats: float
    baseline_nats: float
    equal_rows: float


def ours(engine: Engine, binding: Binding, given: Given) -> Pass:
    """One pass of the engine's own loop; the clock is read where it reports to the host."""
    stamps = [time.perf_counter()]
    drawn = step_loop.draw(
        binding,
        step_loop.Start(
            given.values,
            {"u": given.u},
            engine.first_position,
            step_loop.takes_blocks(engine.session("step").signature),
        ),
        lambda steps: stamps.append(time.perf_counter()),
    )
    start = stamps[1] if given.prefix > 1 else stamps[0]
    return Pass(start - stamps[0], stamps[-1] - start, drawn.values, drawn.log_p)


def plain(baseline: PlainLoop, given: Given, *, with_log_p: bool = False) -> Pass:
    """One pass of the baseline; log-probabilities only where they are asked for."""
    values = given.values.copy()
    log_p = np.zeros(values.shape, np.float32) if with_log_p else None
    begin = time.perf_counter()
    if given.prefix:
        baseline.prefill(values[:, : given.prefix])
    start = time.perf_counter()
    baseline.decode(values, given.u, given.prefix, log_p)
    return Pass(start - begin, time.perf_counter() - start, values, log_p)


def interleaved(case: Case, engine: Engine, rows: int, threads: int | None, rounds: int) -> Cell:
    """Both loops in turns, ours first, after WARM_UPS whole passes of each.

    A step is a decode pass over its number of steps: 64 of them at W1, positions 16 to 79, and 784
    at W2. Both loops draw the same positions with the same uniforms, weights, threads and ONNX
    Runtime options; the engine computes log-probabilities beside, the baseline does not.
    """
    given = Given.of(case, rows)
    binding = engine.session("step").bind({"b": rows, "s": 1})
    baseline = PlainLoop(plain_graph(case), rows, threads)
    passes: list[tuple[Pass, Pass]] = []
    for _ in range(WARM_UPS + rounds):
        passes.append((ours(engine, binding, given), plain(baseline, given)))
    timed = passes[WARM_UPS:]
    checked = plain(baseline, given, with_log_p=True)
    mine = passes[-1][0]

    def of(which: int, seconds: str, steps: int) -> tuple[float, ...]:
        return tuple(getattr(pair[which], seconds) * 1e3 / steps for pair in timed)

    prefilled = given.prefix > 1
    return Cell(
        decode=of(0, "decode_s", given.decoded),
        plain_decode=of(1, "decode_s", given.decoded),
        prefill=of(0, "prefill_s", 1) if prefilled else (),
        plain_prefill=of(1, "prefill_s", 1) if prefilled else (),
        sample_nats=distance(engine, mine, 0),
        baseline_nats=distance(engine, checked, given.prefix),
        equal_rows=float((mine.values == checked.values).all(axis=1).mean()),
    )


def against_whole(
    case: Case, engine: Engine, rows: int, rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """ms of a step, and of a pass of the whole network over all positions, in turns.

    Returns:
        the steps' rounds, the passes', and how far the log-probabilities of what was drawn are from
        the parallel graph's, in nats an event.
    """
    given = Given.of(case, rows)
    binding = engine.session("step").bind({"b": rows, "s": 1})
    logits = engine.session("logits")
    steps, passes = [], []
    for number in range(WARM_UPS + rounds):
        drawn = ours(engine, binding, given)
        begin = time.perf_counter()
        logits.run({"x": drawn.values})
        seconds = time.perf_counter() - begin
        if number >= WARM_UPS:
            steps.append(drawn.decode_s * 1e3 / given.decoded)
            passes.append(seconds * 1e3)
    return tuple(steps), tuple(passes), distance(engine, drawn, 0)


def distance(engine: Engine, drawn: Pass, first: int) -> float:
    """Largest |log p as drawn - log p by the parallel graph| of an event, from `first` on, nats."""
    assert drawn.log_p is not None
    exact = engine.position_log_prob(drawn.values)[:, first:]
    found = drawn.log_p[:, first:]
    return float(np.abs((found.astype(np.float64) - exact).sum(axis=1)).max())


def cache_lengths(
    short: Engine, long: Engine, rows: int, rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    """ms/step over the short event's positions, with its own cache and a longer one in turns.

    Returns:
        the short cache's rounds, the long one's, and how far the log-probabilities of what was
        drawn with the long cache are from the short model's parallel graph, in nats an event.
    """
    positions = short.data.length
    times: tuple[list[float], list[float]] = ([], [])
    bindings = [engine.session("step").bind({"b": rows, "s": 1}) for engine in (short, long)]
    for number in range(WARM_UPS + rounds):
        for engine, binding, found in zip((short, long), bindings, times, strict=True):
            seconds = _first_steps(binding, engine.data.length, rows, positions)
            if number >= WARM_UPS:
                found.append(seconds * 1e3 / positions)
    # The end of the event is the only place where the two differ: all of it is before that.
    values = bindings[1].read("values")[:, :positions]
    log_p = bindings[1].read("log_p")[:, :positions]
    nats = distance(short, Pass(0.0, 0.0, values, log_p), 0)
    return tuple(times[0]), tuple(times[1]), nats


def _first_steps(binding: Binding, length: int, rows: int, positions: int) -> float:
    """Seconds of the first steps of an event, in the launches of the engine's loop."""
    observed = np.full((rows, length), -1, np.int64)
    arrays: dict[str, NDArray[Any]] = {
        "u": Noise(0, 0).uniforms(rows, length),
        "observed": observed,
        "values": np.zeros_like(observed),
        "log_p": np.zeros(observed.shape, np.float32),
        "position": np.zeros(rows, np.int64),
    }
    for name, array in arrays.items():
        binding.write(name, array)
    begin = time.perf_counter()
    for done in range(0, positions, step_loop.STEPS_PER_LAUNCH):
        binding.run(min(step_loop.STEPS_PER_LAUNCH, positions - done))
    return time.perf_counter() - begin


def host_between_steps(engine: Engine, rounds: int) -> tuple[float, ...]:
    """Milliseconds of host work between two steps of a batch of one, an upper bound.

    The engine's own loop runs a graph with the same inputs and outputs as the step graph, by name,
    type and number, whose every axis has length 1 and whose nodes copy inputs to outputs. What is
    left of a step is what the host does for it: Python, the binding's call, ONNX Runtime's checking
    of feeds and fetches, and the copies, which are counted as the host's too.
    """
    step = engine.session("step")
    signature = _tiny(step.signature)
    # Like the engine's sessions but for the graph.
    session: Any = dataclasses.replace(
        step,  # type: ignore[type-var]
        session=_identity_session(signature, step),
        signature=signature,
    )
    binding = session.bind({"b": 1, "s": 1})
    launches = 20
    found = []
    for _ in range(WARM_UPS + rounds):
        begin = time.perf_counter()
        for _ in range(launches):
            binding.run(step_loop.STEPS_PER_LAUNCH)
        seconds = time.perf_counter() - begin
        found.append(seconds * 1e3 / (launches * step_loop.STEPS_PER_LAUNCH))
    return tuple(found[WARM_UPS:])


def _tiny(signature: GraphSignature) -> GraphSignature:
    def small(spec: TensorSpec) -> TensorSpec:
        axes = tuple(axis if isinstance(axis, str) else 1 for axis in spec.axes)
        return TensorSpec(name=spec.name, dtype=spec.dtype, axes=axes)

    return GraphSignature(
        inputs=tuple(map(small, signature.inputs)),
        outputs=tuple(map(small, signature.outputs)),
        carried=signature.carried,
    )


def _identity_session(signature: GraphSignature, like: Any) -> Any:
    """An InferenceSession of Identity nodes from each carried input to its output."""
    import onnx
    import onnxruntime as ort

    def info(spec: TensorSpec) -> Any:
        element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
        return onnx.helper.make_tensor_value_info(spec.name, element, spec.axes)

    nodes = [onnx.helper.make_node("Identity", [c.input], [c.output]) for c in signature.carried]
    graph = onnx.helper.make_graph(
        nodes, "host", list(map(info, signature.inputs)), list(map(info, signature.outputs))
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = like.session.get_session_options().intra_op_num_threads
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
