"""Law: the probabilities of all events of a space sum to 1."""

from itertools import product

import numpy as np
import pytest

from ancestral.engine import Engine

from .faults import plant
from .laws import assert_close, limits


def check_normalised(engine: Engine) -> None:
    """Check that p(x | y) sums to 1 for each y, and for each x_0 if it must be observed."""
    data = engine.data
    x = np.array(list(product(range(data.levels), repeat=data.length)))
    for label in range(data.num_classes or 1):
        p = np.exp(engine.log_prob(x, None if data.num_classes is None else label))
        total = p.reshape(data.levels, -1).sum(axis=1)  # events are in the order of their x_0
        if not engine.bundle.manifest.first_position:
            total = total.sum(keepdims=True)
        assert_close(total, np.ones_like(total), np.expm1(limits(engine).nats), "sum of p")


@pytest.mark.many
def test_normalised(engine: Engine) -> None:
    check_normalised(engine)


@pytest.mark.parametrize(
    ("backend", "fault"),
    [("torch", "mask shifted"), ("torch", "shift missing"), ("onnxruntime", "mask missing")],
)
def test_planted(bundles, tmp_path, backend: str, fault: str) -> None:
    toy = "startless" if backend == "torch" else "llama"
    with pytest.raises(AssertionError, match=r"sum of p: max .* mean .* worst at"):
        check_normalised(plant(bundles(toy), tmp_path, fault, toy, backend))
