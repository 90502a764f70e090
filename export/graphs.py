"""Program -> ONNX graph, in each of its forms, with the names and axes of its signature."""

import functools
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import onnx_ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor
from torch._export.verifier import SpecViolationError
from torch.onnx import OnnxExporterError

from ancestral.errors import AncestralError, ExportError
from ancestral.export.operators import (
    Form,
    drop_unused_outputs,
    mark_decomposable,
    translations,
)
from ancestral.export.own.refusal import refused_trace, refused_translation
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.step_tensors import LOG_PROB, LOGITS, REDRAWN
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import PARALLEL, GraphName, Parallel, build
from ancestral.train.models.latent_graphs import Every, latent_graphs_of
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.program import Program

Progress = Callable[[str], None]
"""Told each thing that is about to be done."""
Graphs = Iterable[tuple[str, GraphSignature, dict[Form, onnx_ir.Model]]]
"""Name, signature and forms of each, in float32."""
OPSET = 24
_TRACED = {"b": 2, "k": 3, "s": 3, "t": 3}
"""Sizes that a graph is traced with: 0 and 1 would be specialised away."""
_REFUSALS = (AssertionError, LookupError, RuntimeError, SpecViolationError, TypeError, ValueError)
"""What torch.export raises: its own exceptions are RuntimeErrors, but for that of its verifier."""


def export_graph(program: Program) -> dict[Form, onnx_ir.Model]:
    """Trace a program once and translate it to its forms.

    The portable form is always there; the others where they differ from it.

    Raises:
        ExportError: the exporter refused, or named or typed the graph unlike its signature.
    """
    traced = _trace(program)
    _decompose_once(traced)
    portable = _translate(traced, "portable", program)
    forms: dict[Form, onnx_ir.Model] = {"portable": portable}
    if program.signature.carried:
        forms["onnxruntime"] = _translate(traced, "onnxruntime", program)
    marked = portable.clone()
    if mark_decomposable(marked.graph):
        forms["tensorrt"] = marked
    return forms


def export_graphs(model: Model, names: Sequence[str], progress: Progress) -> Graphs:
    """Graphs of a model; those that share a pass are cut from one trace, outputs and all.

    Args:
        model: of either kind.
        names: of its graphs.
        progress: told each trace that is about to be made.

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
    _check(part.graph, signature)
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


def _trace(program: Program) -> torch.export.ExportedProgram:
    specs = program.signature.inputs
    inputs = tuple(_example(spec) for spec in specs)
    sizes = {
        axis: torch.export.Dim(axis, min=1, max=size) for axis, size in program.longest.items()
    }
    shapes = tuple(
        {i: sizes[axis] for i, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in specs
    )
    with torch.no_grad(), _quiet():
        try:
            return torch.export.export(
                _Fixed(program), inputs, dynamic_shapes=(shapes,), strict=False
            )
        except AncestralError:
            raise
        except _REFUSALS as error:
            raise refused_trace(program, error) from error


def _decompose_once(traced: torch.export.ExportedProgram) -> None:
    """Let every form share one decomposition, which takes most of the time of a translation.

    The exporter decomposes whatever it is given by one table, the same for all our forms.
    """
    decompose = traced.run_decompositions
    done: list[torch.export.ExportedProgram] = []

    def once(table: Any = None) -> torch.export.ExportedProgram:
        if not done:
            done.append(decompose(table))
        return done[0]

    traced.run_decompositions = once


def decomposed(program: Program) -> torch.export.ExportedProgram:
    """A traced program as the exporter translates it: its nodes name the graph's values.

    Raises:
        ExportError: as in `export_graph`.
    """
    translated = _onnx_program(_trace(program), "portable", program)
    if translated.exported_program is None:
        raise ExportError(f"{type(program).__name__}: the exporter kept no traced program")
    return translated.exported_program


def _onnx_program(
    traced: torch.export.ExportedProgram, form: Form, program: Program
) -> torch.onnx.ONNXProgram:
    signature = program.signature
    with torch.no_grad(), _quiet():
        try:
            exported = torch.onnx.export(
                traced,
                dynamo=True,
                opset_version=OPSET,
                custom_translation_table=translations(form),
                input_names=[spec.name for spec in signature.inputs],
                output_names=[spec.name for spec in signature.outputs],
                verbose=False,
            )
        except OnnxExporterError as error:
            raise refused_translation(program, error) from error
    if exported is None:
        raise ExportError(f"form {form}: the exporter returned nothing")
    return exported


def _translate(traced: torch.export.ExportedProgram, form: Form, program: Program) -> onnx_ir.Model:
    model: onnx_ir.Model = _onnx_program(traced, form, program).model
    _check(model.graph, program.signature)
    _name_axes(model.graph, program.signature)
    _strip(model)
    drop_unused_outputs(model.graph)
    return model


class _Fixed(torch.nn.Module):
    """A program whose inputs are one tuple, whatever names its forward gives them."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.program(*tensors))


def _example(spec: TensorSpec) -> Tensor:
    """A tensor that nothing reads: memory that is never touched is not taken."""
    return torch.empty(spec.shape(_TRACED), dtype=getattr(torch, spec.dtype))


def _check(graph: onnx_ir.Graph, signature: GraphSignature) -> None:
    """Compare the graph's inputs and outputs with the signature.

    Raises:
        ExportError: a name or an element type differs.
    """
    for side, values, specs in (
        ("inputs", graph.inputs, signature.inputs),
        ("outputs", graph.outputs, signature.outputs),
    ):
        got = [(value.name, str(value.dtype and value.dtype.numpy())) for value in values]
        expected = [(spec.name, spec.dtype) for spec in specs]
        if got != expected:
            raise ExportError(f"{side} of the graph: expected {expected}, got {got}")


def _name_axes(graph: onnx_ir.Graph, signature: GraphSignature) -> None:
    """Call the axes by the signature's names, in every shape, instead of the tracer's symbols."""
    names: dict[str, str | int] = {}
    for value, spec in zip(graph.inputs, signature.inputs, strict=True):
        for dim, axis in zip(value.shape or (), spec.axes, strict=True):
            if isinstance(dim, onnx_ir.SymbolicDim) and dim.value is not None:
                names[dim.value] = axis
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = onnx_ir.Shape(
                names.get(dim.value or "", dim) if isinstance(dim, onnx_ir.SymbolicDim) else dim
                for dim in value.shape
            )


def _strip(model: onnx_ir.Model) -> None:
    """Drop the exporter's notes: they hold source lines and paths of the exporting machine."""
    for each in (model, model.graph, *model.graph):
        each.metadata_props.clear()
        each.doc_string = None
    made = (value for node in model.graph for value in node.outputs)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *made):
        value.metadata_props.clear()


@contextmanager
def operators_read_once() -> Iterator[None]:
    """Within it the exporter reads PyTorch's operators once, not at every export (0.7 s each).

    Their table is the same for all; where this PyTorch keeps it elsewhere, nothing changes. Of
    exports in several threads the first one has the scope.
    """
    try:
        apis = import_module("torch.onnx._internal._lazy_import").onnxscript_apis
        read = apis.get_torchlib_ops
    except (ImportError, AttributeError):
        yield
        return
    if hasattr(read, "cache_info"):
        yield
        return
    apis.get_torchlib_ops = functools.cache(read)
    try:
        yield
    finally:
        apis.get_torchlib_ops = read


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own notes (torchvision is absent, say) from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
