"""A bundle that is served: its name, its engine, its threads."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import MANIFEST, Manifest
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.files.atomic import sha256
from ancestral.serve.calls import Calls
from ancestral.serve.engine_thread import EngineThread
from ancestral.serve.metrics import BundleMetrics, Metrics
from ancestral.serve.refused import Refused
from ancestral.serve.settings import Settings
from ancestral.text.tokenizer import Tokenizer

E = TypeVar("E", bound=Engine)


@dataclass(frozen=True, slots=True)
class Served:
    """A bundle that is served.

    Attributes:
        name: its name in requests: that of its folder.
        manifest: contents of its manifest.
        sha256: hash of its manifest, which has those of all its files.
        thread: the thread of its engine.
        calls: the thread of its other calls.
        metrics: what it counts.
        path: its folder; never shown to a client.
        tokenizer: tokenizer of its text, or None.
        created: when its manifest was written, in seconds since 1970.
    """

    name: str
    manifest: Manifest
    sha256: str
    thread: EngineThread
    calls: Calls
    metrics: BundleMetrics
    path: Path
    tokenizer: Tokenizer | None
    created: int

    @classmethod
    def open(cls, path: Path, settings: Settings, metrics: Metrics) -> "Served":
        """Check a bundle, and prepare its threads; `thread.start` opens the engine.

        Raises:
            BundleError: the bundle is not valid.
            BackendUnavailable: its tokenizer needs a package that is not installed.
            InvalidInput: its name cannot be written.
        """
        bundle = Bundle.open(path)
        manifest, name = bundle.manifest, bundle.path.name
        if not name or not name.isprintable():
            raise InvalidInput(
                f"BUNDLE: expected a folder whose name clients can write, got {quoted(name)}; "
                f"rename it"
            )
        tokenizer = None if manifest.data.tokenizer is None else bundle.tokenizer()
        counted = metrics.of(name)
        digest = sha256(bundle.path / MANIFEST)
        created = int((bundle.path / MANIFEST).stat().st_mtime)
        counted.describe(digest, manifest.kind, settings.backend)

        def load() -> Engine:
            return Engine.load(
                bundle.path,
                backend=settings.backend,
                device=settings.device,
                threads=settings.threads,
            )

        thread = EngineThread(name, load, settings, counted)
        counted.watch(lambda: thread.waiting, lambda: thread.busy, lambda: float(thread.ready))
        calls = Calls(name, thread, settings.queue)
        return cls(name, manifest, digest, thread, calls, counted, bundle.path, tokenizer, created)

    @property
    def running(self) -> bool:
        """Whether a thread works on this bundle."""
        return self.thread.is_alive() or self.calls.pending > 0

    def stop(self, *, drop: bool) -> None:
        """Refuse new calls; with `drop`, also tell those that have not ended."""
        self.thread.stop(drop=drop)
        if drop:
            self.calls.stop()

    def autoregressive(self) -> AutoregressiveEngine:
        """Return the engine of an autoregressive model.

        Raises:
            Refused: it is not open, or the bundle is of another kind.
        """
        return self._engine(AutoregressiveEngine, "bound, encode, decode, reconstruct and sample")

    def latent(self) -> LatentEngine:
        """Return the engine of a latent variable model.

        Raises:
            Refused: it is not open, or the bundle is of another kind.
        """
        return self._engine(LatentEngine, "log_prob, sample, complete and classify")

    def _engine(self, kind: type[E], others: str) -> E:
        engine = self.thread.opened()
        if not isinstance(engine, kind):
            raise Refused(
                400,
                f"bundle {self.name!r} is of kind {self.manifest.kind}; it has {others}",
                code="wrong_kind",
                param="model",
            )
        return engine


def open_all(paths: list[Path], settings: Settings, metrics: Metrics) -> dict[str, Served]:
    """Open the bundles of a server, by name.

    Raises:
        InvalidInput: two bundles have the same name, or a name cannot be written.
        BundleError: a bundle is not valid.
        BackendUnavailable: a tokenizer needs a package that is not installed.
    """
    found: dict[str, Served] = {}
    for path in paths:
        served = Served.open(path, settings, metrics)
        if served.name in found:
            raise InvalidInput(
                f"BUNDLE: two folders are named {served.name!r}, the name that clients use; "
                f"rename one of them"
            )
        found[served.name] = served
    return found
