"""PyTorch as the reference of a trace: a bundle's program is traced again and run node by node.

The exporter names the values of an ONNX graph after the nodes of the traced program, so the two
are matched by name. The reference can follow another runtime: each node then gets the inputs that
it had there, so that a difference comes from the node itself.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.graphs import decomposed
from ancestral.export.programs import prefix_of, programs
from ancestral.export.trace.graph import Array, Graph
from ancestral.export.trace.run import Runtime, Trace, to_array, to_tensor
from ancestral.signature import TensorSpec
from ancestral.train.models.families import FAMILIES
from ancestral.train.models.program import Program
from ancestral.train.stored_model import bundled_model

Seen = Callable[[str, Array], Array]
"""Called with each tensor and its name in the graph; returns what the nodes after it get."""


class TorchReference:
    """A bundle's model in PyTorch, on the CPU in float32.

    Attributes:
        model: model of the bundle.
        runtime: the same model as a runtime, to be compared with another.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        """Build the model.

        Args:
            bundle: bundle with the model's weights.
            threads: number of PyTorch's threads, for the whole process; None leaves it unchanged.

        Raises:
            InvalidInput: the model is of the user's own class.
            BundleError: the weights do not fit the model.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        family = bundle.manifest.components["model"].family
        if family not in FAMILIES:
            raise InvalidInput(
                f"{bundle.path}: expected a family of {list(FAMILIES)}, got {family!r}, a model "
                f"of your own class, which cannot be built from a bundle; pass a saved run with "
                f"--against"
            )
        self.model = bundled_model(bundle)
        self.runtime = Runtime(f"torch {torch.__version__} cpu", "portable", self._trace)
        self._traced: dict[tuple[str, ...], ExportedProgram] = {}

    def _trace(self, graph: Graph, inputs: Mapping[str, Array]) -> Trace:
        """Return the tensors of the traced program, and the outputs of the untraced one."""
        tensors: dict[str, Array] = {}
        self.walk(graph, inputs, tensors.setdefault)
        ((_, parts),) = programs(self.model, [graph.name])
        return Trace(graph, inputs, tensors, run_program(parts[graph.name], inputs))

    def walk(self, graph: Graph, inputs: Mapping[str, Array], seen: Seen) -> None:
        """Run the traced program, and call `seen` for each tensor that the graph also has.

        Graphs that share a pass are parts of one program, in which tensor names may begin
        with the graph's name.

        Args:
            graph: graph of the bundle.
            inputs: inputs of the graph by name.
            seen: called with each tensor; returns what the nodes after it get.

        Raises:
            ExportError: the model cannot be traced.
        """
        ((program, parts),) = programs(self.model, [graph.name])
        prefix, part = prefix_of(graph.name, program), parts[graph.name].signature
        signature = program.signature
        # Step graphs have the same outputs, and differ in their inputs.
        key = tuple(spec.name for spec in (*signature.inputs, *signature.outputs))
        if key not in self._traced:
            self._traced[key] = decomposed(program)
        traced = self._traced[key]
        nodes = traced.graph_signature.user_outputs
        outputs = {prefix + spec.name: spec.name for spec in part.outputs}
        specs = zip(map(str, nodes), program.signature.outputs, strict=True)
        names = {node: outputs[spec.name] for node, spec in specs if spec.name in outputs}
        module = traced.module(check_guards=False)
        end = module.graph.output_node()
        end.args = (tuple(node for node in end.all_input_nodes if node.name in names),)
        module.graph.eliminate_dead_code()
        walk = _Walk(module, names, graph, seen)
        given = {prefix + name: array for name, array in inputs.items()}
        with torch.no_grad():
            walk.run(*_filled(program, given), enable_io_processing=False)


class _Walk(fx.Interpreter):
    """Runs a traced program, and calls `seen` for every tensor that the ONNX graph has too."""

    def __init__(
        self, module: fx.GraphModule, renamed: Mapping[str, str], graph: Graph, seen: Seen
    ) -> None:
        super().__init__(module)
        self._renamed, self._known, self._seen = renamed, graph.made_by, seen

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op != "call_function":
            return value
        if isinstance(value, tuple | list):
            # The exporter's names of the parts of a tuple: of unused outputs, and of a split.
            names = ([f"{n.name}__{i}", f"{n.name}_split_{i}"] for i in range(len(value)))
            return [self._shown(each, part) for each, part in zip(names, value, strict=True)]
        return self._shown([self._renamed.get(n.name, n.name)], value)

    def _shown(self, names: list[str], value: Any) -> Any:
        for name in names:
            if name in self._known:
                replaced = self._seen(name, to_array(value))
                if isinstance(value, Tensor):
                    # Keep the layout: a later node may take a view.
                    value = torch.empty_like(value).copy_(to_tensor(replaced))
        return value


def run_program(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a program and return its outputs, by the names of its signature."""
    signature = program.signature
    given = [_as_given(inputs[spec.name], spec) for spec in signature.inputs]
    with torch.no_grad():
        outputs = program(*given)
    names = [spec.name for spec in signature.outputs]
    return {name: to_array(each) for name, each in zip(names, outputs, strict=True)}


def _as_given(array: Array, spec: TensorSpec) -> Tensor:
    """Return an input of a program. A cache, 16 bits in a 16-bit bundle, is float32 there."""
    return to_tensor(array).to(getattr(torch, spec.dtype))


def _filled(program: Program, inputs: Mapping[str, Array]) -> Iterator[Tensor]:
    """Yield the inputs of a whole program: those of one graph, and zeros for all others."""
    sizes: dict[Any, int] = {"b": 1, "k": 1}
    for spec in program.signature.inputs:
        if spec.name in inputs:
            sizes |= zip(spec.axes, inputs[spec.name].shape, strict=True)
    for spec in program.signature.inputs:
        if spec.name in inputs:
            yield _as_given(inputs[spec.name], spec)
        else:
            yield torch.zeros(spec.shape(sizes), dtype=getattr(torch, spec.dtype))
