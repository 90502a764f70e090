"""Engines: a bundle is checked, a backend opened, and the engine of its kind of model made."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar, cast, final

from ancestral.bundles.bundle import Bundle
from ancestral.engine import (
    bounds,
    classify,
    encoding,
    generate,
    interpolation,
    latent_sample,
    likelihood,
    particles,
    verify,
    verify_latent,
)
from ancestral.engine import sample as samples
from ancestral.engine.backends import open_backend
from ancestral.engine.runner import LatentRunner, Runner
from ancestral.errors import InvalidInput
from ancestral.parity import Report

E = TypeVar("E", bound="Engine")


@dataclass(slots=True)
class Engine(Runner, ABC):
    """A bundle, loaded on a backend. Make one with `Engine.load`.

    It is an AutoregressiveEngine or a LatentEngine, by what the bundle holds. Several threads may
    call it at a time, and so may its own callbacks: each call gives what it would give by itself.
    """

    kind: ClassVar[str]
    advice: ClassVar[str]
    """Where to turn with what such a bundle cannot do."""

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
            options: what only some backends take. `model`, for torch and triton: a model of your
                own class; a copy of it gets the weights. `dtype`, for triton: what it computes in,
                float32, bfloat16 or float16; the bundle's type where None, as in all other
                backends. `batch_invariant`, for triton: whether the bits of a row must not depend
                on the batch that it is in; docs/kernels.md has what it costs.

        Raises:
            BundleError: the bundle is not sound; every problem is named.
            BackendUnavailable: the backend cannot run here; nothing falls back to another.
            InvalidInput: an argument is wrong, or the bundle is of another kind than this class.
        """
        bundle = Bundle.open(path)
        found = bundle.manifest.kind
        chosen = AutoregressiveEngine if found == "autoregressive" else LatentEngine
        if not issubclass(chosen, cls):
            raise InvalidInput(
                f"{path}: expected a bundle of kind {cls.kind}, got {found}: {chosen.advice}"
            )
        opened = open_backend(backend, bundle, device=device, threads=threads, options=options)
        return cast(E, chosen(bundle, opened))

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


@dataclass(slots=True)
class AutoregressiveEngine(Engine):
    """An autoregressive bundle, loaded on a backend. Make one with `Engine.load`.

    Each method is the function of a feature, whose first argument, `runner`, is the engine.
    """

    kind: ClassVar[str] = "autoregressive"
    advice: ClassVar[str] = (
        "an autoregressive model has log p(x) itself, by `log_prob`; it has sample, classify and "
        "complete beside, and no latents"
    )
    sample = samples.sample
    sample_batches = samples.sample_batches
    generate = generate.generate
    complete = particles.complete
    log_prob = likelihood.log_prob
    position_log_prob = likelihood.position_log_prob
    redraw = likelihood.redraw
    text_likelihood = likelihood.text_likelihood
    classify = classify.classify
    compare = verify.compare


@dataclass(slots=True)
class LatentEngine(LatentRunner, Engine):
    """A bundle of a latent variable model, loaded on a backend. Make one with `Engine.load`.

    Each method is the function of a feature, whose first argument, `runner`, is the engine.
    """

    kind: ClassVar[str] = "latent_variable"
    advice: ClassVar[str] = (
        "log p(x) of a latent variable model is only bounded, by `bound`; it has encode, decode, "
        "reconstruct, sample and interpolate beside"
    )
    bound = bounds.bound
    log_weights = bounds.log_weights
    encode = encoding.encode
    decode = encoding.decode
    reconstruct = encoding.reconstruct
    means = encoding.means
    sample = latent_sample.sample
    interpolate = interpolation.interpolate
    latent_grid = interpolation.latent_grid
    widest = interpolation.widest
    compare = verify_latent.compare

    @property
    def prior(self) -> AutoregressiveEngine | None:
        """The engine of the prior over codes, on the same backend; None without codes."""
        if self.latent.prior != "autoregressive":
            return None
        return self.once("prior", self._open_prior)

    def _open_prior(self) -> AutoregressiveEngine:
        inside = self.bundle.prior()
        return AutoregressiveEngine(inside, self.backend.of(inside))
