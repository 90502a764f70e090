"""A bundle on a backend: what engines of every kind of model have in common."""

import threading
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar, cast, final

from ancestral.bundles.bundle import Bundle
from ancestral.dataspec import DataSpec
from ancestral.engine.backends import open_backend
from ancestral.engine.session import Backend, Session
from ancestral.errors import InvalidInput
from ancestral.parity import Report

E = TypeVar("E", bound="Engine")


@dataclass(slots=True)
class Engine(ABC):
    """A bundle, loaded on a backend. Make one with `Engine.load`.

    It is an AutoregressiveEngine or a LatentEngine, by what the bundle holds. Several threads may
    call it at a time, and so may its own callbacks: each call gives what it would give by itself.
    """

    kind: ClassVar[str]
    advice: ClassVar[str]
    """Where to turn with what such a bundle cannot do."""
    bundle: Bundle
    backend: Backend
    _sessions: dict[str, Session] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _once: AbstractContextManager[Any] = field(
        default_factory=threading.RLock, init=False, repr=False, compare=False
    )
    """Held while a session, the engine of a prior or a tokenizer is made, which is done once; never
    while a callback runs."""

    @final
    @classmethod
    def load(
        cls: type[E],
        path: str | Path,
        backend: str = "onnxruntime",
        device: str = "cpu",
        threads: int | None = None,
        **options: Any,
    ) -> E:
        """Check a bundle and open a backend; graphs are loaded when they are first needed.

        Args:
            path: the bundle's directory.
            backend: torch, onnxruntime, triton, or tensorrt, which runs the plans that
                `ancestral compile` made of the bundle.
            device: cpu, cuda or cuda:N.
            threads: of the runtime; its own choice where None.
            options: those of the backend. `model`, for torch and triton, is a model of your own
                class; a copy of it gets the weights. `dtype`, for triton, is what it computes in:
                float32, bfloat16 or float16; the bundle's type where None, as in all other
                backends. `batch_invariant`, for triton, is whether the bits of a row must not
                depend on the batch that it is in; docs/kernels.md has what it costs.

        Raises:
            BundleError: the bundle is not sound; every problem is named.
            BackendUnavailable: the backend cannot run here; nothing falls back to another.
            InvalidInput: an argument is wrong, or not among the backend's options; or the bundle is
                of another kind than this class.
        """
        from ancestral.engine.autoregressive import AutoregressiveEngine
        from ancestral.engine.latent import LatentEngine

        bundle = Bundle.open(path)
        found = bundle.manifest.kind
        chosen = AutoregressiveEngine if found == "autoregressive" else LatentEngine
        if not issubclass(chosen, cls):
            raise InvalidInput(
                f"{path}: expected a bundle of kind {cls.kind}, got {found}: {chosen.advice}"
            )
        opened = open_backend(backend, bundle, device=device, threads=threads, options=options)
        return cast(E, chosen(bundle, opened))

    @property
    def data(self) -> DataSpec:
        """The space of events."""
        return self.bundle.manifest.data

    @final
    def session(self, graph: str) -> Session:
        """A graph of the bundle, loaded once.

        Raises:
            BundleError: there is no such graph, or files have changed since the bundle was opened.
        """
        self.check_files()
        if graph not in self._sessions:
            with self._once:
                if graph not in self._sessions:
                    self._sessions[graph] = self.backend.session(graph)
        return self._sessions[graph]

    @final
    def check_files(self) -> None:
        """Refuse to compute with weights that have changed: a runtime may have them mapped.

        Each call asks when it begins, and again when it has computed.

        Raises:
            BundleError: the weights have changed since the bundle was opened.
        """
        self.bundle.check(self.bundle.manifest.weights)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            InvalidInput: always; the message says what to do instead.
        """
        raise InvalidInput(
            f"engine: cannot be pickled or copied, for a runtime holds its weights: pass the path "
            f"{str(self.bundle.path)!r} instead, and call Engine.load there"
        )

    @final
    def verify(self) -> Report:
        """Replay the bundle's known answers on this backend; every file is hashed anew.

        Raises:
            BundleError: the bundle is no longer sound, or lacks a graph that is needed.
        """
        Bundle.open(self.bundle.path, rehash=True)
        return self.compare()

    @abstractmethod
    def compare(self) -> Report:
        """Replay the known answers."""
