"""`check-causality`: what it prints, and exit code 1 if an output sees the future."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ancestral.train.checkpoint import save_checkpoint
from ancestral.train.models.transformer import Transformer
from tests.toys import make

from .conftest import Cli


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "run", make("tiny"))
    return tmp_path / "run"


@pytest.fixture
def unshifted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fault: no Transformer shifts its inputs."""
    predict = Transformer.predict

    def seeing(self: Transformer, x: Tensor, label: Tensor | None) -> Tensor:
        return predict(self, torch.cat([x[:, 1:], x[:, -1:]], dim=1), label)

    monkeypatch.setattr(Transformer, "predict", seeing)


def test_passes(cli: Cli, checkpoint: Path) -> None:
    result = cli("check-causality", checkpoint)
    assert result.code == 0, result.err
    assert result.out.startswith("no output sees its own value or a later one: values were changed")
    document = json.loads(cli("check-causality", checkpoint, "--positions", 4, "--json").out)
    assert document["checkpoint"] == str(checkpoint)
    assert document["passed"] is True
    assert len(document["positions"]) == 4
    assert document["leaks"] == []


def test_fails(cli: Cli, checkpoint: Path, unshifted: None) -> None:
    result = cli("check-causality", checkpoint)
    assert result.code == 1
    assert "8 of 9 outputs see" in result.out
    assert "output 1 sees x at 1 (value, derivative)" in result.out
    result = cli("check-causality", checkpoint, "--json")
    assert result.code == 1
    document = json.loads(result.out)
    assert document["passed"] is False
    assert {"output": 1, "input": 1, "how": "value"} in document["leaks"]


def test_refuses(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    assert cli("check-causality", tmp_path / "nothing").code == 2
    result = cli("check-causality", checkpoint, "--positions", 0)
    assert result.code == 2
    assert "positions: expected an integer >= 1, got 0" in result.err
