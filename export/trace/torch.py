"""PyTorch as the reference of a trace: a bundle's program, traced again, run node by node.

The exporter names the values of an ONNX graph after the nodes of the traced program, so that the
two are matched by name. The reference can follow another runtime: each node is then given what that
runtime gave it, and what differs is the node's own doing.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from ancestral.bundles.bundle import Bundle
from ancestral.export.graphs import decomposed
from ancestral.export.operators import Form
from ancestral.export.trace.graph import Array, Graph, tensor_names
from ancestral.export.trace.programs import (
    as_given,
    load,
    program_of,
    run_program,
    to_array,
    to_tensor,
    whole_program_of,
)
from ancestral.signature import GraphSignature

Seen = Callable[[str, Array], Array]
"""Told each tensor by its name in the graph; returns what the nodes after it are given."""


class TorchRuntime:
    """A bundle's model on the CPU, in float32."""

    name = "torch"
    form: Form = "portable"
    device = "cpu"

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Build the model.

        Args:
            bundle: holds its weights.
            threads: of the whole process, as PyTorch has it.

        Raises:
            InvalidInput: it is of a class of the user's own.
            BundleError: the weights do not fit.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self.model = load(bundle)
        self._traced: dict[tuple[str, ...], ExportedProgram] = {}

    @property
    def version(self) -> str:
        return str(torch.__version__)

    def tensors(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tensors: dict[str, Array] = {}
        self.walk(graph, inputs, tensors.setdefault)
        return tensors

    def outputs(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Of the program as it is, not traced."""
        return run_program(program_of(graph.name, self.model), inputs)

    def walk(self, graph: Graph, inputs: Mapping[str, Array], seen: Seen) -> None:
        """Run the traced program, and tell each tensor that the graph has too.

        Raises:
            ExportError: the model cannot be traced.
        """
        program, prefix = whole_program_of(graph.name, self.model)
        traced = self._trace(program)
        nodes = traced.graph_signature.user_outputs
        specs = zip(nodes, program.signature.outputs, strict=True)
        names = {str(node): spec.name.removeprefix(prefix) for node, spec in specs}
        wanted = {node for node, name in names.items() if name in graph.output_names}
        given = _filled(program.signature, prefix, inputs)
        known = frozenset(tensor_names(graph.nodes))
        walk = _Walk(_part(traced.graph_module, wanted), names, known, seen)
        with torch.no_grad():
            walk.run(*_arguments(traced, given))

    def _trace(self, program: Any) -> ExportedProgram:
        key = tuple(spec.name for spec in program.signature.outputs)
        if key not in self._traced:
            self._traced[key] = decomposed(program)
        return self._traced[key]


class _Walk(fx.Interpreter):
    """Runs a graph, and lets every tensor that has a name elsewhere be seen and replaced."""

    def __init__(
        self,
        module: fx.GraphModule,
        renamed: Mapping[str, str],
        known: frozenset[str],
        seen: Seen,
    ) -> None:
        super().__init__(module)
        self._renamed, self._known, self._seen = renamed, known, seen

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op != "call_function":
            return value
        if isinstance(value, tuple | list):
            # The exporter's names of outputs that the program does not use, or splits off.
            names = ([f"{n.name}__{i}", f"{n.name}_split_{i}"] for i in range(len(value)))
            return [self._told(each, part) for each, part in zip(names, value, strict=True)]
        return self._told([self._renamed.get(n.name, n.name)], value)

    def _told(self, names: list[str], value: Any) -> Any:
        for name in self._known.intersection(names):
            replaced = self._seen(name, to_array(value))
            if isinstance(value, Tensor):
                # In the same layout: a view may be taken of it.
                value = torch.empty_like(value).copy_(to_tensor(replaced))
        return value


def _part(module: fx.GraphModule, outputs: set[str]) -> fx.GraphModule:
    """A copy of a graph with some of its outputs and what leads to them; all inputs stay."""
    part = copy.deepcopy(module)
    end = part.graph.output_node()
    end.args = (tuple(node for node in end.all_input_nodes if node.name in outputs),)
    part.graph.eliminate_dead_code()
    return part


def _filled(
    signature: GraphSignature, prefix: str, inputs: Mapping[str, Array]
) -> Iterator[Tensor]:
    """The inputs of a whole program: those of one graph, and zeros of fitting sizes."""
    named = {prefix + name: array for name, array in inputs.items()}
    sizes: dict[str, int] = {}
    for spec in signature.inputs:
        if spec.name in named:
            lengths = zip(spec.axes, named[spec.name].shape, strict=True)
            sizes |= {axis: size for axis, size in lengths if isinstance(axis, str)}
    for spec in signature.inputs:
        if spec.name in named:
            yield as_given(named[spec.name], spec)
        else:
            shape = spec.shape({"b": 1, "k": 1} | sizes)
            yield torch.zeros(shape, dtype=getattr(torch, spec.dtype))


def _arguments(traced: ExportedProgram, inputs: Iterator[Tensor]) -> Iterator[Any]:
    """What the placeholders of a traced program are given, in order."""
    for spec in traced.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            yield next(inputs)
        elif spec.target in traced.state_dict:
            yield traced.state_dict[spec.target]
        else:
            yield traced.constants[str(spec.target)]
