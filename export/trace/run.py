"""What one runtime made of graphs: every tensor, in memory or in a safetensors file.

A file can be taken to another machine and compared there. Its metadata says which graph it is of
(SHA-256 of the files) and who ran it. Nothing in it is unpickled.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ml_dtypes
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.operators import Form
from ancestral.export.trace.graph import Array, Graph
from ancestral.files.atomic import write_atomically

_FORMAT = "ancestral-trace-1"
_PARTS = ("inputs", "tensors", "outputs")


@dataclass(frozen=True, slots=True)
class Trace:
    """One graph on one runtime.

    Attributes:
        graph: that was run.
        inputs: what it was given.
        tensors: what its nodes made, those that are known.
        outputs: what it gave when run as users run it, optimised where the runtime does that.
    """

    graph: Graph
    inputs: Mapping[str, Array]
    tensors: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def values(self) -> dict[str, Array]:
        """Inputs and tensors."""
        return {**self.inputs, **self.tensors}


@dataclass(frozen=True, slots=True)
class Runtime:
    """Something that runs a graph and shows what is inside.

    Attributes:
        title: its name, version and device, for people.
        form: of the graphs that it runs.
        trace: runs a graph on inputs by name; raises InvalidInput where it cannot run the graph,
            and BundleError where it refuses the graph.
    """

    title: str
    form: Form
    trace: Callable[[Graph, Mapping[str, Array]], Trace]


@dataclass(frozen=True, slots=True)
class Run:
    """Graphs on one runtime.

    Attributes:
        title: name, version and device of the runtime, for people.
        traces: by graph.
    """

    title: str
    traces: Mapping[str, Trace]


def save_run(run: Run, file: Path) -> None:
    """Write a run; the file appears whole or not at all.

    Raises:
        OSError: it could not be written.
    """
    tensors = {
        f"{name}/{part}/{each}": to_tensor(array).contiguous()
        for name, trace in run.traces.items()
        for part in _PARTS
        for each, array in getattr(trace, part).items()
    }
    traces = {
        name: {"form": trace.graph.form, "sha256": dict(trace.graph.sha256)}
        for name, trace in run.traces.items()
    }
    content = json.dumps({"format": _FORMAT, "title": run.title, "traces": traces})
    write_atomically(file, save(tensors, {"ancestral": content}))


def load_run(file: Path, bundle: Bundle) -> Run:
    """Read a run of graphs of a bundle.

    Raises:
        InvalidInput: the file is not a run, or is one of another bundle.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ancestral", "{}"))
            if about.get("format") != _FORMAT:
                raise InvalidInput(f"{file}: its format is {about.get('format')!r}, not {_FORMAT}")
            found: dict[str, dict[str, dict[str, Array]]] = {
                name: {part: {} for part in _PARTS} for name in about["traces"]
            }
            for key in opened.keys():  # noqa: SIM118 - it is no mapping
                graph, part, name = key.split("/", 2)
                found[graph][part][name] = to_array(opened.get_tensor(key))
        title = str(about["title"])
        graphs = {
            name: (cast(Form, str(entry["form"])), {k: str(v) for k, v in entry["sha256"].items()})
            for name, entry in about["traces"].items()
        }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{file}: expected a run that `ancestral verify --trace --save` wrote: {error}"
        ) from error
    traces = {
        name: Trace(_graph(bundle, name, *graph), **found[name]) for name, graph in graphs.items()
    }
    return Run(title, traces)


def _graph(bundle: Bundle, name: str, form: Form, sha256: Mapping[str, str]) -> Graph:
    """The graph that was run.

    Raises:
        BundleError: the bundle has no such graph.
        InvalidInput: it is another, or the bundle has it in other forms only.
    """
    graph = Graph.read(bundle, name, form)
    differ = sorted({each for each, _ in {*sha256.items()} ^ {*graph.sha256.items()}})
    if differ or graph.form != form:
        wrong = f"SHA-256 of {', '.join(differ)}" if differ else f"form {form!r}"
        raise InvalidInput(
            f"graph {name}: expected a run of this bundle's, got one of another: the {wrong} "
            f"differs"
        )
    return graph


def to_array(value: Any) -> Array:
    """A tensor or a number in NumPy, bfloat16 too."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.dtype is torch.bfloat16:
        narrow: Array = value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return narrow
    return np.asarray(value.numpy())


def to_tensor(array: Array) -> Tensor:
    """The other way round; nothing is shared."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.tensor(array.view(np.uint16)).view(torch.bfloat16)
    return torch.tensor(array)
