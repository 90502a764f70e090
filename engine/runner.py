"""A loaded bundle, its graphs run as sessions, loops and parallel calls. Features build on it."""

import math
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import Latent
from ancestral.dataspec import DataSpec
from ancestral.engine import budget, inputs, step_graph, step_loop
from ancestral.engine.session import Array, Backend, Binding, Session
from ancestral.errors import NotADistribution
from ancestral.parity import ROUNDED
from ancestral.scalars import whole
from ancestral.step_tensors import X
from ancestral.text.tokenizer import Tokenizer

T = TypeVar("T")


@dataclass(slots=True)
class Runner:
    """A bundle on a backend. Thread-safe: no call changes the result of another."""

    bundle: Bundle
    backend: Backend
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _making: AbstractContextManager[Any] = field(
        default_factory=threading.RLock, init=False, repr=False, compare=False
    )
    _kept: deque[tuple[Hashable, Binding]] = field(
        default_factory=lambda: deque(maxlen=1), init=False, repr=False, compare=False
    )

    @property
    def data(self) -> DataSpec:
        """The space of events: shape, levels, classes and ordering."""
        return self.bundle.manifest.data

    @property
    def first_position(self) -> int:
        """First position that has a probability: 0, or 1 for a model without a start symbol."""
        return self.bundle.manifest.first_position

    @property
    def precision(self) -> str:
        """Type of the arithmetic, a key of the parity table.

        It is the backend's dtype, or "float32+int8" if products round their activations to 8 bits.
        """
        plan = self.bundle.manifest.quantisation
        rounds = plan is not None and plan.compute == "int8"
        return f"{self.backend.dtype}{ROUNDED}" if rounds else self.backend.dtype

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the object of a key, made on first use.

        A lock is held while `make` runs, so it must not run a user's callback.
        """
        if key not in self._made:
            with self._making:
                if key not in self._made:
                    self._made[key] = make()
        found: T = self._made[key]
        return found

    @final
    def session(self, graph: str) -> Session:
        """Return the session of a graph; it is loaded on first use.

        Raises:
            BundleError: there is no such graph, or files have changed since the bundle was opened.
        """
        self.check_files()
        return self.once(("session", graph), lambda: self.backend.session(graph))

    def threads(self, rows: int) -> int | None:
        """Return the CPU threads with which batches of so many rows are sampled.

        With `threads="measure"` it is measured now if no earlier run remembers it.

        Args:
            rows: number of rows of a batch.

        Returns:
            Number of threads; None if the runtime chooses, as it does on a GPU.

        Raises:
            InvalidInput: `rows` is not a positive integer, or there is not enough memory.
        """
        rows = whole("rows", rows, 1)
        self.check_files()
        return self.backend.threads(rows)

    @final
    def check_files(self) -> None:
        """Check that the weights file has not changed; a runtime may have mapped it into memory.

        Each call checks when it begins, and again when it has computed.

        Raises:
            BundleError: the weights have changed since the bundle was opened.
        """
        self.bundle.check(self.bundle.manifest.weights)

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer between text and ids, opened on first use.

        Returns:
            A tokenizer with `encode(text)`, a list of ids, and `decode(ids)`, a string.

        Raises:
            InvalidInput: the bundle has no tokenizer: its values are not text, or only ids.
            BackendUnavailable: it needs the `tokenizers` package, which is not installed.
            BundleError: its file has changed since the bundle was opened.
        """
        return self.once("tokenizer", self.bundle.tokenizer)

    @contextmanager
    def binding(self, graph: str, rows: int) -> Iterator[Binding]:
        """Lend a binding of `rows` rows to one call; the last one returned is kept for reuse.

        Calls that overlap, in several threads or made by a callback, never share a binding: a call
        that finds none makes its own. Taking and putting back are one operation of a deque each, so
        there is no lock for which a callback, a signal handler or a thread that a callback joins
        could wait.

        If an exception ends the block, the binding is dropped, because the loop may have stopped
        anywhere. It is also dropped if a log-probability in it is NaN, even one that the call
        discards: the caches may hold NaN in slots that the next call masks, and a masked NaN is
        still NaN.

        Raises:
            BundleError: the weights have changed since the bundle was opened.
        """
        session, key = self.session(graph), (graph, rows)
        binding = self._taken(key)
        if binding is None:
            binding = session.bind({"b": rows, "s": 1})
        try:
            yield binding
        except NotADistribution:
            # Weights that changed during the call may cause this error.
            self.check_files()
            raise
        if not np.isnan(step_loop.read_log_p(binding)).any():
            self._kept.append((key, binding))
        self.check_files()

    def _taken(self, key: Hashable) -> Binding | None:
        """Take the kept binding if it has this key; another one is dropped to free its memory."""
        try:
            kept, binding = self._kept.pop()
        except IndexError:
            return None
        return binding if kept == key else None

    def labels(self, values: ArrayLike | int | None, n: int) -> NDArray[np.int64] | None:
        """Return a user's labels as one for each of n events, [n]; None without classes.

        Raises:
            InvalidInput: they are missing but required, or are not labels of this model.
        """
        return inputs.labels(values, n, self.data, self.bundle.manifest.label_optional)

    def rows_of_call(self, graph: str, arrays: Mapping[str, Array]) -> int:
        """Return how many rows of these arrays one call of a graph may have."""
        return budget.parallel_rows(arrays[X].shape[1], self.data.levels)

    def parallel(self, graph: str, label: Array | None = None, **arrays: Array) -> dict[str, Array]:
        """Run a graph in chunks of rows, so that memory is bounded, and join the outputs."""
        session = self.session(graph)
        arrays |= step_graph.labelled(label)
        n = len(next(iter(arrays.values())))
        rows = self.rows_of_call(graph, arrays)
        parts = [
            session.run({name: array[i : i + rows] for name, array in arrays.items()})
            for i in range(0, n, rows)
        ]
        self.check_files()
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(slots=True)
class LatentRunner(Runner, ABC):
    """A bundle of a latent variable model on a backend."""

    @property
    def latent(self) -> Latent:
        """Shape, prior and posterior of the latents."""
        latent = self.bundle.manifest.latent
        assert latent is not None
        return latent

    @property
    def codes(self) -> bool:
        """Whether latents are codes: integers that the encoder chooses."""
        return self.latent.posterior == "codes"

    @property
    @abstractmethod
    def prior(self) -> Runner | None:
        """The prior over codes, on the same backend; None for real latents."""

    @property
    def latent_size(self) -> int:
        """Number of values of one latent."""
        return math.prod(self.latent.shape)

    @property
    def decoded_size(self) -> int:
        """Number of parameters of p(x | z) that the decoder outputs for one latent."""
        decode = self.bundle.manifest.graphs["decode"].signature
        return math.prod(decode.output("parameters").shape({"b": 1}))

    def rows_of_call(self, graph: str, arrays: Mapping[str, Array]) -> int:
        """Return how many rows one call of a graph may have; a row may have k latents."""
        latents = arrays["noise"].shape[1] if graph == "log_weights" else 1
        return budget.fitting(budget.DECODED, latents * self.decoded_size)
