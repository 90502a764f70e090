"""The kernels at the beginning of a step."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.embed import Tables, consume, embed
from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.overridable import Settings
from tests.triton_kernels.kernels.compare import assert_near, far

pytestmark = pytest.mark.kernels
T, V, C = 9, 5, 3


@dataclass(frozen=True)
class Case:
    """The terms of a model's input vectors."""

    start: str
    position: bool
    label: bool
    above: bool


CASES = {
    "image": Case("learned", True, True, True),
    "token": Case("token", True, False, False),
    "none": Case("none", False, False, False),
    "label": Case("learned", False, True, False),
    "above": Case("none", True, False, True),
}


def tables(case: Case, d: int, dtype: torch.dtype, device: torch.device) -> Tables:
    generator = torch.Generator().manual_seed(d)

    def drawn(rows: int) -> nn.Embedding:
        vectors = torch.randn(rows, d, generator=generator).to(device, dtype)
        return nn.Embedding.from_pretrained(vectors)

    return Tables(
        token=drawn(V),
        start=drawn(1) if case.start == "learned" else None,
        start_token=3 if case.start == "token" else None,
        position=drawn(T) if case.position else None,
        label=drawn(C) if case.label else None,
        above=drawn(V + 1) if case.above else None,
        source=torch.tensor([-1, -1, -1, 1, 2, 3, 4, 5, 6], device=device) if case.above else None,
    )


def widened(given: Tables) -> Tables:
    return Tables(
        *(copy.deepcopy(each).double() if isinstance(each, nn.Module) else each for each in given)
    )


def inputs(device: torch.device, case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Return tokens, consumed, slots and labels of rows at every slot; slot 0 has a bad token."""
    generator = torch.Generator().manual_seed(0)
    slots = torch.arange(T)[:, None]
    consumed = torch.randint(0, V, (T, T), generator=generator)
    tokens = consumed.gather(1, slots)
    if case.start != "none":
        tokens[0] = 10**9 if case.start == "learned" else 0
    label = torch.arange(T) % C if case.label else None
    return (
        tokens.to(device),
        consumed.to(device),
        slots.to(device),
        None if label is None else label.to(device),
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("d", [1, 24, 130])
@pytest.mark.parametrize("name", CASES)
def test_exact(device: torch.device, name: str, d: int, dtype: torch.dtype) -> None:
    from ancestral.triton_kernels.embed.kernel import launch

    case, given = CASES[name], tables(CASES[name], d, dtype, device)
    tokens, consumed, slots, label = inputs(device, case)
    got = launch(tokens, consumed, slots, label, given)
    sound = tokens.clamp_max(V - 1)
    assert_near(got, embed(sound, consumed, slots, label, widened(given)), name)
    if dtype == torch.float32 and d > 1:
        wide = widened(given)
        assert far(got, embed(sound.roll(1, 0), consumed, slots, label, wide)), "another token"
        if case.position or case.above:
            assert far(got, embed(sound, consumed, (slots - 1).clamp_min(0), label, wide)), "slot"


def test_token_that_is_a_column(device: torch.device) -> None:
    """The only token of a prefix of two is a column of the prefix, which is not contiguous."""
    from ancestral.triton_kernels.embed.kernel import overrides

    given = tables(CASES["none"], 24, torch.float32, device)
    tokens, _, slots, _ = inputs(device, CASES["none"])
    column = torch.stack([tokens, tokens], dim=1)[:, 0]
    assert not column.is_contiguous()
    got = overrides(Settings(None, batch_invariant=False))[embed](
        column, column, slots, None, given
    )
    assert_near(got, embed(tokens, tokens, slots, None, widened(given)), "column")


def test_consume(device: torch.device) -> None:
    from ancestral.triton_kernels.embed.kernel import launch_consume

    values = torch.arange(4 * T, device=device).reshape(4, T)
    position = torch.tensor([0, 1, T - 1, T], device=device)
    got = launch_consume(values, position)
    for one, expected in zip(got, consume(values, position, None), strict=True):
        assert torch.equal(one, expected)


def test_outside_the_tables(device: torch.device) -> None:
    """An index outside a table gives NaN in its own row, and is not read out of bounds."""
    from ancestral.triton_kernels.embed.kernel import launch

    case = CASES["image"]
    given = tables(case, 8, torch.float32, device)
    tokens, consumed, slots, label = inputs(device, case)
    tokens[1], tokens[2], slots[3], slots[4], label[5], label[6] = V, -1, T, -1, C, -1
    consumed[7, 5] = V + 7
    got = launch(tokens, consumed, slots, label, given)
    assert got.isnan().all(dim=-1)[:, 0].tolist() == [False, *[True] * 7, False]


def test_refused(device: torch.device) -> None:
    from ancestral.triton_kernels.embed.kernel import launch

    case = CASES["image"]
    given = tables(case, 8, torch.float32, device)
    tokens, consumed, slots, label = inputs(device, case)
    for change, message in (
        ((tokens[:, 0], consumed, slots, label, given), "tokens: expected"),
        ((tokens, consumed, slots.int(), label, given), "slots: expected"),
        ((tokens, consumed, slots, None, given), "label, source"),
        ((tokens, consumed, slots, label, given._replace(source=None)), "label, source"),
        ((tokens, consumed, slots, label, given._replace(above=given.token)), "above: expected"),
        ((tokens, consumed, slots, label[:-1], given), "label: expected"),
        ((tokens, consumed, slots, label, given._replace(start=given.token)), "start: expected"),
    ):
        with pytest.raises(InvalidInput, match=message):
            launch(*change)
    assert launch(tokens[:0], consumed[:0], slots[:0], label[:0], given).shape == (0, 1, 8)
