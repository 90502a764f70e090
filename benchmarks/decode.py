"""The timed loops: ours, the baseline's, the first steps of an event, and the host's share."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine import Engine, prefill, step_graph, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.session import Binding
from ancestral.engine.timing import interleaved, seconds
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.signature import GraphSignature, TensorSpec
from benchmarks.cases import Case
from benchmarks.plain_loop import PlainLoop
from benchmarks.rows import Rounds

WARM_UPS = 1
"""Number of whole passes of each loop before the rounds."""
REST_S = 0.1
"""Seconds between two passes: the threads of a session spin for 40 ms after its last run."""


@dataclass(frozen=True, slots=True)
class Given:
    """What loops start from: values before `prefix`, uniforms of all positions, and settings."""

    values: NDArray[np.int64]
    u: NDArray[np.float32]
    prefix: int
    sampling: Sampling = UNFILTERED

    @classmethod
    def of(cls, case: Case, rows: int) -> "Given":
        """Draw uniform values before the prefix, from a fixed seed."""
        u = Noise(0, 0).uniforms(rows, case.length)
        values = (Noise(1, 0).uniforms(rows, case.length) * case.levels).astype(np.int64)
        values[:, case.prefix :] = -1
        return cls(values, u, case.prefix)


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the events: seconds of the prefill (0 without a prefix) and of all steps."""

    prefill_s: float
    decode_s: float
    values: NDArray[np.int64]
    log_p: NDArray[np.float32] | None = None


def ours(engine: Engine, binding: Binding, given: Given, *, prompt_log_p: bool = True) -> Pass:
    """Run one pass of the engine's own loop; the clock is read where it reports to the host."""
    graph = step_graph.graph_of(given.sampling, engine.bundle.manifest.graphs)
    signature = engine.session(graph).signature
    settings = step_graph.settings(signature, given.sampling, len(given.u), engine.data.levels)
    stamps = [time.perf_counter()]
    drawn = step_loop.draw(
        binding,
        step_loop.Start(
            given.values,
            {names.U: given.u} | settings,
            engine.first_position,
            step_graph.takes_blocks(signature),
            filling=prefill.session_of(engine, prompt_log_p=prompt_log_p),
        ),
        lambda steps: stamps.append(time.perf_counter()),
    )
    start = stamps[1] if given.prefix > 1 else stamps[0]
    return Pass(start - stamps[0], stamps[-1] - start, drawn.values, drawn.log_p)


def plain(baseline: PlainLoop, given: Given, *, with_log_p: bool = False) -> Pass:
    """Run one pass of the baseline; log-probabilities are computed on request only."""
    values = given.values.copy()
    log_p = np.zeros(values.shape, np.float32) if with_log_p else None
    begin = time.perf_counter()
    if given.prefix:
        baseline.prefill(values[:, : given.prefix])
    start = time.perf_counter()
    baseline.decode(values, given.u, given.prefix, log_p)
    return Pass(start - begin, time.perf_counter() - start, values, log_p)


def in_turns(actions: Sequence[Callable[[], Pass]], rounds: int) -> list[list[Pass]]:
    """Return the passes of each action, run in alternation after WARM_UPS uncounted passes.

    Before each pass the threads of the one before have come to rest; else they take its cores.
    """

    def rested(action: Callable[[], Pass]) -> Pass:
        time.sleep(REST_S)
        return action()

    turns = [[rested(action) for action in actions] for _ in range(WARM_UPS + rounds)]
    return [list(passes) for passes in zip(*turns[WARM_UPS:], strict=True)]


def step_ms(passes: Sequence[Pass], given: Given) -> Rounds:
    """Return the milliseconds per step in each pass: decoding time / number of steps."""
    decoded = given.u.shape[1] - given.prefix
    return tuple(each.decode_s * 1e3 / decoded for each in passes)


def prefill_ms(passes: Sequence[Pass]) -> Rounds:
    """Return the milliseconds of the prefill in each pass."""
    return tuple(each.prefill_s * 1e3 for each in passes)


def distance(engine: Engine, drawn: Pass, first: int) -> float:
    """Return the largest error of an event's log p as drawn, from position `first` on, in nats.

    The error is measured against the parallel graph.
    """
    assert drawn.log_p is not None
    exact = engine.position_log_prob(drawn.values)[:, first:]
    found = drawn.log_p[:, first:]
    return float(np.abs((found.astype(np.float64) - exact).sum(axis=1)).max())


def first_steps(engine: Engine, binding: Binding, rows: int, positions: int) -> Pass:
    """Run the first steps of an event, in launches as in the engine's loop."""
    length = engine.data.length
    free, u = np.full((rows, length), -1), Noise(0, 0).uniforms(rows, length)
    signature = engine.session("step").signature
    settings = step_graph.settings(signature, UNFILTERED, rows, engine.data.levels)
    step_loop.begin(binding, step_loop.Start(free, {names.U: u} | settings, prefill=False))
    taken = seconds(lambda: step_loop.advance(binding, positions))
    # Events of two lengths differ only at their end, and all of these steps come before it.
    found = (binding.read(name)[:, :positions] for name in (names.VALUES, names.LOG_P))
    return Pass(0.0, taken, *found)


def host_between_steps(engine: Engine, rounds: int) -> Rounds:
    """Return the milliseconds of host work between two steps at batch 1, an upper bound.

    The engine's own loop runs a graph with the same inputs and outputs as the step graph (names,
    types and number), but every axis has length 1 and the nodes only copy inputs to outputs. The
    time of such a step is the host's work: Python, the binding's call, ONNX Runtime's checks of
    feeds and fetches, and also the copies.
    """
    step = engine.session("step")
    signature = _tiny(step.signature)
    # The same as the engine's session, except for the graph.
    session: Any = dataclasses.replace(
        step,  # type: ignore[type-var]
        session=_identity_session(signature, step),
        signature=signature,
    )
    binding = session.bind({"b": 1, "s": 1})
    steps = 20 * step_loop.STEPS_PER_LAUNCH
    (found,) = interleaved([lambda: step_loop.advance(binding, steps)], rounds, WARM_UPS)
    return tuple(each * 1e3 / steps for each in found)


def _tiny(signature: GraphSignature) -> GraphSignature:
    def small(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        axes = [tuple(a if isinstance(a, str) else 1 for a in spec.axes) for spec in specs]
        return tuple(s.model_copy(update={"axes": a}) for s, a in zip(specs, axes, strict=True))

    tensors = {"inputs": small(signature.inputs), "outputs": small(signature.outputs)}
    return signature.model_copy(update=tensors)


def _identity_session(signature: GraphSignature, like: Any) -> Any:
    """Return an InferenceSession with an Identity node from each carried input to its output."""
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
