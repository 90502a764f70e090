"""Where a cumulative sum reaches a target, in each ONNX form."""

import pytest
import torch
from torch import Tensor

from ancestral.export.operators import FORMS, Form
from ancestral.triton_kernels.first_reached import first_reached, first_reached_reference
from tests.triton_kernels.single import Call, exported, run


def sums(v: int) -> tuple[Tensor, Tensor]:
    """Return sums with plateaus, and targets on, between and at the ends of them."""
    generator = torch.Generator().manual_seed(v)
    w = torch.rand(64, 1, v, generator=generator) * (
        torch.rand(64, 1, v, generator=generator) < 0.4
    )
    w[:, :, v // 2] += 0.1
    c = w.cumsum(-1)
    on = c.gather(-1, torch.randint(v, (64, 1, 1), generator=generator))
    between = torch.rand(64, 1, 1, generator=generator) * c[..., -1:]
    target = torch.where(torch.arange(64)[:, None, None] % 2 == 0, on, between)
    target[:2] = torch.tensor([1e-30, float("inf")])[:, None, None]
    return c, torch.minimum(target, c[..., -1:])


def expected(c: Tensor, target: Tensor) -> list[int]:
    """Return the first index of each row by a search through it."""
    rows = zip(c[:, 0].tolist(), target[:, 0, 0].tolist(), strict=True)
    return [next(i for i, sum_ in enumerate(row) if sum_ >= least) for row, least in rows]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("v", [1, 17, 256])
def test_forms(form: Form, v: int) -> None:
    c, target = sums(v)
    b = torch.export.Dim("b", min=1)
    session = exported(Call(first_reached), (c, target), form, (({0: b},) * 2,))
    wanted = expected(c, target)
    assert run(session, (c, target))[0][:, 0].tolist() == wanted
    assert first_reached_reference(c, target)[:, 0].tolist() == wanted


def test_planted() -> None:
    """The first sum above the target, instead of the first at least as high, is another value."""
    c, target = sums(17)
    assert (c <= target).sum(-1)[:, 0].tolist() != expected(c, target)
