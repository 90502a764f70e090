"""Fixtures: folders that the oracle writes, without messages of transformers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from ancestral.train.hugging_face import Loaded, load_hugging_face
from tests.train.hugging_face import oracle

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Pair:
    """A model of transformers, its folder, and our model of that folder.

    Attributes:
        start: value that the oracle reads before an event.
        x: events, [b, t].
        expected: the oracle's log p(x_t | x_<t), [b, t], in nats.
    """

    theirs: "PreTrainedModel"
    folder: Path
    loaded: Loaded
    start: int | None
    x: Tensor
    expected: Tensor


@pytest.fixture(autouse=True, scope="session")
def silence() -> Iterator[None]:
    """Switch off transformers' progress bars and advice."""
    import transformers

    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.set_verbosity(before)
    transformers.logging.enable_progress_bar()


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, silence: None) -> Callable[[str], Pair]:
    """Return a function that gives a pair by its name, made once. Tests may not change it."""
    made: dict[str, Pair] = {}

    def get(name: str) -> Pair:
        if name not in made:
            theirs = oracle.make(name)
            folder = oracle.write(theirs, tmp_path_factory.mktemp(name))
            loaded = load_hugging_face(folder)
            config, data = loaded.model.config, loaded.model.data
            start = data.levels if config.start == "learned" else config.start
            generator = torch.Generator().manual_seed(1)
            x = torch.randint(0, data.levels, (3, data.length), generator=generator)
            expected = oracle.log_probs(theirs, x, start)
            made[name] = Pair(theirs, folder, loaded, start, x, expected)
        return made[name]

    return get


@pytest.fixture
def gpt2(pair: Callable[[str], Pair], tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """Return a folder without weights that a test may change, and its weights."""
    from tests.train.hugging_face.folders import emptied

    return emptied(pair("gpt2"), tmp_path)
