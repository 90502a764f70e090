"""Trace the programs of a model, and cut its graphs from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ancestral.errors import ExportError
from ancestral.export.graphs import check_signature, export_graph
from ancestral.export.operators import Form
from ancestral.signature import GraphSignature
from ancestral.step_tensors import LOG_PROB, LOGITS, REDRAWN, TOP_IDS, TOP_LOG_PROB
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import PARALLEL, GraphName, Parallel, build
from ancestral.train.models.latent_graphs import Every, latent_graphs_of
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.program import Program

Progress = Callable[[str], None]
"""Called with a short text before each stage of an export."""
Graphs = Iterable[tuple[str, GraphSignature, dict[Form, onnx_ir.Model]]]
"""Name, signature and forms of each graph, in float32."""


def export_graphs(model: Model, names: Sequence[str], progress: Progress) -> Graphs:
    """Yield the graphs of a model; graphs that share a pass are cut from one trace.

    Args:
        model: autoregressive or latent variable model.
        names: names of the graphs.
        progress: called with a short text before each trace.

    Raises:
        ExportError: PyTorch cannot trace or translate a program.
    """
    for program, parts in programs(model, names):
        progress(f"graph{'s' * (len(parts) > 1)} {', '.join(parts)}")
        forms = whole = export_graph(program)
        for name, part in parts.items():
            if part is not program:
                prefix = prefix_of(name, program)
                forms = {form: _keep(each, part.signature, prefix) for form, each in whole.items()}
            yield name, part.signature, forms


def programs(model: Model, names: Sequence[str]) -> Iterator[tuple[Program, dict[str, Program]]]:
    """Yield each program to trace, with the programs of the graphs that are cut from it, by name.

    Graphs that share a pass share a program, whose nodes name the values of all of them.
    """
    if isinstance(model, LatentVariableModel):
        every = Every(model, latent_graphs_of(model)).eval()
        yield every, {name: every.parts[name].eval() for name in every.parts if name in names}
        return
    own: dict[str, Program] = {name: build(cast(GraphName, name), model).eval() for name in names}
    together: dict[str, Program] = {each: own[each] for each in own if each in PARALLEL}
    if together:
        yield Parallel(model, (LOG_PROB, LOGITS, REDRAWN, TOP_IDS, TOP_LOG_PROB)).eval(), together
    for name, program in own.items():
        if name not in together:
            yield program, {name: program}


def prefix_of(graph: str, program: Program) -> str:
    """Return the prefix that a graph's tensors have in the program that is traced for it."""
    return f"{graph}." if isinstance(program, Every) else ""


def _keep(model: onnx_ir.Model, signature: GraphSignature, prefix: str) -> onnx_ir.Model:
    """Return the part of a graph that computes the signature's outputs, without their prefix."""
    part = model.clone()
    wanted = {prefix + spec.name for spec in signature.outputs}
    part.graph.outputs[:] = [value for value in part.graph.outputs if value.name in wanted]
    RemoveUnusedNodesPass()(part)
    needed = {prefix + spec.name for spec in signature.inputs}
    kept = [value for value in part.graph.inputs if value.name in needed]
    for value in part.graph.inputs:
        # The exporter may read the size of an axis from any input that has it.
        for node, index in tuple(value.uses()) if value.name not in needed else ():
            _read_elsewhere(node, index, value, kept)
    part.graph.inputs[:] = kept
    for value in (*part.graph.inputs, *part.graph.outputs):
        value.name = (value.name or "").removeprefix(prefix)
    check_signature(part.graph, signature)
    return part


def _read_elsewhere(
    node: onnx_ir.Node, index: int, value: onnx_ir.Value, kept: list[onnx_ir.Value]
) -> None:
    """Make a node read the size of an axis from an input that is kept.

    Raises:
        ExportError: the node reads something else, or no input that is kept has the axis.
    """
    start, end = (node.attributes.get_int(name, -1) for name in ("start", "end"))
    shape = value.shape
    if node.op_type == "Shape" and shape is not None and start >= 0 and end == start + 1:
        for other in kept:
            for axis, size in enumerate(other.shape or ()):
                if size == shape[start]:
                    node.replace_input_with(index, other)
                    node.attributes["start"] = onnx_ir.AttrInt64("start", axis)
                    node.attributes["end"] = onnx_ir.AttrInt64("end", axis + 1)
                    return
    names = [each.name for each in kept]
    raise ExportError(
        f"{node.name}: expected only inputs of {names}, got {value.name!r}; report it with the "
        f"output of `ancestral doctor`"
    )
