"""A model that sees the future is refused before anything is exported."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ancestral.errors import ExportError
from ancestral.export import bundle_writer as module
from ancestral.export import programs
from ancestral.export.bundle import export_bundle
from ancestral.train.models.transformer import Transformer
from tests.toys import transformer


class Unshifted(Transformer):
    """Each output but the first sees its own value."""

    def predict(self, x: Tensor, label: Tensor | None) -> Tensor:
        return super().predict(torch.cat([x[:, 1:], x[:, -1:]], dim=1), label)


def unshifted() -> Transformer:
    model = transformer("llama")
    leaking = Unshifted(model.config, model.data)
    leaking.load_state_dict(model.state_dict())
    return leaking


def test_refused_with_its_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("something was exported")

    monkeypatch.setattr(programs, "export_graph", never)
    for name in ("weights_file", "known_answers"):
        monkeypatch.setattr(module, name, never)
    phases: list[str] = []
    words = (
        r"the model sees the future: 5 of 6 outputs .*output 1 sees x at 1 \(value, derivative\); "
        r"output 2 sees x at 2 .*; and 1 more; .*shift the input of predict by one position"
    )
    with pytest.raises(ExportError, match=words):
        export_bundle(unshifted(), tmp_path / "new" / "bundle", progress=phases.append)
    assert phases == ["causality"]
    assert list(tmp_path.iterdir()) == []


def test_a_causal_model_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A causal model passes in training mode too: it is tested and exported in evaluation mode."""

    def stop(*_: object) -> None:
        raise OSError("stop here")

    monkeypatch.setattr(module, "weights_file", stop)
    phases: list[str] = []
    with pytest.raises(OSError, match="stop here"):
        export_bundle(transformer("llama").train(), tmp_path / "bundle", progress=phases.append)
    assert phases == ["causality", "weights"]
