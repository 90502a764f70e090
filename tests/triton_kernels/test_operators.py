"""Our operators: each form equals the reference; what lies beyond a position does not matter."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from ancestral.export.operators import FORMS, Form, translations
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.mass_threshold import LOWEST, mass_threshold

OPERATORS = (append, cached_attention, mass_threshold)
T, D = 7, 8


class Call(torch.nn.Module):
    """An operator as a module of its own, for the exporter."""

    def __init__(self, operator: Callable[..., Any], *settings: object) -> None:
        super().__init__()
        self.operator, self.settings = operator, settings

    def forward(self, *tensors: Tensor) -> Any:
        return self.operator(*tensors, *self.settings)


def exported(
    module: torch.nn.Module, inputs: tuple[Tensor, ...], form: Form, dynamic: tuple
) -> ort.InferenceSession:
    """One operator as an ONNX graph in a form, in ONNX Runtime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(
            module,
            inputs,
            dynamo=True,
            opset_version=24,
            custom_translation_table=translations(form),
            dynamic_shapes=(dynamic,),
            input_names=[f"in_{i}" for i in range(len(inputs))],
            verbose=False,
        )
    data = onnx_ir.to_proto(program.model).SerializeToString()
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    return session.run(None, {f"in_{i}": x.numpy() for i, x in enumerate(inputs)})


def attention_inputs(
    position: list[int], s: int, heads: int, group: int, beyond: float = 0.0
) -> tuple[Tensor, ...]:
    """q, k, v, caches filled up to each row's position and `beyond` after it, positions."""
    generator, b = torch.manual_seed(0), len(position)
    q = 2 * torch.randn(b, s, heads * D, generator=generator)
    k, v = (torch.randn(b, s, group * D, generator=generator) for _ in range(2))
    caches = []
    for _ in range(2):
        cache = torch.randn(b, group, T, D, generator=generator)
        for row, at in enumerate(position):
            cache[row, :, at:] = beyond
        caches.append(cache)
    return q, k, v, *caches, torch.tensor(position)


CASES = {
    "one": ([2], 1, 4, 4),
    "ragged": ([0, 3, 6], 1, 4, 4),
    "ragged grouped": ([5, 0, 3], 1, 4, 2),
    "block": ([0, 0], 3, 4, 4),
    "block grouped": ([0, 0], T, 4, 2),
}


@pytest.fixture(scope="module")
def attention() -> Callable[[Form, int, int], ort.InferenceSession]:
    """Exported once for each form and number of heads, for any batch and block."""
    made: dict[tuple[Form, int, int], ort.InferenceSession] = {}

    def get(form: Form, heads: int, group: int) -> ort.InferenceSession:
        if (form, heads, group) not in made:
            b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1, max=T)
            made[form, heads, group] = exported(
                Call(cached_attention),
                attention_inputs([0, 0], 3, heads, group),
                form,
                (*[{0: b, 1: s}] * 3, {0: b}, {0: b}, {0: b}),
            )
        return made[form, heads, group]

    return get


