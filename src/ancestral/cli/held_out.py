"""The test events that `train` evaluates: all of them, unless that would take too long."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ancestral.cli.output import say
from ancestral.progress import duration
from ancestral.train.bounds import ENGINE, bound
from ancestral.train.data.dataset import Dataset, Part
from ancestral.train.evaluation import model_log_prob
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.latent_variable import LatentVariableModel

SECONDS = 600.0
"""Time limit of an evaluation, in seconds, without the baselines."""
_TRIED = 256
"""Maximum number of events that are timed beforehand."""
_TRIAL = 0.02
"""Fraction of the time limit after which a trial is long enough."""

Clock = Callable[[], float]


def affordable_events(
    model: AutoregressiveModel,
    data: Dataset,
    seconds: float = SECONDS,
    clock: Clock = time.monotonic,
) -> Dataset:
    """Return the data with as many test events, drawn at random, as fit in the time limit."""
    log_prob, test = model_log_prob(model), data.test
    one = _seconds_of_an_event(
        lambda n: log_prob(test.x[:n], None if test.label is None else test.label[:n]),
        len(test),
        seconds,
        clock,
    )
    return _fewer(data, one * (data.spec.num_classes or 1), seconds)


def affordable_draws(
    model: LatentVariableModel,
    data: Dataset,
    k: int,
    seconds: float = SECONDS,
    clock: Clock = time.monotonic,
) -> tuple[Dataset, int]:
    """Return the data and the number of latents per test event that fit in the time limit.

    If even one latent per event takes too long, there are fewer test events, drawn at random.

    Args:
        model: a latent variable model that contains its prior.
        data: the data whose test part is evaluated.
        k: requested number of latents per event.
        seconds: time limit of the evaluation.
        clock: returns the time in seconds.
    """
    x = data.test.x
    one = _seconds_of_an_event(
        lambda n: bound(model, x[:n], k, streams=ENGINE), len(x), seconds, clock
    )
    fit = min(k, max(1, int(k * seconds / max(one * len(x), 1e-9))))
    if fit < k:
        say(
            f"evaluating the test part with k = {fit} latents per event: {k} would take "
            f"{duration(one * len(x))}; `ancestral bound -k {k}` on the bundle has no time limit"
        )
    return _fewer(data, one * fit / k, seconds), fit


def _seconds_of_an_event(
    work: Callable[[int], object], count: int, seconds: float, clock: Clock
) -> float:
    """Return seconds per event: time 1, 2, 4, ... events until the trial is long enough."""
    events = 1
    while True:
        events = min(events, count)
        begun = clock()
        work(events)
        took = clock() - begun
        if took >= _TRIAL * seconds or events >= min(count, _TRIED):
            return took / events
        events *= 2


def _fewer(data: Dataset, one: float, seconds: float) -> Dataset:
    """Return the data with as many test events as fit in the time limit; each takes `one` s."""
    count = len(data.test)
    fit = max(1, int(seconds / max(one, 1e-9)))
    if fit >= count:
        return data
    say(
        f"evaluating {fit} of the {count} test events, drawn at random: all would take "
        f"{duration(one * count)}"
    )
    return replace(data, test=drawn(data.test, fit))


def drawn(part: Part, count: int) -> Part:
    """Return `count` random events of a part; parts of equal length get the same indices."""
    index = np.sort(np.random.default_rng(0).permutation(len(part))[:count])
    return part.taken(index)
