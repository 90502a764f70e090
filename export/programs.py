"""Which programs are traced for the graphs of a model, and the graphs that are cut from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import cast

import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ancestral.errors import ExportError
from ancestral.export.graphs import check_signature, export_graph
from ancestral.export.operators import Form
from ancestral.signature import GraphSignature
from ancestral.step_tensors import LOG_PROB, LOGITS, REDRAWN
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import PARALLEL, GraphName, Parallel, Program, build
from ancestral.train.models.latent_graphs import Every, latent_graphs_of
from ancestral.train.models.latent_variable import LatentVariableModel

Progress = Callable[[str], None]
"""Told each thing that is about to be done."""
Graphs = Iterable[tuple[str, GraphSignature, dict[Form, onnx_ir.Model]]]
"""Name, signature and forms of each, in float32."""


def export_graphs(model: Model, names: Sequence[str], progress: Progress) -> Graphs:
    """Graphs of a model; those that share a pass are cut from one trace, outputs and all.

    Args:
        model: of either kind.
        names: of its graphs.
        progress: called with each trace that is about to be made.

    Raises:
        ExportError: as in `export_graph`.
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
    """The programs that are traced for some graphs, each with the programs of its graphs.

    Graphs that share a pass have one, and values of these graphs are named after it.
    """
    if isinstance(model, LatentVariableModel):
        every = Every(model, latent_graphs_of(model)).eval()
        yield every, {name: every.parts[name].eval() for name in every.parts if name in names}
        return
    own: dict[str, Program] = {name: build(cast(GraphName, name), model).eval() for name in names}
    together: dict[str, Program] = {each: own[each] for each in own if each in PARALLEL}
    if together:
        yield Parallel(model, (LOG_PROB, LOGITS, REDRAWN)).eval(), together
    for name, program in own.items():
        if name not in together:
            yield program, {name: program}


def prefix_of(graph: str, program: Program) -> str:
    """What comes before the names of a graph's tensors in the program that is traced for it."""
    return f"{graph}." if isinstance(program, Every) else ""


def _keep(model: onnx_ir.Model, signature: GraphSignature, prefix: str) -> onnx_ir.Model:
    """The part of a graph that leads to the signature's outputs, there named with a prefix."""
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
    """Let a node that reads the size of one axis read it from an input that is kept.

    Raises:
        ExportError: it reads something else, or none has that axis.
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
    raise ExportError(f"{node.name}: reads {value.name!r}, which is no input of {kept}")
