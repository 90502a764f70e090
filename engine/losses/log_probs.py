"""Paired differences with log p that is given: computed before, or by another system."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments
from ancestral.engine.arguments import Progress, Tally
from ancestral.engine.losses.sequences import Sequences, positioned, sequences
from ancestral.engine.losses.side import Side, ran_on
from ancestral.engine.runner import LatentRunner, Runner
from ancestral.errors import InvalidInput
from ancestral.given_log_probs import GivenLogProbs
from ancestral.loss_measurement import Comparison, Ran


def log_probs(
    source: Runner,
    data: ArrayLike,
    labels: ArrayLike | int | None = None,
    progress: Progress | None = None,
    *,
    lengths: ArrayLike | None = None,
) -> GivenLogProbs:
    """Return log p of each value, to be compared with several bundles.

    Args:
        source: engine of an autoregressive bundle.
        data: as in `compare`.
        labels: as in `compare`.
        progress: called as `progress(done, total)`, in sequences.
        lengths: as in `compare`.

    Raises:
        InvalidInput: an argument is invalid, or the source is a latent variable model.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.
    """
    check_autoregressive("source", source)
    given = sequences(source, data, lengths)
    side = Side("source", source, source.labels(labels, len(given.x)))
    found = _of_side(side, given, progress)
    return GivenLogProbs(
        given.x,
        given.lengths,
        np.where(given.predicted(source.first_position), found, np.nan),
        None if labels is None else side.labels,
        source.bundle.manifest.sha256,
        ran_on(source),
    )


def compare_log_probs(
    bundle: Runner, given: GivenLogProbs, progress: Progress | None = None
) -> Comparison:
    """Compare a bundle with log p of the same values that is given: paired differences only.

    Positions without a given log p are left out and counted.

    Args:
        bundle: engine of an autoregressive bundle.
        given: values and their log p, from `log_probs` or from a file of another system.
        progress: called as `progress(done, total)`, in sequences.

    Returns:
        A `Comparison` without distributions; its nats are [n, t].

    Raises:
        InvalidInput: the bundle is a latent variable model, the values are not the bundle's, or
            only one of the two gives a value any probability.
        NotADistribution: a log-probability of the bundle is NaN.
        BundleError: the weights have changed since the bundle was opened.

    For example:

        given = log_probs(source, x)
        loss = compare_log_probs(bundle, given).loss
        loss.nats, loss.error  # nats per position
    """
    check_autoregressive("bundle", bundle)
    data = positioned(bundle, given.x, given.lengths)
    side = Side("bundle", bundle, bundle.labels(given.labels, len(data.x)))
    counted = data.predicted(bundle.first_position) & ~np.isnan(given.log_prob)
    return Comparison(
        source=given.log_prob,
        bundle=_of_side(side, data, progress),
        counted=counted,
        positions=counted.sum(axis=1),
        unit=data.unit,
        ran=Ran(side.ran_on, given.source_backend, given.source_sha256, seed=0),
        left_out=int(data.lengths.sum() - counted.sum()),
    )


def check_autoregressive(name: str, runner: object) -> None:
    """Check that an argument is the engine of an autoregressive bundle.

    Raises:
        InvalidInput: it is something else.
    """
    if not isinstance(runner, Runner) or isinstance(runner, LatentRunner):
        raise InvalidInput(
            f"{name}: expected the engine of an autoregressive bundle, whose log p is known; "
            f"latent variable models are compared with `compare`"
        )


def _of_side(side: Side, data: Sequences, progress: Progress | None) -> NDArray[np.float32]:
    """Return log p of all sequences, in pieces that bound memory; 0 where there is no log p."""
    arguments.callback("progress", progress)
    n = len(data.x)
    rows, tally = side.rows(), Tally(progress, n)
    predicted = data.predicted(side.runner.first_position)
    found = np.empty(data.x.shape, np.float32)
    for at in range(0, n, rows):
        some = slice(at, at + rows)
        found[some] = side.log_prob(data.x[some], predicted[some], at)
        tally.add(len(found[some]))
    return found
