"""How much of the test part `train` evaluates: all of it, unless that would take too long."""

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
"""Time that an evaluation may take, the baselines left out."""
_TRIED = 256
"""Events that are timed at most, beforehand."""
_TRIAL = 0.02
"""Part of that time after which a trial is long enough."""

Clock = Callable[[], float]


def affordable_events(
    model: AutoregressiveModel,
    data: Dataset,
    seconds: float = SECONDS,
    clock: Clock = time.monotonic,
) -> Dataset:
    """The data, with as many test events, drawn at random, as a model can evaluate in the time."""
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
    """The data, and how many latents of each test event a model can evaluate in the time.

    Where one of each is still too much, there are fewer test events, drawn at random.

    Args:
        model: with a prior of its own.
        data: its test part is evaluated.
        k: latents of each event that were asked for.
        seconds: that an evaluation may take.
        clock: gives the seconds.
    """
    x = data.test.x
    one = _seconds_of_an_event(
        lambda n: bound(model, x[:n], k, streams=ENGINE), len(x), seconds, clock
    )
    fit = min(k, max(1, int(k * seconds / max(one * len(x), 1e-9))))
    if fit < k:
        say(
            f"the test part is evaluated with k = {fit} latents of each event: {k} would take "
            f"{duration(one * len(x))}; `ancestral bound -k {k}` of the bundle has no limit of time"
        )
    return _fewer(data, one * fit / k, seconds), fit


def _seconds_of_an_event(
    work: Callable[[int], object], count: int, seconds: float, clock: Clock
) -> float:
    """Time some events, twice as many each time, until that is long enough to count on."""
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
    """As many test events as fit into the time, given the seconds of one."""
    count = len(data.test)
    fit = max(1, int(seconds / max(one, 1e-9)))
    if fit >= count:
        return data
    say(
        f"the test part is evaluated on {fit} of its {count} events, drawn at random: all would "
        f"take {duration(one * count)}"
    )
    return replace(data, test=drawn(data.test, fit))


def drawn(part: Part, count: int) -> Part:
    """Some events, the same ones each time, of any part that has as many."""
    index = np.sort(np.random.default_rng(0).permutation(len(part))[:count])
    return part.taken(index)
