"""The model that we read from a folder is the one that transformers reads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ancestral.train.models.transformer import Transformer
from tests.train.hugging_face.conftest import Pair
from tests.train.hugging_face.oracle import LIMIT, MODELS, log_probs

Pairs = Callable[[str], Pair]
PROMPT = 4
BLOCK = 7


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_parallel(pair: Pairs, name: str) -> None:
    case = pair(name)
    got = case.loaded.model.position_log_prob(case.x, None)
    assert (got - case.expected).abs().max() < LIMIT
    # The values differ widely: a uniform model would test nothing.
    assert case.expected.std() > 1


@pytest.mark.parametrize("name", ["gpt2", "llama-one-group", "mistral", "qwen3-windows"])
@torch.no_grad()
def test_without_a_start(pair: Pairs, name: str) -> None:
    """Without a start, the first value is given, and log p counts from the second one on."""
    from ancestral.train.hugging_face import load_hugging_face

    case = pair(name)
    model = load_hugging_face(case.folder, start=None).model
    assert model.first_position == 1
    got = model.position_log_prob(case.x, None)
    assert torch.equal(got[:, 0], torch.zeros(len(case.x)))
    assert (got - log_probs(case.theirs, case.x, None)).abs().max() < LIMIT


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_cached(pair: Pairs, name: str) -> None:
    """Blocks with a cache, and then single positions, give the oracle's log-probabilities."""
    case = pair(name)
    model, length = case.loaded.model, case.x.shape[1]
    # At position 0 the model reads its start symbol, whatever value is here.
    fed = torch.nn.functional.pad(case.x, (1, 0))
    cache, tables, position = model.initial_cache(len(case.x)), [], 0
    while position < length:
        size = min(BLOCK, length - position) if position < length - BLOCK else 1
        tokens = fed[:, position : position + size]
        logits, cache = model.extend(tokens, torch.full((len(case.x),), position), cache, None)
        tables.append(logits.double().log_softmax(-1))
        position += size
    got = torch.cat(tables, 1).gather(-1, case.x[..., None])[..., 0]
    assert (got - case.expected).abs().max() < LIMIT


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_greedy(pair: Pairs, name: str) -> None:
    case = pair(name)
    model, prompt = case.loaded.model, case.x[:, :PROMPT]
    new = model.data.length - PROMPT
    assert case.start is not None
    fed = torch.nn.functional.pad(prompt, (1, 0), value=case.start)
    made = case.theirs.generate(  # type: ignore[operator]
        input_ids=fed,
        attention_mask=torch.ones_like(fed),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(greedy(model, prompt, new), made[:, 1:])
    assert len(made.unique()) > PROMPT


def greedy(model: Transformer, prompt: Tensor, new: int) -> Tensor:
    """Read the prompt in one block, then take the likeliest value at each position."""
    values, cache = prompt, model.initial_cache(len(prompt))
    tokens, position = torch.nn.functional.pad(prompt, (1, 0)), 0
    for _ in range(new):
        at = torch.full((len(prompt),), position)
        logits, cache = model.extend(tokens, at, cache, None)
        position += tokens.shape[1]
        tokens = logits[:, -1:].argmax(-1)
        values = torch.cat([values, tokens], 1)
    return values
