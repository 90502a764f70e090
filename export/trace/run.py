"""What one runtime made of graphs: every tensor, in memory or in a safetensors file.

A file can be taken to another machine and compared there. Its metadata says which graph it is of
(SHA-256 of the files), in which order the nodes stand, and who ran it. Nothing in it is unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ancestral.errors import InvalidInput
from ancestral.export.trace.graph import (
    Array,
    Graph,
    Node,
    nodes_from_json,
    nodes_to_json,
)
from ancestral.export.trace.programs import to_array, to_tensor
from ancestral.export.trace.runtime import Runtime
from ancestral.files.atomic import write_atomically

_FORMAT = "ancestral-trace-1"
_PARTS = ("inputs", "tensors", "outputs")


@dataclass(frozen=True, slots=True)
class Trace:
    """One graph on one runtime.

    Attributes:
        graph: its name in the bundle.
        form: that was run.
        sha256: of the weights and of the graph's file in each form.
        nodes: in topological order.
        inputs: what the graph was given.
        tensors: what its nodes made, those that are known.
        outputs: what it gave when run as users run it, optimised where the runtime does that.
    """

    graph: str
    form: str
    sha256: Mapping[str, str]
    nodes: tuple[Node, ...]
    inputs: Mapping[str, Array]
    tensors: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @classmethod
    def of(cls, runtime: Runtime, graph: Graph, inputs: Mapping[str, Array]) -> "Trace":
        """Run a graph and keep everything.

        Raises:
            InvalidInput: the runtime cannot run it.
            BundleError: the runtime refuses it.
        """
        return cls(
            graph=graph.name,
            form=graph.form,
            sha256=graph.sha256,
            nodes=graph.nodes,
            inputs=inputs,
            tensors=runtime.tensors(graph, inputs),
            outputs=runtime.outputs(graph, inputs),
        )

    def check_is_of(self, graph: Graph) -> None:
        """Compare what was run with what a bundle holds.

        Raises:
            InvalidInput: it is another graph.
        """
        differ = {*self.sha256.items()} ^ {*graph.sha256.items()}
        if differ:
            raise InvalidInput(
                f"graph {self.graph}: expected a run of this bundle's, got one of another: the "
                f"SHA-256 of {', '.join(sorted({name for name, _ in differ}))} differs"
            )

    @property
    def values(self) -> dict[str, Array]:
        """Inputs and tensors."""
        return {**self.inputs, **self.tensors}


@dataclass(frozen=True, slots=True)
class Run:
    """Graphs on one runtime.

    Attributes:
        backend: its name.
        version: of the runtime.
        device: where it ran.
        traces: by graph.
    """

    backend: str
    version: str
    device: str
    traces: Mapping[str, Trace]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.backend} {self.version} {self.device}"


def save_run(run: Run, file: Path) -> None:
    """Write a run; the file appears whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    tensors = {}
    traces = {}
    for name, trace in run.traces.items():
        for part in _PARTS:
            for each, array in getattr(trace, part).items():
                tensors[f"{name}/{part}/{each}"] = to_tensor(array).contiguous()
        traces[name] = {
            "form": trace.form,
            "sha256": dict(trace.sha256),
            "nodes": nodes_to_json(trace.nodes),
        }
    about = {"backend": run.backend, "version": run.version, "device": run.device}
    content = json.dumps({"format": _FORMAT, **about, "traces": traces})
    write_atomically(file, save(tensors, {"ancestral": content}))


def load_run(file: Path) -> Run:
    """Read a run.

    Raises:
        InvalidInput: the file is none.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ancestral", "{}"))
            if about.get("format") != _FORMAT:
                raise InvalidInput(f"{file}: its format is {about.get('format')!r}, not {_FORMAT}")
            found: dict[str, dict[str, dict[str, Array]]] = {}
            for key in opened.keys():  # noqa: SIM118 - it is no mapping
                graph, part, name = key.split("/", 2)
                parts = found.setdefault(graph, {each: {} for each in _PARTS})
                parts[part][name] = to_array(opened.get_tensor(key))
        traces = {
            name: Trace(
                graph=name,
                form=str(entry["form"]),
                sha256={str(key): str(value) for key, value in entry["sha256"].items()},
                nodes=tuple(nodes_from_json(entry["nodes"])),
                **found[name],
            )
            for name, entry in about["traces"].items()
        }
        backend, version, device = (str(about[key]) for key in ("backend", "version", "device"))
        return Run(backend, version, device, traces)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{file}: expected a run that `ancestral verify --trace --save` wrote: {error}"
        ) from error
