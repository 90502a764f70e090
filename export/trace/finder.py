"""Find the first node at which a run differs from PyTorch or another run, and which is wrong."""

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

_UNKNOWN = "it is unknown which side is wrong"
_WRONG = "onnx.reference gives a different result for the inputs of this run: the runtime is wrong"
_RIGHT = "onnx.reference gives the same result as this run for its inputs"
_NUMBERED = re.compile(r"val_\d+")
"""Names of values that belong to no node of the program: the exporter numbers them in each form."""


def beside_torch(trace: Trace, torch: TorchReference) -> TraceReport:
    """Compare each tensor with PyTorch's, computed from the runtime's own inputs of the node.

    Errors do not add up in this way, so that a small fault deep in a graph is found, and each of
    several faults.

    Args:
        trace: trace of any runtime except torch.
        torch: reference with the bundle's model.

    Returns:
        Report of the graph, with a verdict on the first difference.

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
            expected = expected.reshape(got.shape)  # sizes are plain numbers in PyTorch
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
        verdict = f"{_RIGHT}: the graph differs from the program"
        differences[0] = _judged(trace, differences[0].tensor, found, verdict)
    return _report(trace, found, differences)


def beside_run(trace: Trace, other: Trace) -> TraceReport:
    """Compare each tensor with that of another run of the same graph on the same inputs.

    Each run computes every node from its own tensors. Errors add up, so the limit is wider. A node
    may also magnify them, or choose differently at a near tie. A difference is excused if each run
    computed from its own inputs what the ONNX standard says.

    Args:
        trace: run to judge.
        other: run to compare with.

    Returns:
        Report of the graph, with a verdict on each difference.

    Raises:
        InvalidInput: the inputs of the two runs differ.
    """
    _check_inputs(trace, other)
    found = _compare_all(trace, other)
    differences, following, excused = [], [], []
    after: dict[str, bool] = {}
    """Whether each tensor that differs, or that may but cannot be compared, is excused."""
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
    """Return a difference of two runs, with a verdict; None if neither run is wrong.

    If the node's inputs differ and are excused, a difference that cannot be judged is excused too.
    """
    difference = _judged(trace, name, found, _RIGHT)
    if difference.mismatch.kind != "value":
        return difference
    if difference.verdict == _RIGHT:
        verdict = _judged(other, name, found, _RIGHT).verdict
        if verdict == _RIGHT:
            return None
        unknown = verdict.startswith(_UNKNOWN)
        verdict = verdict if unknown else f"{_RIGHT}; for the other run it does not"
        difference = replace(difference, verdict=verdict)
    return None if excused and difference.verdict.startswith(_UNKNOWN) else difference


def _judged(trace: Trace, name: str, found: Mapping[str, Comparison], right: str) -> Difference:
    """Judge a difference: find the first node whose result differs from the ONNX standard.

    Tensors that the run does not have are computed by onnx.reference.

    Args:
        trace: run to judge.
        name: name of the tensor that differs.
        found: comparisons of tensors by name, this one among them.
        right: verdict if every node gives the standard's result.

    Returns:
        The difference at that node; if no node is wrong, at the node that made the tensor.
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
    """Check that two runs have the same inputs.

    Raises:
        InvalidInput: an input differs.
    """
    given, others = (
        {name: (array.dtype, array.shape, array.tobytes()) for name, array in each.inputs.items()}
        for each in (trace, other)
    )
    differ = sorted({name for name in {*given, *others} if given.get(name) != others.get(name)})
    if differ:
        raise InvalidInput(
            f"graph {trace.graph.name!r}: expected two runs on the same inputs, but they differ in "
            f"{', '.join(differ)}; make the second run with --against the first"
        )


def _report(
    trace: Trace,
    found: Mapping[str, Comparison],
    differences: Iterable[Difference],
    following: Iterable[str] = (),
    excused: Iterable[str] = (),
) -> TraceReport:
    """Return the report of one graph."""
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
    """Yield the floating-point outputs that differ between the optimised graph and node by node.

    Drawn values are left out: they may fall to either side of a near tie, which `verify` judges.
    """
    graph, values = trace.graph, trace.values
    variance = error_variance(graph.nodes, values)
    for name, got in trace.outputs.items():
        if name in trace.tensors and is_floating(got):
            made_by = graph.some([graph.made_by[name]])
            mismatch = compared(got, trace.tensors[name], made_by, values, variance).mismatch
            if mismatch is not None:
                verdict = (
                    "node by node the runtime gives the expected result, but not for the whole "
                    "graph, which it optimises: an optimisation is wrong"
                )
                through = graph.lead_to(name, trace.tensors.keys())
                yield Difference.at(graph, through, name, mismatch, verdict)
