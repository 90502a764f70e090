"""A folder is opened according to its config.json, whichever project wrote it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ancestral.errors import CheckpointError, InvalidInput
from ancestral.train.checkpoint import save_checkpoint
from ancestral.train.open_checkpoint import kind_of, open_checkpoint
from tests.toys import make

KINDS = {
    "{": "ancestral",
    '{"format": "ancestral checkpoint"}': "ancestral",
    '{"model_type": "bert"}': "transformers",
    '{"_class_name": "UNet2DModel"}': "diffusers",
}


@pytest.mark.parametrize("text", KINDS)
def test_kinds(tmp_path: Path, text: str) -> None:
    assert kind_of(tmp_path) == "ancestral"
    assert kind_of(tmp_path / "none") == "ancestral"
    (tmp_path / "config.json").write_text(text)
    assert kind_of(tmp_path) == kind_of(str(tmp_path)) == KINDS[text]
    assert kind_of(tmp_path / "config.json") == "ancestral"


def test_a_checkpoint_of_our_own(tmp_path: Path) -> None:
    model, prior = make("tiny"), (0.25, 0.75)
    save_checkpoint(tmp_path, model, log_prior=tuple(np.log(prior).tolist()))
    opened = open_checkpoint(tmp_path)
    assert (opened.kind, opened.prior, opened.notes, opened.files) == ("ancestral", None, (), {})
    assert opened.label_prior == pytest.approx(prior)
    assert all(map(torch.equal, opened.model.state_dict().values(), model.state_dict().values()))
    save_checkpoint(tmp_path / "sequences", make("llama"))
    assert open_checkpoint(tmp_path / "sequences", length=4).model.data.length == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 8}, "size: only for a diffusers folder"),
        ({"pixel_scale": 1.0}, "pixel_scale: only for a diffusers folder"),
        ({"start": 3}, "start: only for a Hugging Face transformers folder"),
        ({"start": "none"}, "start: only for a Hugging Face transformers folder"),
        ({"ignore_field": ["x"]}, "ignore_field: only for a transformers or diffusers folder"),
        ({"length": 10**6}, "length"),
    ],
)
def test_arguments_of_other_folders(tmp_path: Path, options: dict[str, object], words: str) -> None:
    save_checkpoint(tmp_path, make("tiny"))
    with pytest.raises(InvalidInput, match=words):
        open_checkpoint(tmp_path, **options)  # type: ignore[arg-type]


def test_folders_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"expected a folder with a config\.json"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(InvalidInput, match="size: required for"):
        open_checkpoint(tmp_path)
