"""The first node at which a runtime parts from PyTorch, each node given the same inputs.

Errors do not add up that way: a small fault deep in a graph is seen, and each of several.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ancestral.export.trace.difference import Comparison, is_floating
from ancestral.export.trace.graph import Array, Graph, lead_to, producers, tensor_names
from ancestral.export.trace.judge import Judge
from ancestral.export.trace.limits import compared, error_variance
from ancestral.export.trace.report import Difference, TraceReport
from ancestral.export.trace.run import Trace
from ancestral.export.trace.torch import TorchRuntime

Found = dict[str, Comparison]

UNTOLD = "it cannot be told whose fault it is"


def beside_torch(trace: Trace, graph: Graph, torch: TorchRuntime) -> TraceReport:
    """Compare each tensor with what PyTorch makes of the inputs that the runtime gave its node.

    Args:
        trace: of any runtime but torch.
        graph: that was traced.
        torch: over the bundle's model.

    Raises:
        ExportError: the model cannot be traced.
    """
    found: Found = {}
    made_by, values = producers(trace.nodes), trace.values

    def seen(name: str, expected: Array) -> Array:
        if name not in trace.tensors:
            return expected
        got = trace.tensors[name]
        if got.size == expected.size == 1:
            expected = expected.reshape(got.shape)  # PyTorch has plain numbers for sizes
        through = lead_to(made_by[name], made_by, found)
        variance = error_variance(through, values)
        found[name] = compared(got, expected, through, values, variance)
        return got if got.shape == expected.shape else expected

    torch.walk(graph, trace.inputs, seen)
    differences = [
        Difference.at(trace.nodes, name, each, found.keys() - {name})
        for name in tensor_names(trace.nodes)
        if name in found and (each := found[name].mismatch) is not None
    ]
    if differences:
        differences[0] = _judged(differences[0], trace, graph)
    return reported(trace, found, differences)


def reported(
    trace: Trace,
    found: Mapping[str, Comparison],
    differences: Sequence[Difference],
    following: Iterable[str] = (),
    excused: Iterable[str] = (),
) -> TraceReport:
    """All that was found of a graph."""
    agreeing = (each.share for each in found.values() if each.mismatch is None)
    return TraceReport(
        graph=trace.graph,
        form=trace.form,
        nodes=len(trace.nodes),
        compared=len(found),
        differences=tuple(differences),
        following=tuple(following),
        excused=tuple(excused),
        unmatched=tuple(name for name in tensor_names(trace.nodes) if name not in found),
        outputs=tuple(_as_users_run_it(trace)),
        largest_share=max(agreeing, default=0.0),
    )


def _judged(first: Difference, trace: Trace, graph: Graph) -> Difference:
    """A difference, at the node among those that it may be in that did not do as ONNX says."""
    around = {first.node, *first.through}
    nodes = [node for node in trace.nodes if node.name in around]
    try:
        wrong = Judge(trace, graph).first_wrong(nodes)
    except NotImplementedError as error:
        return replace(first, verdict=f"{UNTOLD}: {error}")
    if wrong is None:
        verdict = "the runtime made of its inputs what onnx.reference makes of them: the graph is "
        return replace(first, verdict=verdict + "not what the program says")
    verdict = "onnx.reference makes of the same inputs what is expected: the runtime is wrong"
    return replace(first.moved(trace.nodes, *wrong), verdict=verdict)


def _as_users_run_it(trace: Trace) -> Iterator[Difference]:
    """Floating outputs that are others when the graph is run whole, not shown node by node.

    What is drawn may fall to either side of a near tie; `verify` knows how near, and judges it.
    """
    made_by, values = producers(trace.nodes), trace.values
    variance = error_variance(trace.nodes, values)
    for name, got in trace.outputs.items():
        if name not in trace.tensors or not is_floating(got):
            continue
        shown, node = trace.tensors[name], made_by[name]
        found = compared(got, shown, [node], values, variance)
        if found.mismatch is not None:
            difference = Difference.at(trace.nodes, name, found.mismatch, trace.tensors.keys())
            verdict = "that is the whole graph as users run it; node by node the runtime gives "
            yield replace(difference, verdict=verdict + "what is expected: it optimises wrongly")
