"""The tensors of graphs on one runtime, in memory or in a safetensors file.

A file can be compared on another machine. Its metadata has the SHA-256 of the graph's files and
the runtime's title. Reading a file unpickles nothing.
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
    """The tensors of one graph on one runtime.

    Attributes:
        graph: graph that was run.
        inputs: inputs by name.
        tensors: results of nodes by name, as far as the runtime has them.
        outputs: outputs by name of the graph as users run it, optimised if the runtime optimises.
    """

    graph: Graph
    inputs: Mapping[str, Array]
    tensors: Mapping[str, Array]
    outputs: Mapping[str, Array]

    @property
    def values(self) -> dict[str, Array]:
        """Inputs and tensors by name."""
        return {**self.inputs, **self.tensors}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that runs a graph and returns the tensors inside.

    Attributes:
        title: name, version and device, for tables.
        form: form of the graphs that it runs.
        trace: function that runs a graph on inputs by name. Raises InvalidInput if the runtime
            lacks an operator, and BundleError if it cannot load or run the graph.
    """

    title: str
    form: Form
    trace: Callable[[Graph, Mapping[str, Array]], Trace]


@dataclass(frozen=True, slots=True)
class Run:
    """The traces of graphs on one runtime.

    Attributes:
        title: name, version and device of the runtime, for tables.
        traces: trace of each graph, by the graph's name.
    """

    title: str
    traces: Mapping[str, Trace]


def save_run(run: Run, file: Path) -> None:
    """Write a run to a file, completely or not at all.

    Args:
        run: run to save.
        file: safetensors file to write; an existing file is replaced.

    Raises:
        OSError: the file could not be written.
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
    """Read a run of a bundle's graphs from a file.

    Args:
        file: file that `save_run` wrote.
        bundle: bundle whose graphs were run.

    Raises:
        BundleError: the bundle lacks a graph of the run.
        InvalidInput: the file is not a run, or is a run of another bundle.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {}).get("ancestral", "{}"))
            if about.get("format") != _FORMAT:
                raise ValueError(f"expected format {_FORMAT!r}, got {about.get('format')!r}")
            found: dict[str, dict[str, dict[str, Array]]] = {
                name: {part: {} for part in _PARTS} for name in about["traces"]
            }
            for key in opened.keys():  # noqa: SIM118 - not a mapping
                graph, part, name = key.split("/", 2)
                found[graph][part][name] = to_array(opened.get_tensor(key))
        title = str(about["title"])
        graphs = {
            name: (cast(Form, str(entry["form"])), {k: str(v) for k, v in entry["sha256"].items()})
            for name, entry in about["traces"].items()
        }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{file}: not a saved run ({error}); make one with `ancestral verify --trace --save`"
        ) from error
    traces = {
        name: Trace(_graph(bundle, name, *graph), **found[name]) for name, graph in graphs.items()
    }
    return Run(title, traces)


def _graph(bundle: Bundle, name: str, form: Form, sha256: Mapping[str, str]) -> Graph:
    """Return the graph of a saved run.

    Raises:
        BundleError: the bundle has no such graph.
        InvalidInput: the run is of another graph, or the bundle does not have its form.
    """
    graph = Graph.read(bundle, name, form)
    differ = sorted({each for each, _ in {*sha256.items()} ^ {*graph.sha256.items()}})
    if differ or graph.form != form:
        wrong = f"SHA-256 of {', '.join(differ)}" if differ else f"form {form!r}"
        raise InvalidInput(
            f"graph {name!r}: the saved run is of another bundle, whose {wrong} differs; make the "
            f"run again with this bundle"
        )
    return graph


def to_array(value: Any) -> Array:
    """Convert a tensor or a number to a NumPy array; bfloat16 becomes that of ml_dtypes."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    if value.dtype is torch.bfloat16:
        narrow: Array = value.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return narrow
    return np.asarray(value.numpy())


def to_tensor(array: Array) -> Tensor:
    """Convert an array to a tensor, which shares no memory with it."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.tensor(array.view(np.uint16)).view(torch.bfloat16)
    return torch.tensor(array)