def by_hand(q: Tensor, k: Tensor, v: Tensor, kc: Tensor, vc: Tensor, at: Tensor) -> Tensor:
    """The formula in float64, a query and a head at a time."""
    y = torch.zeros(q.shape, dtype=torch.float64)
    per = q.shape[2] // D // kc.shape[1]
    for r, i in np.ndindex(q.shape[:2]):
        n = int(at[r]) + i
        for h in range(q.shape[2] // D):
            g = slice(h // per * D, h // per * D + D)
            old = slice(0, int(at[r]))
            keys = torch.cat([kc[r, h // per, old], k[r, : i + 1, g]]).double()
            values = torch.cat([vc[r, h // per, old], v[r, : i + 1, g]]).double()
            assert len(keys) == n + 1
            weight = (keys @ q[r, i, h * D : h * D + D].double() / D**0.5).softmax(0)
            y[r, i, h * D : h * D + D] = weight @ values
    return y


# A softmax over at most 7 terms of size 1 in float32: a few units in the last place, 1e-7 each.
ROUNDING = 2e-6


@pytest.mark.parametrize("case", CASES)
def test_attention_reference(case: str) -> None:
    inputs = attention_inputs(*CASES[case])
    y, k_cache, _ = cached_attention(*inputs)
    assert (y - by_hand(*inputs)).abs().max() < ROUNDING
    assert torch.equal(k_cache[0, :, : CASES[case][0][0]], inputs[3][0, :, : CASES[case][0][0]])
    worse = by_hand(1.001 * inputs[0], *inputs[1:])
    assert (y - worse).abs().max() > 10 * ROUNDING, "a wrong scale would not be seen"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", ["portable", "onnxruntime"])
def test_attention(attention: Callable, form: Form, case: str) -> None:
    position, s, heads, group = CASES[case]
    inputs = attention_inputs(position, s, heads, group)
    got = run(attention(form, heads, group), inputs)
    for array, expected in zip(got, cached_attention(*inputs), strict=True):
        assert np.abs(array - expected.numpy()).max() < ROUNDING


@pytest.mark.parametrize(
    ("form", "beyond"),
    [("torch", 1e4), ("portable", 1e4), ("portable", -1e4), ("onnxruntime", torch.nan)],
)
def test_unused_slots(attention: Callable, form: str, beyond: float) -> None:
    """What is beyond a row's position is not read: finite in the portable form, or anything."""
    for case in ("ragged", "ragged grouped", "block"):
        position, s, heads, group = CASES[case]
        clean, dirty = (attention_inputs(position, s, heads, group, value) for value in (0, beyond))
        if form == "torch":
            outputs = [cached_attention(*inputs)[0].numpy() for inputs in (clean, dirty)]
        else:
            session = attention(form, heads, group)
            outputs = [run(session, inputs)[0] for inputs in (clean, dirty)]
        assert np.array_equal(*outputs), case


def test_append() -> None:
    buffer, position = torch.arange(15.0).reshape(3, 5), torch.tensor([0, 3, 1])
    block = torch.tensor([[-1.0, -2], [-3, -4], [-5, -6]])
    expected = torch.tensor([[-1.0, -2, 2, 3, 4], [5, 6, 7, -3, -4], [10, -5, -6, 13, 14]])
    assert torch.equal(append(buffer, position, block), expected)
    assert torch.equal(buffer, torch.arange(15.0).reshape(3, 5)), "the argument is kept"
    b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1, max=5)
    for form in ("portable", "onnxruntime"):
        session = exported(
            Call(append), (buffer, position, block), form, ({0: b}, {0: b}, {0: b, 1: s})
        )
        assert np.array_equal(run(session, (buffer, position, block))[0], expected.numpy())
        one = (buffer[:1], position[1:2], block[:1, :1])
        assert np.array_equal(run(session, one)[0], append(*one).numpy())


@pytest.mark.parametrize("inclusive", [True, False])
def test_mass_threshold(inclusive: bool) -> None:
    """The largest threshold with that mass above it, by looking at every value."""
    generator = torch.manual_seed(1)
    z = -10 * torch.rand(4, 1, 40, generator=generator)
    z[..., 20:] = z[..., :20]
    w = z.exp()
    mass = torch.rand(4, 1, 1, generator=generator) * w.sum(-1, keepdim=True)
    got = mass_threshold(z, w, mass, inclusive)
    for row in range(4):
        values, weights = z[row, 0], w[row, 0].double()
        held = [
            float(t)
            for t in values
            if weights[values >= t].sum() >= mass[row].double()  # just below t, if exclusive
        ]
        assert abs(float(got[row]) - max(held)) < 1e-5, "2^-30 of 208, and the rounding of z"
    b, v = torch.export.Dim("b", min=1), torch.export.Dim("v", min=2)
    dynamic = ({0: b, 2: v}, {0: b, 2: v}, {0: b})
    session = exported(Call(mass_threshold, inclusive), (z, w, mass), "portable", dynamic)
    assert np.abs(run(session, (z, w, mass))[0] - got.numpy()).max() < 1e-5


def test_mass_threshold_of_everything() -> None:
    z = torch.linspace(LOWEST, 0, 9)[None, None]
    assert mass_threshold(z, torch.ones(1), torch.tensor([[[9.0]]]), True) == LOWEST


@pytest.mark.parametrize(
    ("operator", "inputs"),
    [
        (append, (torch.zeros(2, 5), torch.tensor([1, 3]), torch.ones(2, 2))),
        (append, (torch.zeros(2, 5).long(), torch.tensor([1, 3]), torch.ones(2, 1).long())),
        (cached_attention, attention_inputs([0, 3], 1, 4, 2)),
        (mass_threshold, (-torch.rand(2, 1, 5), torch.ones(1), torch.ones(2, 1, 1), True)),
    ],
    ids=["append", "append int64", "cached_attention", "mass_threshold"],
)
def test_registration(operator: Any, inputs: tuple[object, ...]) -> None:
    """Schema, fake shapes and tracing, by PyTorch's own check."""
    torch.library.opcheck(operator, inputs, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("form", FORMS)
def test_every_operator_is_translated(form: Form) -> None:
    ours = {operator._opoverload for operator in OPERATORS}
    assert ours <= set(translations(form))
