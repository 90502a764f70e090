"""`ancestral sample --particles`: completions of one event given all that is observed of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.cli.output import say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.engine import AutoregressiveEngine, Completion, Sampling


def check_options(
    observed: Path | None, n: int | None, sampling: "Sampling", batch: int | None
) -> None:
    """Refuse what does not go with particles.

    Raises:
        InvalidInput: nothing is observed, or an option asks for something else.
    """
    if observed is None:
        raise InvalidInput("--particles: expected --observed FILE beside it, got none")
    if n is not None:
        raise InvalidInput(f"-n: there are as many completions as --particles, got -n {n} too")
    if not sampling.unfiltered:
        raise InvalidInput(
            f"--particles: weights are those of the model itself, at temperature 1 without "
            f"filters; got {sampling}: leave the temperature and the filters out"
        )
    if batch is not None:
        raise InvalidInput(f"--batch: particles run all together, got --batch {batch}: leave it")


def draw_completions(
    engine: "AutoregressiveEngine",
    observed: Path,
    particles: int,
    label: int | None,
    seed: int,
    first_index: int,
) -> "Completion":
    """Complete the event of a file."""
    from ancestral.cli.arrays import pick, read_arrays
    from ancestral.cli.progress import progress_bar

    event = pick(observed, read_arrays(observed), ("observed", "x"))
    with progress_bar("completing") as progress:
        return engine.complete(event, particles, label, seed, first_index, progress)


def say_completions(
    completion: "Completion", engine: "AutoregressiveEngine", how: str, out: str
) -> None:
    """Tell the estimate, how good it is, and what was written."""
    n = len(completion)
    kind = (
        "exact: what is observed comes first in the ordering"
        if completion.exact
        else "an estimate by particles, exact only as they become many"
    )
    say(f"log p(observed) = {completion.log_prob_observed:.4f} nats ({kind})")
    weighted = Path(out).suffix.lower() == ".npz"
    tail = f"{'' if weighted else '; drawn by weight'}{'' if out == '-' else f' -> {out}'}"
    say(
        f"{n} completions, {how}, {engine.backend.name} on {engine.backend.device}: effective "
        f"sample size {completion.ess:.1f} of {n}, resampled {completion.resampled} times{tail}"
    )
