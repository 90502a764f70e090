"""The tests' shortcut through the exporter's rewriter changes no graph."""

from pathlib import Path
from typing import Any

import pytest

from tests.export_toys import export_toy


def graphs(toy: str, bundle: Path) -> dict[str, bytes]:
    export_toy(toy, bundle)
    return {file.name: file.read_bytes() for file in (bundle / "graphs").glob("*.onnx")}


@pytest.mark.slow
def test_rules_tried_where_they_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs of a toy have the same bytes with and without the patch in tests/conftest.py."""
    module = pytest.importorskip("onnxscript.rewriter._matcher", exc_type=ImportError)
    whole, calls = module.SimplePatternMatcher.match.__wrapped__, []

    def match(*args: Any, **settings: Any) -> Any:
        calls.append(args)
        return whole(*args, **settings)

    quick = graphs("tiny", tmp_path / "quick")
    monkeypatch.setattr(module.SimplePatternMatcher, "match", match)
    assert graphs("tiny", tmp_path / "whole") == quick
    assert len(quick) > 5
    assert calls
