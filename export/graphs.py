"""Export a program as an ONNX graph, in each form, with the names and axes of its signature."""

import functools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import onnx_ir
import torch
from torch import Tensor
from torch._export.verifier import SpecViolationError
from torch.onnx import OnnxExporterError

from ancestral.errors import AncestralError, ExportError
from ancestral.export.operators import Form, drop_unused_outputs, mark_decomposable, translations
from ancestral.export.own.user_code import refused_trace, refused_translation
from ancestral.export.passes.packed_attention import pack
from ancestral.export.passes.rotary_attention import rotate_inside
from ancestral.export.passes.shorter_step import shorten
from ancestral.signature import GraphSignature
from ancestral.train.models.program import Program

OPSET = 24
_TRACED = {"b": 2, "k": 3, "s": 3, "t": 3}
"""Sizes of the named axes while tracing. torch.export would treat 0 and 1 as fixed sizes."""
_REFUSALS = (AssertionError, LookupError, RuntimeError, SpecViolationError, TypeError, ValueError)
"""Exceptions of torch.export. Its own are RuntimeErrors, except SpecViolationError."""


def export_graph(program: Program) -> dict[Form, onnx_ir.Model]:
    """Trace a program once, and translate it to its forms.

    The portable form is always made; the other forms only if they differ from it.

    Args:
        program: program of a model on the CPU, in float32.

    Returns:
        Graph in each form.

    Raises:
        ExportError: PyTorch cannot trace or translate the program, or the names or types of the
            graph differ from the signature.
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


def _trace(program: Program) -> torch.export.ExportedProgram:
    specs = program.signature.inputs
    # Tracing never reads the numbers: memory that is never touched costs nothing.
    inputs = tuple(torch.empty(s.shape(_TRACED), dtype=getattr(torch, s.dtype)) for s in specs)
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
    """Cache the traced program's decomposition, so that all forms share it.

    torch.onnx.export (torch 2.13) decomposes a traced program in every call, with the same table
    each time, and that is most of its time. Without this function, exports with a cache take one
    more decomposition per graph. It can go when torch.onnx.export accepts a decomposed program.
    """
    decompose = traced.run_decompositions
    done: list[torch.export.ExportedProgram] = []

    def once(table: Any = None) -> torch.export.ExportedProgram:
        if not done:
            done.append(decompose(table))
        return done[0]

    traced.run_decompositions = once


def decomposed(program: Program) -> torch.export.ExportedProgram:
    """Return the traced program that the exporter translates; its nodes name the graph's values.

    Raises:
        ExportError: PyTorch cannot trace or translate the program.
    """
    translated = _onnx_program(_trace(program), "portable", program)
    if translated.exported_program is None:
        raise ExportError(
            "torch.onnx.export has returned no traced program; report it with the output of "
            "`ancestral doctor`"
        )
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
        raise ExportError(
            "torch.onnx.export has returned no graph; report it with the output of "
            "`ancestral doctor`"
        )
    return exported


def _translate(traced: torch.export.ExportedProgram, form: Form, program: Program) -> onnx_ir.Model:
    model: onnx_ir.Model = _onnx_program(traced, form, program).model
    check_signature(model.graph, program.signature)
    _name_axes(model.graph, program.signature)
    _strip(model)
    drop_unused_outputs(model.graph)
    if form == "onnxruntime":
        shorten(model.graph)
        rotate_inside(model.graph)
        pack(model.graph)
    return model


class _Fixed(torch.nn.Module):
    """A program that takes its inputs as one tuple, whatever the parameters of its forward."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.program(*tensors))


def check_signature(graph: onnx_ir.Graph, signature: GraphSignature) -> None:
    """Check that the graph's inputs and outputs are those of the signature.

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
            raise ExportError(
                f"{side} of the graph: expected {expected}, got {got}; report it with the output "
                f"of `ancestral doctor`"
            )


def _name_axes(graph: onnx_ir.Graph, signature: GraphSignature) -> None:
    """Replace the tracer's symbols by the signature's names of axes, in every shape."""
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
    """Drop the exporter's metadata: source lines and paths of the exporting machine."""
    for each in (model, model.graph, *model.graph):
        each.metadata_props.clear()
        each.doc_string = None
    made = (value for node in model.graph for value in node.outputs)
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *made):
        value.metadata_props.clear()


@contextmanager
def operators_read_once() -> Iterator[None]:
    """Cache the exporter's table of operators within this context.

    torch.onnx.export (torch 2.13) builds this table anew in every call, which takes 0.7 s; the
    table is always the same. The function that builds it is private: if a release of PyTorch has
    it elsewhere, nothing is cached and exports are slower. If several threads export, the cache
    ends with the first one. This context can go when PyTorch caches the table.
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
    """Hide the exporter's warnings and log lines, for example that torchvision is missing."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
