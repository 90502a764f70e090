"""Every configuration in float64: the parallel and the cached form agree, and p sums to 1."""

from itertools import product

import pytest
import torch
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.block import frequencies
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from tests.toys import widen

IMAGES = DataSpec(name="images", event_shape=(2, 3), levels=3, num_classes=2)
SEQUENCES = DataSpec(name="sequences", event_shape=(5,), levels=3)
SMALL = {"width": 12, "layers": 2, "heads": 2, "hidden": 10}
# Two float64 computations of a sum differ by a few units in the last place; logits are about 10.
EXACT = 1e-12

CONFIGS = {
    "GPT-2": (TransformerConfig(**SMALL, activation="gelu_tanh", tied=True), SEQUENCES),
    "Llama": (
        TransformerConfig(
            width=12,
            layers=2,
            heads=4,
            kv_heads=2,
            head_width=6,
            positions="rotary",
            norm="rms",
            activation="swiglu",
            bias=False,
            start=1,
        ),
        SEQUENCES,
    ),
    "Mistral": (
        TransformerConfig(
            width=12,
            layers=3,
            heads=2,
            kv_heads=1,
            positions="rotary",
            window=2,
            windowed=(0, 2),
            norm="rms",
            activation="swiglu",
            bias=False,
            start=1,
        ),
        SEQUENCES,
    ),
    "Qwen3": (
        TransformerConfig(
            **SMALL, positions="rotary", norm="rms", head_norms=True, bias=("qkv",), start=None
        ),
        SEQUENCES,
    ),
    "GPT-NeoX": (
        TransformerConfig(
            **SMALL,
            positions="rotary",
            rotary_width=2,
            rotary_scaling=(2.0,),
            parallel=True,
            bias=("qkv", "out", "feed", "norm"),
            start=0,
        ),
        SEQUENCES,
    ),
    "ImageGPT": (TransformerConfig(**SMALL, norm="rms", activation="gelu_quick"), IMAGES),
    "one key head": (TransformerConfig(**SMALL, kv_heads=1, start=0), SEQUENCES),
    "no start": (TransformerConfig(**SMALL, start=None), SEQUENCES),
    "no start, rotary": (TransformerConfig(**SMALL, start=None, positions="rotary"), SEQUENCES),
    "labels": (TransformerConfig(**SMALL), IMAGES),
    "above": (TransformerConfig(**SMALL, above=True), IMAGES),
    "above, no start": (TransformerConfig(**SMALL, above=True, start=None), IMAGES),
    "above, start token": (TransformerConfig(**SMALL, above=True, start=2), IMAGES),
    "smooth": (TransformerConfig(**SMALL, smoothness=2.0, tied=True), IMAGES),
}


def make(name: str) -> tuple[Transformer, Tensor, Tensor | None]:
    """Return a wide model in float64, events and labels."""
    config, data = CONFIGS[name]
    torch.manual_seed(0)
    model = widen(Transformer(config, data)).double().eval()
    x = torch.randint(data.levels, (4, data.length))
    return model, x, torch.tensor([0, 1, 1, 0]) if data.num_classes else None


def extended(model: Transformer, x: Tensor, label: Tensor | None, blocks: list[int]) -> Tensor:
    """Return logits of all positions from blocks of these lengths, starting with an empty cache."""
    tokens = x if model.first_position else torch.nn.functional.pad(x, (1, 0), value=0)[:, :-1]
    position, cache, parts = model.first_position, model.initial_cache(len(x)), []
    for s in blocks:
        block = tokens[:, position - model.first_position :][:, :s]
        at = torch.full((len(x),), position)
        logits, cache = model.extend(block, at, cache, label)
        parts.append(logits)
        position += s
    return torch.cat(parts, dim=1)


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_parallel_and_cached(name: str) -> None:
    model, x, label = make(name)
    first, t = model.first_position, x.shape[1]
    expected = model.logits(x, label)[:, first:]
    for blocks in ([1] * (t - first), [t - first], [2, 1, t - first - 3]):
        got = extended(model, x, label, blocks)
        error = (got - expected).abs()
        assert error.max() < EXACT, f"{blocks}: max {error.max()}, worst at {error.argmax()}"


@torch.no_grad()
def test_window_ends() -> None:
    """With two layers of window 2, the last logits depend on the last 3 consumed tokens."""
    config = TransformerConfig(**SMALL, positions="rotary", window=2, start=1)
    torch.manual_seed(0)
    model = widen(Transformer(config, SEQUENCES)).double().eval()
    x = torch.randint(SEQUENCES.levels, (1, 5))
    last = model.logits(x, None)[0, 4]
    for at in range(4):
        other = x.clone()
        other[0, at] = (x[0, at] + 1) % 3
        change = (model.logits(other, None)[0, 4] - last).abs().max()
        assert (change == 0) == (at == 0), f"position {at}: {change}"


