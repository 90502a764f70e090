"""Protocols between the engine and a runtime: backend, session (a graph), binding (a loop)."""

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
    """All tensors of a graph that carries state from step to step, allocated once."""

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        """Copy a host array into an input, or into some rows of it."""

    def read(self, name: str, rows: slice | None = None) -> Array:
        """Return a host copy of an input, or of some rows of it.

        A carried input holds the result of the last step.
        """

    def draw_from(self, noise: Noise) -> None:
        """Use the uniforms of consecutive samples, as if they were written to input u."""

    def run(self, steps: int = 1, *, block: int = 1, rows: slice | None = None) -> None:
        """Run the graph `steps` times, each over a block of positions, without host copies.

        A block longer than 1 is for observed values and begins at the first position of every row;
        a single row may begin anywhere. It is run for a few rows at a time, so that its logits take
        bounded memory. With `rows`, consecutive ones, no tensor of the other rows changes.
        """

    def gather(self, rows: Array) -> None:
        """Replace row i of every carried tensor by its row rows[i]."""


@runtime_checkable
class Session(Protocol):
    """One graph, loaded on one device."""

    @property
    def signature(self) -> GraphSignature:
        """The graph's inputs, outputs and carried tensors."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on host arrays, and return the outputs by name."""

    def bind(self, sizes: Mapping[str, int]) -> Binding:
        """Allocate every tensor at these sizes of the named axes, at its initial value."""


@runtime_checkable
class Backend(Protocol):
    """A runtime on a device, opened for a bundle."""

    @property
    def name(self) -> str:
        """Name, as on the command line."""

    @property
    def device(self) -> str:
        """Device: "cpu", "cuda" or "cuda:N"."""

    @property
    def dtype(self) -> str:
        """Type that it computes in."""

    @property
    def room(self) -> Budget:
        """What one batch may take if the user does not give its rows."""

    def session(self, graph: str) -> Session:
        """Load a graph of the bundle."""

    def threads(self, rows: int) -> int | None:
        """Return the CPU threads of steps of so many rows; None if the runtime chooses."""

    def of(self, bundle: Bundle) -> "Backend":
        """Return a backend for another bundle with the same runtime, device and threads."""


T = TypeVar("T")


def turns(rows: slice, most: int) -> Iterator[slice]:
    """Return slices that cover consecutive rows in order, each of at most `most` rows."""
    begins = range(rows.start, rows.stop, most)
    return (slice(start, min(start + most, rows.stop)) for start in begins)


def tensor_of(tensors: Mapping[str, T], name: str) -> T:
    """Return the tensor of that name.

    Raises:
        InvalidInput: there is no such tensor.
    """
    if name not in tensors:
        raise InvalidInput(f"tensor: expected one of {sorted(tensors)}, got {name!r}")
    return tensors[name]


def check_part(name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check an array before it is written into some rows of a tensor.

    Raises:
        InvalidInput: its shape or type differs from that of the rows.
    """
    if array.shape != shape or array.dtype != dtype:
        raise InvalidInput(f"{name}: expected {dtype} {shape}, got {array.dtype} {array.shape}")
