"""`ancestral sample` of a latent variable model: latents of the prior, and events from them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.output import say
from ancestral.cli.present.labels import in_turn
from ancestral.cli.present.samples_file import STANDARD_OUTPUT, Shown, write_events

if TYPE_CHECKING:
    from ancestral.engine import LatentEngine, LatentSamples, Sampling


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be drawn, and where it goes; see `LatentEngine.sample`."""

    n: int
    label: int | None
    seed: int
    first_index: int
    sampling: "Sampling"
    mean: bool
    out: str


def sample_latent(engine: "LatentEngine", request: Request) -> None:
    """Draw, write and tell.

    Raises:
        InvalidInput: an argument is wrong.
        OSError: the file could not be written.
    """
    from ancestral.engine.budget import check_size
    from ancestral.scalars import whole

    n = whole("n", request.n, 1)
    check_size("n", n, 8 * engine.data.length)
    space = engine.data if engine.prior is None else engine.prior.data
    labels, said = in_turn(request.label, n, request.first_index, space)
    samples = engine.sample(
        request.n, labels, request.seed, request.first_index, request.sampling, request.mean
    )
    indices = samples.first_index + np.arange(len(samples))
    shown = Shown(
        samples.x,
        [f"sample {i}" for i in indices],
        intervals=engine.latent.continuous,
        means=request.mean,
        columns=space.num_classes if request.label is None else None,
    )
    write_events(request.out, _arrays(samples, request.seed), shown, engine.data)
    say(_summary(samples, engine, f"{said}seed {request.seed}", request))


def _arrays(samples: "LatentSamples", seed: int) -> dict[str, NDArray[Any]]:
    """Those of the .npz; what there is none of is left out."""
    arrays: dict[str, NDArray[Any] | None] = {
        "x": samples.x,
        "z": samples.z,
        "log_prior": samples.log_prior,
        "log_likelihood": samples.log_likelihood,
        "labels": samples.labels,
        "seed": np.asarray(seed, np.uint64),
        "first_index": np.asarray(samples.first_index, np.int64),
    }
    return {name: array for name, array in arrays.items() if array is not None}


def _summary(samples: "LatentSamples", engine: "LatentEngine", how: str, request: Request) -> str:
    last = samples.first_index + len(samples) - 1
    likelihood = samples.log_likelihood
    of_x = "means E[x | z]" if likelihood is None else f"log p(x | z) {likelihood.mean():.2f} nats"
    tail = "" if request.out == STANDARD_OUTPUT else f" -> {request.out}"
    return (
        f"{len(samples)} samples, {how}, indices {samples.first_index} .. {last}, "
        f"{engine.backend.name} on {engine.backend.device}: "
        f"mean log p(z) {samples.log_prior.mean():.2f} nats, {of_x}{tail}"
    )
