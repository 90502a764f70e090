"""One form of a bundle's graph: its nodes in order, and the hashes of its files."""

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
"""Operators that compute nothing: a wrong result of one has a wrong input."""


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle, in one form.

    Attributes:
        name: name in the bundle.
        form: form of the file.
        file: path of the file; large weights are in another file of the same folder.
        model: content of the file, without large weights.
        sha256: SHA-256 of the weights and of the graph's file in each form, by name. Only runs with
            equal hashes can be compared.
    """

    name: str
    form: Form
    file: Path
    model: onnx.ModelProto
    sha256: Mapping[str, str]

    @classmethod
    def read(cls, bundle: Bundle, name: str, form: Form) -> "Graph":
        """Read a graph in a form, or in the portable one if the bundle lacks that form.

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
        """The nodes in topological order, which ONNX requires."""
        return tuple(self.model.graph.node)

    @cached_property
    def made_by(self) -> dict[str, int]:
        """Index of the node that makes each tensor, in topological order."""
        return {name: i for i, node in enumerate(self.nodes) for name in made(node)}

    def lead_to(self, tensor: str, known: AbstractSet[str]) -> list[int]:
        """Return the indices of the node of a tensor, and of the nodes before it, back to `known`.

        Args:
            tensor: name of the tensor.
            known: names of the tensors at which to stop.
        """
        found: set[int] = set()
        waiting = [tensor]
        while waiting:
            at = self.made_by.get(waiting.pop())
            if at is not None and at not in found:
                found.add(at)
                waiting += set(self.nodes[at].input) - known
        return sorted(found)

    def some(self, indices: Iterable[int]) -> list[onnx.NodeProto]:
        """Return the nodes at these indices."""
        return [self.nodes[i] for i in indices]

    def computing(self, through: Sequence[int]) -> int:
        """Return the last of these nodes that computes, skipping nodes that only move values."""
        at = through[-1]
        while self.nodes[at].op_type in MOVES:
            before = self.made_by.get(self.nodes[at].input[0], -1)
            if before not in through:
                break
            at = before
        return at


def made(node: onnx.NodeProto) -> list[str]:
    """Return the names of a node's outputs, without optional outputs that it does not have."""
    return [name for name in node.output if name]
