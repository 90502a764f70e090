"""Arguments that masked attention refuses, and those that it leaves to PyTorch's attention."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.masked_attention import masked_attention_reference
from ancestral.triton_kernels.overridable import Kernels
from tests.triton_kernels.kernels.compare import assert_near

pytestmark = pytest.mark.kernels


def drawn(device: torch.device, h: int = 4, g: int = 2, s: int = 5, d: int = 8) -> dict[str, Any]:
    """Return all arguments of a launch: a block of s queries and 9 slots."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, n, 9, d, generator=generator).to(device) for n in (h, g, g))
    start = torch.tensor([0, 4], device=device)
    return {"q": q[:, :, :s], "k": k, "v": v, "start": start, "window": None, "scale": None}


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "float64": (lambda a: {"q": a["q"].double()}, "q: expected .* of float32 or bfloat16"),
    "mixed types": (lambda a: {"k": a["k"].bfloat16()}, "k: expected .* of float32 on"),
    "values of another type": (lambda a: {"v": a["v"].half()}, "v: expected .* of float32 on"),
    "three axes": (lambda a: {"q": a["q"][0]}, "q: expected 4 axes"),
    "keys of three axes": (lambda a: {"k": a["k"][0]}, "k: expected 4 axes"),
    "rows": (lambda a: {"k": a["k"][:1]}, r"k: expected \(2, 2, 9, 8\)"),
    "head size": (lambda a: {"k": a["k"][..., :4]}, r"k: expected \(2, 2, 9, 8\)"),
    "values' slots": (lambda a: {"v": a["v"][:, :, :8]}, r"v: expected \(2, 2, 9, 8\)"),
    "heads": (lambda a: {"q": a["q"][:, :3]}, "k: expected a number of heads that divides 3"),
    "no kv heads": (lambda a: {"k": a["k"][:, :0]}, "k: expected a number of heads"),
    "no head size": (lambda a: {"q": a["q"][..., :0]}, "q: expected a head size of 1 .. 256"),
    "head size 257": (lambda a: {"q": torch.zeros(2, 4, 5, 257)}, "q: expected a head size"),
    "slots": (lambda a: {n: a[n][:, :, :4] for n in "kv"}, "k: expected 5 .one per query. .."),
    "last axis": (lambda a: {"q": a["q"].mT.contiguous().mT}, "q: expected a contiguous last"),
    "last axis of v": (lambda a: {"v": a["v"].mT.contiguous().mT}, "v: expected a contiguous last"),
    "device": (lambda a: {"k": a["k"].to("meta")}, "k: expected .* on"),
    "int32 start": (lambda a: {"start": a["start"].int()}, "start: expected .* of int64"),
    "start of another batch": (lambda a: {"start": a["start"][:1]}, r"start: expected \(2,\)"),
    "no window": (lambda a: {"window": 0}, "window: expected at least 1"),
    "window below 0": (lambda a: {"window": -3}, "window: expected at least 1"),
    "scale 0": (lambda a: {"scale": 0.0}, "scale: expected a number"),
    "scale NaN": (lambda a: {"scale": math.nan}, "scale: expected a number"),
    "scale infinite": (lambda a: {"scale": math.inf}, "scale: expected a number"),
    "scale too small": (lambda a: {"scale": 1e-40}, "scale: expected a number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(device: torch.device, name: str) -> None:
    from ancestral.triton_kernels.masked_attention.kernel import launch

    change, message = REFUSED[name]
    inputs = drawn(device)
    with pytest.raises(InvalidInput, match=message):
        launch(**(inputs | change(inputs)))


def test_configuration() -> None:
    """Blocks are powers of 2 and at least 16, as Triton requires, for all sizes."""
    from ancestral.triton_kernels.launch import FLOATS
    from ancestral.triton_kernels.masked_attention.kernel import configuration

    for s in (1, 64, 65, 8192):
        for d in (1, 24, 80, 128, 129, 256):
            for dtype in FLOATS:
                for block in configuration(s, d, dtype)[:2]:
                    assert block >= 16
                    assert block & (block - 1) == 0


class Called(Exception):
    """PyTorch's attention was called."""


def in_its_place(
    monkeypatch: pytest.MonkeyPatch, inputs: tuple[Tensor, ...], **settings: Any
) -> Tensor | None:
    """Return the adapter's result, or None if it called PyTorch's attention."""
    from ancestral.triton_kernels.masked_attention.kernel import scaled_dot_product

    def called(*args: object, **kwargs: object) -> Tensor:
        raise Called

    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.functional, "scaled_dot_product_attention", called)
        try:
            return scaled_dot_product(*inputs, **settings)
        except Called:
            return None


