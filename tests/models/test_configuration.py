"""Configurations: types and ranges of values are checked, from Python and from JSON."""

import copy
import json
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest

from ancestral.errors import InvalidInput
from ancestral.train.models.configuration import LARGEST
from ancestral.train.models.families import FAMILIES, config_from_json
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.transformer_config import TransformerConfig
from tests.train.hugging_face.published import NETWORKS


@pytest.mark.parametrize("family", FAMILIES)
def test_default(family: str) -> None:
    """Each family has a default; JSON and copies keep it, and it cannot be changed or extended."""
    config = FAMILIES[family].config()
    assert config_from_json(family, json.loads(json.dumps(asdict(config)))) == config
    assert copy.deepcopy(config) == config == replace(config)
    assert hash(config) == hash(copy.copy(config))
    assert not hasattr(config, "__dict__")
    name = next(iter(config.__dataclass_fields__))
    with pytest.raises(FrozenInstanceError):
        setattr(config, name, getattr(config, name))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0, "layers": -1}, r"width: expected a number >= 1, got 0; layers: .* got -1"),
        ({"width": LARGEST + 1}, f"width: expected a number <= {LARGEST}, got {LARGEST + 1}"),
        ({"width": True}, "width: expected a valid integer, got True"),
        ({"width": "3"}, "width: expected a valid integer, got '3'"),
        ({"dropout": float("nan")}, "dropout: expected a number < 1, got nan"),
        ({"cell": "rnn"}, "cell: expected 'gru' or 'lstm', got 'rnn'"),
        ({"depth": 2}, "depth: Unexpected keyword argument, got 2"),
    ],
)
def test_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^RecurrentConfig: {message}"):
        RecurrentConfig(**values)
    with pytest.raises(InvalidInput, match=f"^recurrent config: {message}"):
        config_from_json("recurrent", values)


def test_problems_between_fields_are_reported_together() -> None:
    """All problems between valid fields are in one message, also after `replace`."""
    message = (
        r"^TransformerConfig: heads: expected a multiple of kv_heads = 3, got 4; "
        r"windowed: expected None without a window, got \(0,\)$"
    )
    with pytest.raises(InvalidInput, match=message):
        TransformerConfig(kv_heads=3, windowed=(0,))
    with pytest.raises(InvalidInput, match=message):
        replace(TransformerConfig(kv_heads=1), kv_heads=3, windowed=(0,))


def test_presets() -> None:
    """GPT-2's preset is its published config.json; the other presets take a size."""
    assert TransformerConfig.gpt2() == NETWORKS["GPT-2"][1].config
    llama = replace(TransformerConfig.llama(), width=12, heads=3)
    assert (llama.width, llama.head_size, llama.has_bias("norm")) == (12, 4, False)
    assert replace(TransformerConfig.pixels(), width=96).attention_rate == 0
