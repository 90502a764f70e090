"""The seam between the engine and a runtime: graphs that run, and loops that are bound once."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from ancestral.bundles.bundle import Bundle
from ancestral.engine.noise import Noise
from ancestral.signature import GraphSignature

Array = NDArray[Any]


class Budget(NamedTuple):
    """What one batch may take on a device.

    Attributes:
        bytes: memory for what its rows carry.
        rows: of a batch at most.
    """

    bytes: int
    rows: int


HOST_BUDGET = Budget(2**29, 256)
"""On a CPU, where more rows would not be faster."""


@runtime_checkable
class Binding(Protocol):
    """All tensors of a carried graph, allocated once on the device."""

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        """Copy a host array into an input, or into some rows of it."""
        ...

    def read(self, name: str) -> Array:
        """Copy of an input as it is now: a carried one holds what the last step left."""
        ...

    def draw_from(self, noise: Noise) -> None:
        """Give the rows the uniforms of consecutive samples, as if they were written to u."""
        ...

    def run(self, steps: int = 1, *, block: int = 1) -> None:
        """Run the graph `steps` times, each over a block of positions; nothing returns to the host.

        A block longer than 1 is for observed values and begins at the first position of every row;
        rows go through it in turns, so that its logits take bounded memory.
        """
        ...

    def gather(self, rows: Array) -> None:
        """Row i of every carried tensor becomes what row rows[i] was."""
        ...


@runtime_checkable
class Session(Protocol):
    """One graph, loaded on one device."""

    @property
    def signature(self) -> GraphSignature:
        """What the graph takes and gives."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once, host arrays in and out."""
        ...

    def bind(self, sizes: Mapping[str, int]) -> Binding:
        """Allocate every tensor at these sizes of the named axes; carried ones start initial."""
        ...


@runtime_checkable
class Backend(Protocol):
    """A runtime on a device, with a bundle."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def device(self) -> str:
        """cpu, or cuda with an index."""
        ...

    @property
    def dtype(self) -> str:
        """What it computes in."""
        ...

    @property
    def room(self) -> Budget:
        """What one batch may take where nobody says how many rows it has."""
        ...

    def session(self, graph: str) -> Session:
        """Load a graph of the bundle."""
        ...

    def of(self, bundle: Bundle) -> "Backend":
        """The same runtime, device and threads over another bundle."""
        ...
