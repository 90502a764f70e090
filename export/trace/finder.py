"""The first node at which a run parts from PyTorch or from another run, and whose fault it is."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ancestral.errors import InvalidInput
from ancestral.export.trace.comparison import Comparison, compared, error_variance, is_floating
from ancestral.export.trace.graph import Array, made
from ancestral.export.trace.onnx_reference import run_node
from ancestral.export.trace.report import Difference, TraceReport
from ancestral.export.trace.run import Trace
from ancestral.export.trace.torch import TorchReference

_UNKNOWN = "it cannot be told whose fault it is"
_WRONG = "onnx.reference makes something else of the inputs of this run: the runtime is wrong"
_RIGHT = "onnx.reference makes of the inputs of this run what it made"
_NUMBERED = re.compile(r"val_\d+")
"""What the exporter calls a value of none of the program's nodes: it counts anew in each form."""


def beside_torch(trace: Trace, torch: TorchReference) -> TraceReport:
    """Compare each tensor with what PyTorch makes of the inputs that the runtime gave its node.

    Errors do not add up that way: a small fault deep in a graph is seen, and each of several.

    Args:
        trace: of any runtime but torch.
        torch: over the bundle's model.

    Raises:
        ExportError: the model cannot be traced.
    """
    graph, values = trace.graph, trace.values
    found: dict[str, Comparison] = {}

    def seen(name: str, expected: Array) -> Array:
        if name not in trace.tensors:
            return expected
        got = trace.tensors[name]
        if got.size == expected.size == 1:
            expected = expected.reshape(got.shape)  # PyTorch has plain numbers for sizes
        through = graph.some(graph.lead_to(name, found.keys()))
        found[name] = compared(got, expected, through, values)
        return got if got.shape == expected.shape else expected

    torch.walk(graph, trace.inputs, seen)
    differences: list[Difference] = []
    for name in graph.made_by:
        if name in found and (mismatch := found[name].mismatch) is not None:
            through = graph.lead_to(name, found.keys())
            differences.append(Difference.at(graph, through, name, mismatch))
    if differences:
        verdict = f"{_RIGHT}: the graph is not what the program says"
        differences[0] = _judged(trace, differences[0].tensor, found, verdict)
    return _report(trace, found, differences)


def beside_run(trace: Trace, other: Trace) -> TraceReport:
    """Compare each tensor with another run's of the same graph on the same inputs.

    Each goes its own way through the graph. Errors add up here, so the limit is wider; and a node
    may magnify them, or choose otherwise at a near tie. Where both runs made of their own inputs
    what ONNX says, that is not a fault of the node.

    Raises:
        InvalidInput: the inputs differ.
    """
    _check_inputs(trace, other)
    found = _compare_all(trace, other)
    differences, following, excused = [], [], []
    after: dict[str, bool] = {}
    """Tensors that differ, or that may and cannot be compared; whether they are excused."""
    for node in trace.graph.nodes:
        before = [after[name] for name in node.input if name in after]
        for name in made(node):
            if name not in found:
                if before:
                    after[name] = all(before)
            elif found[name].mismatch is not None:
                after[name] = False
                if not all(before):
                    following.append(name)
                elif each := _of_one(trace, other, name, found, excused=bool(before)):
                    differences.append(each)
                else:
                    excused.append(name)
                    after[name] = True
    return _report(trace, found, differences, following, excused)


def _of_one(
    trace: Trace, other: Trace, name: str, found: Mapping[str, Comparison], *, excused: bool
) -> Difference | None:
    """A difference of a run from another, with whose fault it is; None where it is nobody's.

    Where what was read differs, and is excused, so is what cannot be judged.
    """
    difference = _judged(trace, name, found, _RIGHT)
    if difference.mismatch.kind != "value":
        return difference
    if difference.verdict == _RIGHT:
        verdict = _judged(other, name, found, _RIGHT).verdict
        if verdict == _RIGHT:
            return None
        unknown = verdict.startswith(_UNKNOWN)
        verdict = verdict if unknown else f"{_RIGHT}, not so of the other"
        difference = replace(difference, verdict=verdict)
    return None if excused and difference.verdict.startswith(_UNKNOWN) else difference