@pytest.mark.parametrize(
    "settings",
    [{}, {"scale": 0.2}, {"attn_mask": None, "dropout_p": 0.0}, {"enable_gqa": True}],
    ids=["plain", "scale", "all named", "grouped"],
)
def test_in_pytorchs_place(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    g = 2 if "enable_gqa" in settings else 4
    a = drawn(device, g=g, s=9)
    q, k, v = a["q"], a["k"], a["v"]
    y = in_its_place(monkeypatch, (q, k, v), is_causal=True, **settings)
    assert y is not None
    wide = (x.double() for x in (q, k, v))
    exact = masked_attention_reference(*wide, None, None, settings.get("scale"))
    assert_near(y, exact, "adapter")
    theirs = scaled_dot_product_attention(
        *(x.double() for x in (q, k, v)), is_causal=True, **settings
    )
    assert_near(y, theirs, "PyTorch's own")


def test_as_a_mode(device: torch.device) -> None:
    """A model's call is replaced in the mode that puts our kernels in place of PyTorch's."""
    from ancestral.triton_kernels.masked_attention.kernel import scaled_dot_product

    a = drawn(device, s=9)
    q, k, v = a["q"], a["k"], a["v"]
    seen = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(kwargs)
        return scaled_dot_product(*args, **kwargs)

    settings = {"dropout_p": 0.0, "is_causal": True, "enable_gqa": True}
    expected = scaled_dot_product_attention(
        q.double(), k.double(), v.double(), is_causal=True, enable_gqa=True
    )
    with Kernels({scaled_dot_product_attention: counted}):
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, **settings)
        other = torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert_near(y, expected, "mode")
    assert_near(other, scaled_dot_product_attention(*[q.double()] * 3), "not causal")
    assert len(seen) == 2


THEIRS: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]], dict[str, Any]]] = {
    "not causal": (lambda q, k, v: (q, k, v), {"is_causal": False}),
    "mask": (lambda q, k, v: (q, k, v), {"attn_mask": torch.ones(9, 9), "is_causal": False}),
    "dropout": (lambda q, k, v: (q, k, v), {"dropout_p": 0.1}),
    "fewer queries": (lambda q, k, v: (q[:, :, :5], k, v), {}),
    "three axes": (lambda q, k, v: (q[0], k[0], v[0]), {}),
    "float64": (lambda q, k, v: (q.double(), k.double(), v.double()), {}),
    "values of another size": (lambda q, k, v: (q, k, v[..., :4]), {}),
    "head size": (lambda q, k, v: tuple(x.repeat(1, 1, 1, 33) for x in (q, k, v)), {}),
    "heads without grouping": (lambda q, k, v: (q, k[:, :2], v[:, :2]), {"enable_gqa": False}),
    "heads that do not group": (lambda q, k, v: (q, k[:, :3], v[:, :3]), {"enable_gqa": True}),
    "one row for all": (lambda q, k, v: (q, k[:1], v[:1]), {}),
    "last axis": (lambda q, k, v: (q.mT.contiguous().mT, k, v), {}),
    "gradient": (lambda q, k, v: (q.requires_grad_(), k, v), {}),
    "negative scale": (lambda q, k, v: (q, k, v), {"scale": -1.0}),
}


@pytest.mark.parametrize("name", THEIRS)
def test_left_to_pytorch(device: torch.device, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, settings = THEIRS[name]
    a = drawn(device, g=4, s=9)
    inputs = change(a["q"], a["k"], a["v"])
    assert in_its_place(monkeypatch, inputs, **({"is_causal": True} | settings)) is None


def test_without_gradient(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    a = drawn(device, g=4, s=9)
    with torch.no_grad():
        inputs = (a["q"].requires_grad_(), a["k"], a["v"])
        assert in_its_place(monkeypatch, inputs, is_causal=True) is not None
