"""Initial values of caches that a type of 16 bits cannot have."""

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
    """Without a warning, which would be an error here."""
    buffer = _Buffer(SPEC, {"b": 1}, "cpu", -1e9)
    assert buffer.read().tolist() == [[-np.inf, -np.inf]]
