"""Rounding that follows half of the data loses less on the other half."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ancestral.engine import AutoregressiveEngine
from ancestral.precision.feedback import halved
from ancestral.precision.split import Data
from ancestral.train.quantisation.quantise import planned, quantise, round_nearest
from tests.sharp_toy import SHARP, make_sharp


@torch.no_grad()
def test_loss_on_the_other_half(bundles: Callable[[str], Path]) -> None:
    """The gain over nearest codes is more than 4 standard errors."""
    bundle = bundles(SHARP)
    x = AutoregressiveEngine.load(bundle, threads=1).sample(1600, seed=2).x
    rule, held_out = halved(bundle, Data(x))
    assert np.array_equal(held_out.x, x[1::2])
    model = make_sharp()
    log_p = []
    for rounding in (rule, round_nearest):
        changed = copy.deepcopy(model)
        quantise(changed, planned(model, "int4", group=64), rounding)
        log_p.append(changed.log_prob(torch.tensor(held_out.x), None).double())
    gain = log_p[0] - log_p[1]
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5
