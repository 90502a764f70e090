"""The seam between the engine and a runtime: graphs that run, and loops that are bound once."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ancestral.bundles.bundle import Bundle
from ancestral.engine.budget import Budget
from ancestral.engine.noise import Noise
from ancestral.errors import InvalidInput
from ancestral.signature import GraphSignature

Array = NDArray[Any]


@runtime_checkable
class Binding(Protocol):
    """All tensors of a carried graph, allocated once on the device."""

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        """Copy a host array into an input, or into some rows of it."""

    def read(self, name: str) -> Array:
        """Copy of an input as it is now: a carried one holds what the last step left."""

    def draw_from(self, noise: Noise) -> None:
        """Give the rows the uniforms of consecutive samples, as if they were written to u."""

    def run(self, steps: int = 1, *, block: int = 1) -> None:
        """Run the graph `steps` times, each over a block of positions; nothing returns to the host.

        A block longer than 1 is for observed values and begins at the first position of every row;
        rows go through it in turns, so that its logits take bounded memory.
        """

    def gather(self, rows: Array) -> None:
        """Row i of every carried tensor becomes what row rows[i] was."""


@runtime_checkable
class Session(Protocol):
    """One graph, loaded on one device."""

    @property
    def signature(self) -> GraphSignature:
        """What the graph takes and gives."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once, host arrays in and out."""

    def bind(self, sizes: Mapping[str, int]) -> Binding:
        """Allocate every tensor at these sizes of the named axes; carried ones start initial."""


@runtime_checkable
class Backend(Protocol):
    """A runtime on a device, with a bundle."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def device(self) -> str:
        """cpu, or cuda with an index."""

    @property
    def dtype(self) -> str:
        """What it computes in."""

    @property
    def room(self) -> Budget:
        """What one batch may take where nobody says how many rows it has."""

    def session(self, graph: str) -> Session:
        """Load a graph of the bundle."""

    def of(self, bundle: Bundle) -> "Backend":
        """The same runtime, device and threads over another bundle."""


T = TypeVar("T")


def turns(rows: int, most: int) -> Iterator[slice]:
    """All rows in order, at most so many at a time."""
    return (slice(start, min(start + most, rows)) for start in range(0, rows, most))


def tensor_of(tensors: Mapping[str, T], name: str) -> T:
    """The tensor of that name.

    Raises:
        InvalidInput: there is none.
    """
    if name not in tensors:
        raise InvalidInput(f"tensor: expected one of {sorted(tensors)}, got {name!r}")
    return tensors[name]


def check_part(name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check an array that is to be written into some rows of a tensor.

    Raises:
        InvalidInput: it has another shape or type than these rows.
    """
    if array.shape != shape or array.dtype != dtype:
        raise InvalidInput(f"{name}: expected {dtype} {shape}, got {array.dtype} {array.shape}")
