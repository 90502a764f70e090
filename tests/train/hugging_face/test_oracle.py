"""What was read out of a folder is the model that transformers reads there."""

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
    its = pair(name)
    got = its.loaded.model.position_log_prob(its.x, None)
    assert (got - its.expected).abs().max() < LIMIT
    # Far from even: a model that says nothing is no test.
    assert its.expected.std() > 1


@pytest.mark.parametrize("name", ["gpt2", "llama-one-group", "mistral", "qwen3-windows"])
@torch.no_grad()
def test_without_a_start(pair: Pairs, name: str) -> None:
    """log p(x_2.. | x_1): the first value is given, and the second is the first to count."""
    from ancestral.train.hugging_face import load_hugging_face

    its = pair(name)
    model = load_hugging_face(its.folder, start=None).model
    assert model.first_position == 1
    got = model.position_log_prob(its.x, None)
    assert torch.equal(got[:, 0], torch.zeros(len(its.x)))
    assert (got - log_probs(its.theirs, its.x, None)).abs().max() < LIMIT


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_cached(pair: Pairs, name: str) -> None:
    """In blocks, of which the last is shorter; and the tail a position at a time."""
    its = pair(name)
    model, length = its.loaded.model, its.x.shape[1]
    # At position 0 what is consumed is the start symbol, whatever stands here.
    fed = torch.nn.functional.pad(its.x, (1, 0))
    cache, tables, position = model.initial_cache(len(its.x)), [], 0
    while position < length:
        size = min(BLOCK, length - position) if position < length - BLOCK else 1
        tokens = fed[:, position : position + size]
        logits, cache = model.extend(tokens, torch.full((len(its.x),), position), cache, None)
        tables.append(logits.double().log_softmax(-1))
        position += size
    got = torch.cat(tables, 1).gather(-1, its.x[..., None])[..., 0]
    assert (got - its.expected).abs().max() < LIMIT


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_greedy(pair: Pairs, name: str) -> None:
    its = pair(name)
    model, prompt = its.loaded.model, its.x[:, :PROMPT]
    new = model.data.length - PROMPT
    assert its.start is not None
    fed = torch.nn.functional.pad(prompt, (1, 0), value=its.start)
    made = its.theirs.generate(  # type: ignore[operator]
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
    """The prompt in one block, then the likeliest value at each position."""
    values, cache = prompt, model.initial_cache(len(prompt))
    tokens, position = torch.nn.functional.pad(prompt, (1, 0)), 0
    for _ in range(new):
        at = torch.full((len(prompt),), position)
        logits, cache = model.extend(tokens, at, cache, None)
        position += tokens.shape[1]
        tokens = logits[:, -1:].argmax(-1)
        values = torch.cat([values, tokens], 1)
    return values
