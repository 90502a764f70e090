"""`Engine.load` checks a bundle, opens a backend and returns the engine for its kind of model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar, cast, final

from ancestral.bundles.bundle import Bundle
from ancestral.engine import (
    astream,
    bounds,
    classify,
    encoding,
    generate,
    interpolation,
    latent_sample,
    likelihood,
    particles,
    step_likelihood,
    stream,
    text_likelihood,
    verify,
    verify_latent,
)
from ancestral.engine import sample as samples
from ancestral.engine.backends import open_backend
from ancestral.engine.runner import LatentRunner, Runner
from ancestral.errors import InvalidInput
from ancestral.parity import Report
from ancestral.threads import ThreadCount

E = TypeVar("E", bound="Engine")


@dataclass(slots=True)
class Engine(Runner, ABC):
    """A bundle loaded on a backend. Create one with `Engine.load`.

    The bundle decides whether it is an `AutoregressiveEngine` or a `LatentEngine`. An engine is
    thread-safe, and its callbacks may call it: no call changes the result of another.

    Attributes:
        bundle: the bundle; `bundle.path` is its directory.
        backend: the runtime; `backend.name`, `backend.device` and `backend.dtype` describe it.
    """

    kind: ClassVar[str]
    """Kind of the bundles that this class loads, as in their manifest."""
    advice: ClassVar[str]
    """What this kind of engine offers, for the error of `load` if another kind was expected."""

    @final
    @classmethod
    def load(
        cls: type[E],
        path: str | Path,
        backend: str = "onnxruntime",
        device: str = "cpu",
        threads: ThreadCount = None,
        **options: Any,
    ) -> E:
        """Check a bundle, open it on a backend and return its engine.

        Each graph is loaded when it is first needed. `ancestral.load` is this method.

        Args:
            path: directory of the bundle.
            backend: "torch", "onnxruntime", "triton", or "tensorrt", which runs the plans that
                `ancestral compile` made from the bundle.
            device: "cpu", "cuda" or "cuda:N".
            threads: number of threads of the runtime; None lets the runtime choose. "measure"
                (onnxruntime on the CPU) times a step with 1, 2, .. threads when a batch size is
                first sampled, uses the fastest for that size, and remembers it in the user's
                cache folder; `engine.threads(rows)` returns it. Equal bits are promised for one
                number of threads: pass that number to get the same bits elsewhere.
            options: options that only some backends take.
                `model` (torch, triton): an instance of your own model class; the engine puts the
                bundle's weights into a copy of it.
                `dtype` (triton): type to compute in, "float32", "bfloat16" or "float16"; None
                means the bundle's type, which the other backends always use.
                `batch_invariant` (triton): True to make the bits of a row independent of the
                batch that it is in; docs/kernels.md gives the cost.

        Returns:
            An `AutoregressiveEngine` or a `LatentEngine`, by the kind of the bundle.

        Raises:
            BundleError: the bundle is missing, damaged or inconsistent; every problem is listed.
            BackendUnavailable: the backend cannot run here. No other backend is tried.
            InvalidInput: an argument is unknown or out of range, or the bundle is not of the kind
                of the class that `load` was called on.
            PlanError: the folder of compiled plans (tensorrt) is not private to the user.

        For example:

            engine = Engine.load("demo/digits", backend="onnxruntime", threads=2)
            engine.backend.device  # "cpu"
        """
        bundle = Bundle.open(path)
        found = bundle.manifest.kind
        chosen = AutoregressiveEngine if found == "autoregressive" else LatentEngine
        if not issubclass(chosen, cls):
            raise InvalidInput(
                f"{path}: expected a bundle of kind {cls.kind}, got {found}; {chosen.advice}"
            )
        opened = open_backend(backend, bundle, device=device, threads=threads, options=options)
        return cast(E, chosen(bundle, opened))

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied.

        Raises:
            InvalidInput: always; the message says what to do instead.
        """
        raise InvalidInput(
            f"engine: cannot be pickled or copied, because a runtime holds its weights; pass the "
            f"path {str(self.bundle.path)!r} instead, and call Engine.load with it"
        )

    @final
    def verify(self) -> Report:
        """Rehash every file of the bundle, then compare this backend with float64 PyTorch.

        The bundle stores the answers of float64 PyTorch on fixed events and noise. Every graph is
        run on the same inputs: log-probabilities and distributions must be within the tolerance
        of the backend and type, and drawn values must agree except at near ties.

        Returns:
            A `ParityReport`, or a `LatentParityReport` for a latent variable model. It has
            `passed`, `failures` (one message per failed check), and `max_abs_nats` with its
            `limit_nats`: the largest error over the events that the model sampled, in nats.

        Raises:
            BundleError: a file has changed or is damaged, or a graph that is needed is missing.

        For example:

            report = engine.verify()
            report.passed, report.max_abs_nats, report.limit_nats
        """
        Bundle.open(self.bundle.path, rehash=True)
        return self.compare()

    @abstractmethod
    def compare(self) -> Report:
        """Compare with the known answers as `verify` does, without rehashing the files."""


@dataclass(slots=True)
class AutoregressiveEngine(Engine):
    """An autoregressive model loaded on a backend. Create one with `Engine.load`.

    Each method is a function of one of the modules of this package; its first argument, `runner`,
    is the engine itself.
    """

    kind: ClassVar[str] = "autoregressive"
    advice: ClassVar[str] = (
        "an autoregressive model has `log_prob`, which is exact, `sample`, `classify` and "
        "`complete`, but no latents"
    )
    sample = samples.sample
    sample_batches = samples.sample_batches
    generate = generate.generate
    # Before `stream`, whose name is that of the module.
    desk = stream.desk
    stream = stream.stream
    astream = astream.astream
    complete = particles.complete
    log_prob = likelihood.log_prob
    position_log_prob = likelihood.position_log_prob
    redraw = likelihood.redraw
    generated_log_prob = step_likelihood.generated_log_prob
    text_likelihood = text_likelihood.text_likelihood
    classify = classify.classify
    compare = verify.compare


@dataclass(slots=True)
class LatentEngine(LatentRunner, Engine):
    """A latent variable model loaded on a backend. Create one with `Engine.load`.

    Each method is a function of one of the modules of this package; its first argument, `runner`,
    is the engine itself.
    """

    kind: ClassVar[str] = "latent_variable"
    advice: ClassVar[str] = (
        "a latent variable model has `bound`, a lower bound on log p(x), instead of `log_prob`, "
        "and `encode`, `decode`, `reconstruct`, `sample` and `interpolate`"
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
        """Engine of the prior over codes, on the same backend; None for real latents."""
        if self.latent.prior != "autoregressive":
            return None
        return self.once("prior", self._open_prior)

    def _open_prior(self) -> AutoregressiveEngine:
        inside = self.bundle.prior()
        return AutoregressiveEngine(inside, self.backend.of(inside))
