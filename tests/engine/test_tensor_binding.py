"""The tensors of a loop: their initial values, and copies of a step's results into them."""

import numpy as np
import pytest

from ancestral.engine.backends.onnxruntime_session import _Buffer
from ancestral.signature import TensorSpec

torch = pytest.importorskip("torch")
SPEC = TensorSpec(name="h", dtype="float16", axes=("b", 2))


def test_initial_beyond_float16_in_torch() -> None:
    from ancestral.engine.backends.tensor_binding import filled

    assert filled((3,), -1e9, torch.float16, "cpu").tolist() == [-np.inf] * 3
    assert filled((3,), 0.5, torch.float16, "cpu").tolist() == [0.5] * 3
    assert filled((3,), 7.0, torch.int64, "cpu").tolist() == [7] * 3


def test_initial_beyond_float16_in_onnxruntime() -> None:
    """A value beyond float16 becomes -inf without a warning, which would be an error here."""
    buffer = _Buffer(SPEC, {"b": 1}, "cpu", -1e9)
    assert buffer.read().tolist() == [[-np.inf, -np.inf]]


def test_views_of_one_another() -> None:
    """Results that are views of old tensors, as in a shift register, are all read first."""
    from ancestral.engine.backends.tensor_binding import keep

    old = {name: torch.full((2, 3), float(i)) for i, name in enumerate("abc")}
    addresses = {name: tensor.data_ptr() for name, tensor in old.items()}
    new = {"a": torch.full((2, 3), 9.0), "b": old["a"], "c": old["b"][:1].expand(2, 3)}
    keep(old, new)
    assert {name: tensor.unique().tolist() for name, tensor in old.items()} == {
        "a": [9.0],
        "b": [0.0],
        "c": [1.0],
    }
    assert {name: tensor.data_ptr() for name, tensor in old.items()} == addresses


def test_results_in_place_are_not_copied() -> None:
    from ancestral.engine.backends.tensor_binding import keep

    whole = {"a": torch.arange(6).reshape(3, 2), "b": torch.zeros(3)}
    rows = {name: tensor[1:] for name, tensor in whole.items()}
    keep(rows, {"a": rows["a"], "b": torch.ones(2)})
    assert whole["a"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert whole["b"].tolist() == [0, 1, 1]
