"""A graph of a bundle as the tracer sees it: its nodes in order, and which files it stands in."""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from ancestral.bundles.bundle import Bundle
from ancestral.export.operators import Form

Array = NDArray[Any]

MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Expand", "Split", "Flatten"}
"""Operators that compute nothing: what is wrong after one was wrong before it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of an ONNX graph; a domain other than ONNX's own stands before the operator."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, node: onnx.NodeProto) -> "Node":
        """The same without attributes; an optional output that is left out is none."""
        op_type = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        outputs = tuple(name for name in node.output if name)
        return cls(node.name or op_type, op_type, tuple(node.input), outputs)


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of a bundle, in one form.

    Attributes:
        name: in the bundle.
        form: portable, or that of a runtime.
        file: where it stands; large weights lie beside it.
        model: its content, without them.
        sha256: of the weights and of the graph's file in each form, by name: whose answers can be
            compared with whose.
    """

    name: str
    form: Form
    file: Path
    model: onnx.ModelProto
    sha256: Mapping[str, str]

    @classmethod
    def read(cls, bundle: Bundle, name: str, form: Form) -> "Graph":
        """Read a graph in a form, or the portable one where the two do not differ.

        Raises:
            BundleError: the bundle has no such graph.
        """
        file = bundle.graph_file(name, form)
        with bundle.reading(bundle.graph_name(name, form)):
            model = onnx.load(file, load_external_data=False)
        entry, files = bundle.manifest.graphs[name], bundle.manifest.files
        named = {"weights": bundle.manifest.weights, **entry.files}
        return cls(
            name=name,
            form=form if form in entry.files else "portable",
            file=file,
            model=model,
            sha256={each: files[path].sha256 for each, path in named.items()},
        )

    @property
    def nodes(self) -> tuple[Node, ...]:
        """In topological order, as ONNX asks for."""
        return tuple(Node.of(node) for node in self.model.graph.node)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the graph gives."""
        return tuple(value.name for value in self.model.graph.output)


def tensor_names(nodes: Iterable[Node]) -> list[str]:
    """What the nodes make, in order."""
    return [name for node in nodes for name in node.outputs]


def producers(nodes: Iterable[Node]) -> dict[str, Node]:
    """The node that makes each tensor."""
    return {name: node for node in nodes for name in node.outputs}


def lead_to(node: Node, made_by: Mapping[str, Node], known: Container[str]) -> tuple[Node, ...]:
    """A node and those before it whose tensors all go unknown into it, in topological order."""
    found: dict[str, Node] = {}
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if each.outputs[0] in found:
            continue
        found[each.outputs[0]] = each
        waiting += [made_by[name] for name in each.inputs if name in made_by and name not in known]
    order = {id(each): i for i, each in enumerate(made_by.values())}
    return tuple(sorted(found.values(), key=lambda each: order[id(each)]))


def that_computes(nodes: tuple[Node, ...]) -> Node:
    """The last of them, or the one before it whose values it only moves."""
    made_by, node = producers(nodes), nodes[-1]
    while node.op_type in MOVES and node.inputs[0] in made_by:
        node = made_by[node.inputs[0]]
    return node


def nodes_from_json(values: Iterable[Iterable[Any]]) -> Iterator[Node]:
    """What `nodes_to_json` wrote."""
    for name, op_type, inputs, outputs in values:
        yield Node(str(name), str(op_type), tuple(inputs), tuple(outputs))


def nodes_to_json(nodes: Iterable[Node]) -> list[list[Any]]:
    """Name, operator, inputs and outputs of each."""
    return [[node.name, node.op_type, list(node.inputs), list(node.outputs)] for node in nodes]
