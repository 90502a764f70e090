"""A reused binding: its contents from the previous call do not affect the next call."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from ancestral.engine import AutoregressiveEngine
from ancestral.errors import NotADistribution
from tests.engine.threads import assert_same
from tests.tamper import edited, sign

POISON = 3
_TOKEN = "inputs.token.weight"


@pytest.fixture(scope="module")
def poisoned(bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of levels 0 .. 3 that predicts NaN once it has seen a 3."""

    def poison(graph: onnx.GraphProto) -> None:
        # ONNX Runtime reads a weight this small from the graph, PyTorch from the weights file.
        (token,) = [each for each in graph.initializer if each.name.endswith(_TOKEN)]
        table = numpy_helper.to_array(token).copy()
        table[POISON] = np.nan
        token.CopyFrom(numpy_helper.from_array(table, token.name))

    copy = edited(bundles("startless"), tmp_path_factory.mktemp("poisoned"), poison)
    file = copy / "graphs" / "weights.safetensors"
    weights = load_file(file)
    weights[_TOKEN][POISON] = np.nan
    save_file(weights, file)
    sign(copy)
    return copy


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("how", ["an exception", "a discarded row"])
def test_nan(poisoned: Path, how: str, backend: str) -> None:
    """NaN that an earlier call left in the cache does not reach the next call.

    Such slots are masked if rows are at different positions, but NaN passes through a mask.
    """
    engine = AutoregressiveEngine.load(poisoned, backend=backend, threads=1)
    prompts = [[0], [0, 1, 2]]
    expected = engine.generate(prompts, 2, stop=(POISON,), seed=1)
    if how == "an exception":
        with pytest.raises(NotADistribution):
            engine.sample(2, observed=[POISON] * 6)
    else:
        # A row that has drawn its stop token goes on while others do; what it draws is discarded.
        rows = [engine.generate(prompts, 5, stop=(POISON,), seed=seed) for seed in range(8)]
        assert any(
            one.ended == "stop" and len(one.tokens) < len(other.tokens) for one, other in rows
        )
    assert_same(engine.generate(prompts, 2, stop=(POISON,), seed=1), expected)
