"""A graph of a bundle in one form: its nodes in order, and the hashes of its files."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from ancestral.bundles.bundle import Bundle
from ancestral.export.operators import Form

Array = NDArray[Any]

MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity", "Expand", "Split", "Flatten"}
"""Operators that compute nothing: what is wrong after one was wrong before it."""


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle, in one form.

    Attributes:
        name: in the bundle.
        form: of the file.
        file: its path; large weights lie in another file of the same folder.
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
        file = bundle.graph_name(name, form)
        entry, files = bundle.manifest.graphs[name], bundle.manifest.files
        named = {"weights": bundle.manifest.weights, **entry.files}
        return cls(
            name=name,
            form=form if form in entry.files else "portable",
            file=bundle.path / file,
            model=onnx.load_model_from_string(bundle.read(file)),
            sha256={each: files[path].sha256 for each, path in named.items()},
        )

    @cached_property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """In topological order, as ONNX asks for."""
        return tuple(self.model.graph.node)

    @cached_property
    def made_by(self) -> dict[str, int]:
        """The index of the node that makes each tensor, in order."""
        return {name: i for i, node in enumerate(self.nodes) for name in made(node)}

    def lead_to(self, tensor: str, known: AbstractSet[str]) -> list[int]:
        """The node of a tensor and those before it whose tensors all go unknown into it."""
        found: set[int] = set()
        waiting = [tensor]
        while waiting:
            at = self.made_by.get(waiting.pop())
            if at is not None and at not in found:
                found.add(at)
                waiting += set(self.nodes[at].input) - known
        return sorted(found)

    def some(self, indices: Iterable[int]) -> list[onnx.NodeProto]:
        """The nodes of these indices."""
        return [self.nodes[i] for i in indices]

    def computing(self, through: Sequence[int]) -> int:
        """The last of some nodes, or the one among them whose values it only moves."""
        at = through[-1]
        while self.nodes[at].op_type in MOVES:
            before = self.made_by.get(self.nodes[at].input[0], -1)
            if before not in through:
                break
            at = before
        return at


def made(node: onnx.NodeProto) -> list[str]:
    """What a node makes, without optional outputs that are left out."""
    return [name for name in node.output if name]
