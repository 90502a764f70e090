"""Program -> ONNX graph, in each of its forms, with the names and axes of its signature."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir
import torch
from torch import Tensor

from ancestral.errors import ExportError
from ancestral.export.operators import Form, mark_decomposable, translations
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.train.models.graphs import Program

OPSET = 24
_TRACED = {"b": 2, "s": 3, "t": 3}
"""Sizes that a graph is traced with: 0 and 1 would be specialised away."""


def export_graph(program: Program) -> dict[Form, onnx_ir.Model]:
    """Trace a program once and translate it to its forms.

    The portable form is always there; the others where they differ from it.

    Raises:
        ExportError: the exporter refused, or named or typed the graph unlike its signature.
    """
    traced = _trace(program)
    portable = _translate(traced, "portable", program.signature)
    forms: dict[Form, onnx_ir.Model] = {"portable": portable}
    if program.signature.carried:
        forms["onnxruntime"] = _translate(traced, "onnxruntime", program.signature)
    forms["tensorrt"] = portable.clone()
    mark_decomposable(forms["tensorrt"].graph)
    return forms


def _trace(program: Program) -> torch.export.ExportedProgram:
    specs = program.signature.inputs
    inputs = tuple(_example(spec) for spec in specs)
    longest = {"b": 2**20, "s": program.model.data.length, "t": program.model.data.length}
    sizes = {axis: torch.export.Dim(axis, min=1, max=size) for axis, size in longest.items()}
    shapes = tuple(
        {i: sizes[axis] for i, axis in enumerate(spec.axes) if isinstance(axis, str)}
        for spec in specs
    )
    with torch.no_grad(), _quiet():
        try:
            return torch.export.export(
                _Fixed(program), inputs, dynamic_shapes=(shapes,), strict=False
            )
        except Exception as error:
            raise ExportError(f"{type(program).__name__} cannot be traced: {error}") from error


def _translate(
    traced: torch.export.ExportedProgram, form: Form, signature: GraphSignature
) -> onnx_ir.Model:
    with torch.no_grad(), _quiet():
        exported = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=translations(form),
            input_names=[spec.name for spec in signature.inputs],
            output_names=[spec.name for spec in signature.outputs],
            verbose=False,
        )
    if exported is None:
        raise ExportError(f"form {form}: the exporter returned nothing")
    model: onnx_ir.Model = exported.model
    _check(model.graph, signature)
    _strip(model)
    return model


class _Fixed(torch.nn.Module):
    """A program whose inputs are one tuple, whatever names its forward gives them."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.program(*tensors))


def _example(spec: TensorSpec) -> Tensor:
    return torch.zeros(spec.shape(_TRACED), dtype=getattr(torch, spec.dtype))


def _check(graph: onnx_ir.Graph, signature: GraphSignature) -> None:
    """Compare the graph's inputs and outputs with the signature.

    Raises:
        ExportError: a name or an element type differs.
    """
    for side, values, specs in (
        ("inputs", graph.inputs, signature.inputs),
        ("outputs", graph.outputs, signature.outputs),
    ):
        got = [(value.name, _dtype(value)) for value in values]
        expected = [(spec.name, spec.dtype) for spec in specs]
        if got != expected:
            raise ExportError(f"{side} of the graph: expected {expected}, got {got}")


def _strip(model: onnx_ir.Model) -> None:
    """Drop the exporter's notes: they hold the source and the paths of the machine that exported."""
    model.metadata_props.clear()
    model.doc_string = None
    model.graph.metadata_props.clear()
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()


def _dtype(value: onnx_ir.Value) -> str:
    names = {"FLOAT": "float32", "FLOAT16": "float16", "BFLOAT16": "bfloat16"}
    name = value.dtype.name if value.dtype is not None else "unknown"
    return names.get(name, name.lower())


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
