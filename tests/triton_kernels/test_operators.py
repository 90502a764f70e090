"""Our operators are registered, translated in each form, and equal to their references."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.export.operators import FORMS, Form, translations
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.dequantise import dequantise
from ancestral.triton_kernels.filter_threshold import filter_threshold
from ancestral.triton_kernels.first_reached import first_reached
from ancestral.triton_kernels.occurrences import occurrences
from ancestral.triton_kernels.occurrences.onnx import LOW
from ancestral.triton_kernels.quantised_linear import quantised_linear
from ancestral.triton_kernels.quantised_rows import quantised_rows
from ancestral.triton_kernels.residual_norm import residual_norm
from ancestral.triton_kernels.top_ids import top_ids
from tests.triton_kernels.single import ROUNDING, Call, exported, run
from tests.triton_kernels.test_cached_attention import attention_inputs


def test_append() -> None:
    buffer, position = torch.arange(15.0).reshape(3, 5), torch.tensor([0, 3, 1])
    block = torch.tensor([[-1.0, -2], [-3, -4], [-5, -6]])
    expected = torch.tensor([[-1.0, -2, 2, 3, 4], [5, 6, 7, -3, -4], [10, -5, -6, 13, 14]])
    assert torch.equal(append(buffer, position, block), expected)
    assert torch.equal(buffer, torch.arange(15.0).reshape(3, 5)), "the argument is unchanged"
    b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1, max=5)
    for form in ("portable", "onnxruntime"):
        session = exported(
            Call(append), (buffer, position, block), form, (({0: b}, {0: b}, {0: b, 1: s}),)
        )
        assert np.array_equal(run(session, (buffer, position, block))[0], expected.numpy())
        one = (buffer[:1], position[1:2], block[:1, :1])
        assert np.array_equal(run(session, one)[0], append(*one).numpy())


@pytest.mark.parametrize("form", FORMS)
def test_append_of_several_values_per_slot(form: Form) -> None:
    buffer, position = torch.arange(30.0).reshape(2, 5, 3), torch.tensor([3, 0])
    block = -torch.arange(12.0).reshape(2, 2, 3)
    expected = buffer.clone()
    expected[0, 3:5], expected[1, :2] = block
    assert torch.equal(append(buffer, position, block), expected)
    b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1, max=5)
    dynamic = (({0: b}, {0: b}, {0: b, 1: s}),)
    session = exported(Call(append), (buffer, position, block), form, dynamic)
    assert np.array_equal(run(session, (buffer, position, block))[0], expected.numpy())


@pytest.mark.parametrize("levels", [7, LOW + 5, 3 * LOW])
@pytest.mark.parametrize("form", FORMS)
def test_occurrences(form: Form, levels: int) -> None:
    """Counts of each form are exact, also where a value has two codes."""
    generator = torch.manual_seed(1)
    values = torch.randint(0, levels, (3, 40), generator=generator)
    values[:, ::4] = levels - 1
    values[0, 1::4] = min(levels, LOW) - 1
    weights = torch.randint(0, 2, (3, 2, 40), generator=generator).float()
    expected = torch.stack(
        [
            torch.stack([torch.bincount(x, w.double(), levels) for w in rows])
            for x, rows in zip(values, weights, strict=True)
        ]
    ).float()
    assert torch.equal(occurrences(values, weights, levels), expected)
    b, n = torch.export.Dim("b", min=1), torch.export.Dim("n", min=1)
    dynamic = (({0: b}, {0: b, 1: n}),)
    session = exported(Call(occurrences, levels), (values, weights), form, dynamic)
    assert np.array_equal(run(session, (values, weights))[0], expected.numpy())
    one = (values[1:2], weights[1:2, :1])
    assert np.array_equal(run(session, one)[0], expected[1:2, :1].numpy())


def norm_inputs(rms: bool) -> tuple[Tensor, ...]:
    """Return x, y, weight, and a bias except for RMS; one row is so small that epsilon counts."""
    generator = torch.manual_seed(3)
    x, y = (torch.randn(2, 3, 12, generator=generator) for _ in range(2))
    x[0, 0], y[0, 0] = 1e-3 * x[0, 0], 1e-3 * y[0, 0]  # where epsilon counts
    weight, bias = (torch.randn(12, generator=generator) for _ in range(2))
    return (x, y, weight) if rms else (x, y, weight, bias)


class ResidualNorm(torch.nn.Module):
    def __init__(self, rms: bool, epsilon: float) -> None:
        super().__init__()
        self.rms, self.epsilon = rms, epsilon

    def forward(self, x: Tensor, y: Tensor, weight: Tensor, *bias: Tensor) -> tuple[Tensor, ...]:
        return residual_norm(x, y, weight, bias[0] if bias else None, self.epsilon, self.rms)


@pytest.mark.parametrize("rms", [False, True], ids=["layer", "rms"])
def test_residual_norm(rms: bool) -> None:
    inputs = norm_inputs(rms)
    h, normed = ResidualNorm(rms, 1e-5)(*inputs)
    x, y, weight, *bias = (tensor.double() for tensor in inputs)
    exact = x + y
    centred = exact if rms else exact - exact.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight
    expected = scaled + (bias[0] if bias else 0)
    assert torch.equal(h, inputs[0] + inputs[1])
    assert (normed - expected).abs().max() < ROUNDING
    assert (ResidualNorm(rms, 1e-6)(*inputs)[1] - expected).abs().max() > 100 * ROUNDING
    b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1)
    shapes = ({0: b, 1: s}, {0: b, 1: s}, {}) + (() if rms else (({},),))
    for form in ("portable", "onnxruntime"):
        session = exported(ResidualNorm(rms, 1e-5), inputs, form, shapes)
        got = run(session, inputs)
        assert np.abs(got[0] - h.numpy()).max() < ROUNDING
        assert np.abs(got[1] - normed.numpy()).max() < ROUNDING


CODES = (torch.ones(6, 3, 8, dtype=torch.uint8), torch.ones(6, 3))
"""Codes of 4 bits of a matrix [6, 40] in groups of 16, and their scales."""
POINTS = torch.ones(6, 2, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (append, (torch.zeros(2, 5), torch.tensor([1, 3]), torch.ones(2, 2))),
        (append, (torch.zeros(2, 5).long(), torch.tensor([1, 3]), torch.ones(2, 1).long())),
        (cached_attention, attention_inputs([0, 3], 1, 4, 2)),
        (dequantise, (*CODES, None, 40, 4)),
        (dequantise, (*CODES, POINTS, 40, 4)),
        (
            filter_threshold,
            (*torch.rand(2, 2, 1, 5), torch.ones(2).long(), torch.ones(2), torch.zeros(2)),
        ),
        (first_reached, (torch.rand(2, 1, 5).cumsum(-1), torch.rand(2, 1, 1))),
        (occurrences, (torch.ones(2, 3).long(), torch.ones(2, 1, 3), 4)),
        (quantised_linear, (torch.ones(2, 3, 40), *CODES, None, 40, 4, False)),
        (quantised_linear, (torch.ones(2, 40), *CODES, POINTS, 40, 4, True)),
        (quantised_rows, (torch.tensor([[1, 5]]), *CODES, None, 40, 4)),
        (quantised_rows, (torch.tensor([1, 5, 0]), *CODES, POINTS, 40, 4)),
        (residual_norm, (*norm_inputs(False), 1e-5, False)),
        (residual_norm, (*norm_inputs(True), None, 1e-5, True)),
        (top_ids, (torch.rand(2, 3, 5), 2)),
    ],
    ids=[
        "append",
        "append int64",
        "cached_attention",
        "dequantise",
        "dequantise zero points",
        "filter_threshold",
        "first_reached",
        "occurrences",
        "quantised_linear",
        "quantised_linear zero points",
        "quantised_rows",
        "quantised_rows zero points",
        "layer",
        "rms",
        "top_ids",
    ],
)
def test_registration(operator: Any, inputs: tuple[object, ...]) -> None:
    """The schema and the fake shapes of each operator pass PyTorch's check."""
    torch.library.opcheck(operator, inputs, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("form", FORMS)
def test_every_operator_is_translated(form: Form) -> None:
    names = [name for name in torch._C._dispatch_get_all_op_names() if name[:11] == "ancestral::"]
    ours = {getattr(torch.ops.ancestral, name[11:]).default for name in names}
    assert {append._opoverload, cached_attention._opoverload} < ours
    assert ours <= set(translations(form))


@pytest.mark.parametrize("form", FORMS)
def test_top_ids(form: Form) -> None:
    """Equal values have the order of their ids, in ONNX Runtime as in the reference."""
    z = torch.randint(0, 4, (6, 5, 40), generator=torch.manual_seed(2)).float()
    z[0, :, 3:] = -torch.inf
    b, t = torch.export.Dim("b", min=1), torch.export.Dim("t", min=1)
    session = exported(Call(top_ids, 7), (z,), form, (({0: b, 1: t},),))
    expected = z.sort(dim=-1, descending=True, stable=True).indices[..., :7]
    assert torch.equal(top_ids(z, 7), expected)
    assert np.array_equal(run(session, (z,))[0], expected.numpy())
    one = z[1:2, :1]
    assert np.array_equal(run(session, (one,))[0], expected[1:2, :1].numpy())
