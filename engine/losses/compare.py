"""Compare two bundles of the same data: what the first loses against the second."""

import numpy as np
from numpy.typing import ArrayLike

from ancestral.divergence import divergence
from ancestral.engine import arguments
from ancestral.engine.arguments import Progress, Tally
from ancestral.engine.losses.bounds import compare_bounds
from ancestral.engine.losses.log_probs import check_autoregressive
from ancestral.engine.losses.sequences import sequences
from ancestral.engine.losses.side import Side
from ancestral.engine.noise import Noise
from ancestral.engine.runner import LatentRunner, Runner
from ancestral.engine.same_data import check_same_data
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.loss_measurement import Comparison, Distributions, Ran

K = 64
"""Latents of each bound, if the user gives no number."""


def compare(  # noqa: PLR0913 - what a user may choose
    bundle: Runner,
    source: Runner,
    data: ArrayLike,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    lengths: ArrayLike | None = None,
    k: int = K,
) -> Comparison:
    """Compare the likelihoods and the distributions of two models on the same data.

    The two may be two bundles, or one bundle on two backends or in two types. Log p comes from the
    graph `log_prob`, so it is what `log_prob` of the engine returns. Distributions of the next
    value come from the graph `logits`, and draws from `redraw`, at every position given the values
    of the data before it. Latent variable models are compared by their bounds (IWAE) from the same
    noise.

    Memory is bounded: the logits of a few events are held at a time.

    Args:
        bundle: engine of the bundle whose loss is measured.
        source: engine of the bundle that it is compared with.
        data: events, [n, *event_shape] or [n, t]; for a model of sequences also windows of ids,
            [n, t], of any width up to the model's length.
        labels: class of all events, or of each, [n]; required if a model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1, of the uniforms of draws and of the noise of bounds.
        progress: called as `progress(done, total)`, in events; for bounds in latents of events.
        lengths: number of values of each window that count, [n]; None means all.
        k: number of latents of each bound; only for latent variable models.

    Returns:
        A `Comparison`. Its `loss` is the mean difference in nats per position with its standard
        error, `cost(name)` the summary.

    Raises:
        InvalidInput: an argument is invalid, the bundles are of different data or kinds, or only
            one of the models gives some value any probability.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened, or a graph is missing.

    For example:

        found = compare(bundle, source, x, labels=y)
        found.loss.nats, found.loss.error  # nats per position
        found.cost("test part").kl_mean  # nats
    """
    _check_kinds(bundle, source)
    noise = arguments.noise(seed, 0, 0)
    arguments.callback("progress", progress)
    if isinstance(bundle, LatentRunner) and isinstance(source, LatentRunner):
        if lengths is not None:
            raise InvalidInput("lengths: the model has no sequences; leave lengths out")
        return compare_bounds(bundle, source, data, labels, (noise.seed, k), progress)
    check_same_data("source", source, bundle, "the bundle's")
    given = sequences(bundle, data, lengths)
    n = len(given.x)
    arguments.noise(seed, 0, n)
    sides = (
        Side("bundle", bundle, bundle.labels(labels, n)),
        Side("source", source, source.labels(labels, n)),
    )
    counted = given.predicted(max(bundle.first_position, source.first_position))
    log_p, distributions = _compared(sides, given.x, counted, noise, Tally(progress, n))
    return Comparison(
        source=log_p[1],
        bundle=log_p[0],
        counted=counted,
        positions=counted.sum(axis=1),
        unit=given.unit,
        ran=Ran(sides[0].ran_on, sides[1].ran_on, source.bundle.manifest.sha256, noise.seed),
        distributions=distributions,
        left_out=int(given.lengths.sum() - counted.sum()),
    )


def _check_kinds(bundle: object, source: object) -> None:
    """Check that both arguments are engines of one kind.

    Raises:
        InvalidInput: an argument is not an engine, or only one has latents.
    """
    for name, each in (("bundle", bundle), ("source", source)):
        if not isinstance(each, LatentRunner):
            check_autoregressive(name, each)
    if isinstance(bundle, LatentRunner) != isinstance(source, LatentRunner):
        raise InvalidInput(
            "source: expected a bundle of the same kind, because a bound is not comparable with "
            "log p"
        )


def _compared(
    sides: tuple[Side, Side], x: Array, counted: Array, noise: Noise, tally: Tally
) -> tuple[Array, Distributions]:
    """Run both models over the sequences, a few at a time.

    Returns:
        Log p of the bundle and of the source, in nats, [2, n, t]; and differences of next values.
    """
    bundle, source = sides
    n, t = x.shape
    log_p = np.empty((2, n, t), np.float32)
    kl = np.empty((n, t), np.float32)
    same_top, same_draw = np.empty((2, n, t), np.bool_)
    rows = bundle.rows(models=2)
    for at in range(0, n, rows):
        some = slice(at, at + rows)
        events, inside = x[some], counted[some]
        for each, side in enumerate(sides):
            log_p[each, some] = side.log_prob(events, inside, at)
        u = noise.after(at).uniforms(len(events), t)
        draws = [side.redrawn(events, u, at) for side in sides]
        same_draw[some] = draws[0] == draws[1]
        shape = (-1, bundle.runner.data.levels)
        found = divergence(
            source.logits(events, at).reshape(shape), bundle.logits(events, at).reshape(shape)
        )
        kl[some], same_top[some] = (each.reshape(events.shape) for each in found)
        tally.add(len(events))
    return log_p, Distributions(kl, same_top, same_draw)
