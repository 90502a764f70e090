"""A step loop that runs on after the end of its events, where a step changes nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ancestral.engine import AutoregressiveEngine, Sampling, step_graph, step_loop
from ancestral.engine.noise import Noise

SEED = 3


def long_run(made: AutoregressiveEngine, counts: Sequence[int]) -> list[Any]:
    """Return the loop's values, log p and position after launches of `counts` steps."""
    binding = made.session("step").bind({"b": 2, "s": 1})
    observed = np.full((2, made.data.length), -1)
    given = {} if made.data.num_classes is None else {"label": np.array([0, 1])}
    signature = made.session("step").signature
    given |= step_graph.settings(signature, Sampling(), 2, made.data.levels)
    step_loop.begin(binding, step_loop.Start(observed, given, noise=Noise(SEED, 0)))
    for count in counts:
        binding.run(count)
    return [binding.read(name) for name in ("values", "log_p", "position")]