def _judged(trace: Trace, name: str, found: Mapping[str, Comparison], right: str) -> Difference:
    """A difference, at the first node that did not do as ONNX says, if there is one.

    What the run does not show goes from node to node as the standard has it.

    Args:
        trace: of the run that is judged.
        name: of the tensor.
        found: how far apart tensors are, this one among them.
        right: the verdict where every node did as ONNX says.
    """
    graph, mismatch = trace.graph, found[name].mismatch
    assert mismatch is not None
    through = graph.lead_to(name, found.keys())
    values, unknown = trace.values, []
    for node in graph.some(through):
        try:
            expected = run_node(graph, node, values)
        except NotImplementedError as error:
            unknown.append(str(error))
            continue
        values = expected | values
        for each, array in expected.items():
            wrong = compared(values[each], array, [node], values).mismatch
            if wrong is not None:
                return Difference.at(graph, through, each, wrong, _WRONG, graph.made_by[each])
    verdict = f"{_UNKNOWN}: {'; '.join(unknown)}" if unknown else right
    return Difference.at(graph, through, name, mismatch, verdict)


def _compare_all(trace: Trace, other: Trace) -> dict[str, Comparison]:
    shared = trace.tensors.keys() & other.tensors.keys()
    if trace.graph.form != other.graph.form:
        shared = {name for name in shared if not _NUMBERED.fullmatch(name)}
    values, found = trace.values, {}
    variance = 0.0
    for node in trace.graph.nodes:
        variance += error_variance([node], values)
        for name in shared.intersection(node.output):
            got, expected = trace.tensors[name], other.tensors[name]
            found[name] = compared(got, expected, [node], values, variance)
    return found


def _check_inputs(trace: Trace, other: Trace) -> None:
    """Compare what the two runs were given.

    Raises:
        InvalidInput: not the same.
    """
    given, others = (
        {name: (array.dtype, array.shape, array.tobytes()) for name, array in each.inputs.items()}
        for each in (trace, other)
    )
    differ = sorted({name for name in {*given, *others} if given.get(name) != others.get(name)})
    if differ:
        raise InvalidInput(
            f"graph {trace.graph.name}: expected two runs on the same inputs, but "
            f"{', '.join(differ)} differs: make the second run with --against the first"
        )


def _report(
    trace: Trace,
    found: Mapping[str, Comparison],
    differences: Iterable[Difference],
    following: Iterable[str] = (),
    excused: Iterable[str] = (),
) -> TraceReport:
    """All that was found of a graph."""
    agreeing = (each.share for each in found.values() if each.mismatch is None)
    return TraceReport(
        graph=trace.graph.name,
        form=trace.graph.form,
        nodes=len(trace.graph.nodes),
        compared=len(found),
        differences=tuple(differences),
        following=tuple(following),
        excused=tuple(excused),
        unmatched=tuple(name for name in trace.graph.made_by if name not in found),
        outputs=tuple(_as_users_run_it(trace)),
        largest_share=max(agreeing, default=0.0),
    )


def _as_users_run_it(trace: Trace) -> Iterator[Difference]:
    """Floating outputs that are others when the graph is run whole, not shown node by node.

    What is drawn may fall to either side of a near tie; `verify` knows how near, and judges it.
    """
    graph, values = trace.graph, trace.values
    variance = error_variance(graph.nodes, values)
    for name, got in trace.outputs.items():
        if name in trace.tensors and is_floating(got):
            made_by = graph.some([graph.made_by[name]])
            mismatch = compared(got, trace.tensors[name], made_by, values, variance).mismatch
            if mismatch is not None:
                verdict = (
                    "that is the whole graph as users run it; node by node the runtime gives what "
                    "is expected: it optimises wrongly"
                )
                through = graph.lead_to(name, trace.tensors.keys())
                yield Difference.at(graph, through, name, mismatch, verdict)