def test_frequencies() -> None:
    """Llama 3's scaling keeps high frequencies, divides low ones, and mixes those between."""
    plain, scaled = (
        frequencies(
            TransformerConfig(width=64, heads=1, positions="rotary", rotary_scaling=scaling)
        )
        for scaling in ((), (8.0, 1.0, 4.0, 8192.0))
    )
    turns = 8192 * plain / (2 * torch.pi)
    assert torch.equal(scaled[turns > 4], plain[turns > 4])
    assert torch.allclose(scaled[turns < 1] * 8, plain[turns < 1], rtol=1e-12)
    between = (turns >= 1) & (turns <= 4)
    assert between.any()
    assert ((scaled < plain) & (scaled > plain / 8))[between].all()


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_normalised(name: str) -> None:
    model, _, label = make(name)
    data = model.data
    x = torch.tensor(list(product(range(data.levels), repeat=data.length)))
    labels = None if label is None else torch.ones(len(x), dtype=torch.int64)
    p = model.log_prob(x, labels).exp()
    total = p.reshape(data.levels, -1).sum(1) if model.first_position else p.sum()
    assert (total - 1).abs().max() < EXACT


@torch.no_grad()
@pytest.mark.parametrize("name", ["GPT-2", "labels", "above", "above, no start"])
def test_start_token_is_not_read(name: str) -> None:
    """tokens[:, 0] is ignored at position 0 if there is a start symbol."""
    model, x, label = make(name)
    at = torch.full((len(x),), model.first_position)
    one, other = (
        model.extend(tokens, at, model.initial_cache(len(x)), label)[0]
        for tokens in (x[:, :1], (x[:, :1] + 1) % model.data.levels)
    )
    assert torch.equal(one, other) == (model.first_position == 0)


@torch.no_grad()
def test_every_input_matters() -> None:
    """Label, upper neighbour and start change the distribution."""
    model, x, label = make("above")
    logits = model.logits(x, label)
    assert ((model.logits(x, 1 - label) - logits).abs().amax(-1) > 1e-3).all()
    x[:, 1] = (x[:, 1] + 1) % 3
    change = (model.logits(x, label) - logits).abs().amax((0, 2))
    assert (change[:2] == 0).all()
    assert (change[2:] > 1e-3).all()
    model.inputs.start.weight.neg_()
    assert (model.logits(x, label)[:, 0] - logits[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0}, "width: expected a number >= 1"),
        ({"layers": -1}, "layers: expected a number >= 1"),
        ({"heads": 4, "kv_heads": 3}, "heads: expected a multiple of kv_heads = 3, got 4"),
        ({"width": 10, "heads": 4}, "width: expected a multiple of heads = 4"),
        (
            {"heads": 4, "head_width": 3, "positions": "rotary"},
            "rotary_width: expected an even number",
        ),
        ({"dropout": 1.0}, "dropout: expected a number < 1, got 1.0"),
        ({"attention_dropout": -0.1}, "attention_dropout: expected a number >= 0"),
        ({"smoothness": float("inf")}, "smoothness: expected a finite number, got inf"),
        ({"rotary_width": 2}, "expected positions 'rotary', got 'learned'"),
        (
            {"rotary_width": 18, "positions": "rotary"},
            "an even number in 2 .. 16, the width of a head, got 18",
        ),
        ({"rotary_scaling": (2.0, 4.0), "positions": "rotary"}, "rotary_scaling: expected"),
        ({"rotary_scaling": (8.0, 4.0, 1.0, 32.0), "positions": "rotary"}, "low < high"),
        ({"window": 0}, "window: expected a number >= 1"),
        ({"windowed": (0,)}, "expected None without a window"),
        ({"window": 3, "windowed": (0, 4)}, r"expected layers 0 \.\. 3, got \(0, 4\)"),
    ],
)
def test_config_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        TransformerConfig(**values)


def test_model_refused() -> None:
    with pytest.raises(InvalidInput, match=r"above: expected events \[height, width\]"):
        Transformer(TransformerConfig(**SMALL, above=True), SEQUENCES)
    with pytest.raises(InvalidInput, match="start: expected a level below 3, got 3"):
        Transformer(TransformerConfig(**SMALL, start=3), SEQUENCES)
    model = Transformer(TransformerConfig(**SMALL), IMAGES)
    with pytest.raises(InvalidInput, match="label: expected one of 2 classes, got None"):
        model.logits(torch.zeros(1, 6, dtype=torch.int64), None)
