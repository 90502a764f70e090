"""Fixtures of the engine's tests."""

import pytest

from ancestral.engine import AutoregressiveEngine
from tests.conftest import Load, autoregressive


@pytest.fixture
def text(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "text", "onnxruntime")
