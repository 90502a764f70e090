"""A new operator is a folder and one name in the list; no other code knows it."""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ancestral.triton_kernels
from ancestral.export.operators import FORMS, Form, translations
from ancestral.triton_kernels import operators
from ancestral.triton_kernels.overridable import Kernels
from tests.triton_kernels.single import Call, exported, run

NAME = "toy_blend"
PACKAGE = f"ancestral.triton_kernels.{NAME}"
FOLDER = {
    "__init__.py": '''
"""Blend two tensors: x + weight (y - x)."""

import torch
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def toy_blend_reference(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """The operator in plain PyTorch."""
    return x + weight * (y - x)


toy_blend = operator(
    "toy_blend",
    toy_blend_reference,
    "(Tensor x, Tensor y, float weight) -> Tensor",
    lambda x, *_: torch.empty_like(x),
)
''',
    "kernel.py": '''
"""The blend in one kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ancestral.triton_kernels.launch import expect, runs_kernels
from ancestral.triton_kernels.overridable import Settings, Table
from ancestral.triton_kernels.toy_blend import toy_blend
from ancestral.triton_kernels.launch import Variant


@triton.jit
def _kernel(x, y, out, weight, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    a = tl.load(x + at, mask=at < n)
    b = tl.load(y + at, mask=at < n)
    tl.store(out + at, a + weight * (b - a), mask=at < n)


def launch(x: Tensor, y: Tensor, weight: float) -> Tensor:
    """Compute the operator as its reference does."""
    runs_kernels(x.device)
    expect("x", x, tuple(x.shape), torch.float32, x.device)
    expect("y", y, tuple(x.shape), torch.float32, x.device)
    out = torch.empty_like(x)
    _kernel[(triton.cdiv(x.numel(), 32),)](x, y, out, weight, x.numel(), BLOCK=32)
    return out


def overrides(_: Settings) -> Table:
    """The operator."""
    return {toy_blend._opoverload: launch}


def variants() -> list[Variant]:
    """Return a variant for blocks of 32 numbers."""
    types = dict.fromkeys(("x", "y", "out"), "*fp32") | {"weight": "fp32", "n": "i32"}
    return [Variant("toy_blend", _kernel, types, {"BLOCK": 32}, warps=1)]
''',
    "onnx.py": '''
"""The blend in ONNX, with different nodes in each form."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, number
from ancestral.triton_kernels.toy_blend import toy_blend


def translations(form: Form) -> Translations:
    """The operator in a form."""
    forms = {"portable": _portable, "onnxruntime": _summed, "tensorrt": _by_weights}
    return {toy_blend._opoverload: forms[form]}


def _portable(x: Value, y: Value, weight: float) -> Value:
    return op.Add(x, op.Mul(number(weight), op.Sub(y, x)))


def _summed(x: Value, y: Value, weight: float) -> Value:
    return op.Sum(x, op.Mul(number(weight), op.Sub(y, x)))


def _by_weights(x: Value, y: Value, weight: float) -> Value:
    return op.Add(op.Mul(number(1.0 - weight), x), op.Mul(number(weight), y))
''',
}


@pytest.fixture(scope="module")
def blend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield the package of a new operator: a folder on the path, and a name in the list."""
    place = tmp_path_factory.mktemp("operators")
    for name, text in FOLDER.items():
        (place / NAME).mkdir(exist_ok=True)
        (place / NAME / name).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ancestral.triton_kernels, "__path__", [*ancestral.triton_kernels.__path__, str(place)]
        )
        patch.setattr(operators, "OPERATORS", (*operators.OPERATORS, NAME))  # the one line
        package = import_module(PACKAGE)
        yield package
        package.toy_blend._lib._destroy()
        for module in [each for each in sys.modules if each.startswith(PACKAGE)]:
            del sys.modules[module]
        del ancestral.triton_kernels.__dict__[NAME]
    assert NAME not in operators.modules("onnx")


def inputs() -> tuple[Tensor, Tensor]:
    return torch.linspace(-1, 1, 40).reshape(8, 5), torch.linspace(2, 5, 40).reshape(8, 5)


def test_reference(blend: Any) -> None:
    x, y = inputs()
    expected = 0.75 * x.double() + 0.25 * y.double()
    assert (blend.toy_blend(x, y, 0.25) - expected).abs().max() < 1e-6
    torch.library.opcheck(
        blend.toy_blend, (x, y, 0.25), test_utils=("test_schema", "test_faketensor")
    )


@pytest.mark.parametrize("form", FORMS)
def test_exported_and_run(blend: Any, form: Form) -> None:
    """ONNX Runtime runs the nodes of each form."""
    x, y = inputs()
    assert blend.toy_blend._opoverload in translations(form)
    b = torch.export.Dim("b", min=1)
    session = exported(Call(blend.toy_blend, 0.25), (x, y), form, (({0: b}, {0: b}),))
    some = (x[:3], y[:3])
    expected = blend.toy_blend(*some, 0.25).numpy()
    assert np.abs(run(session, some)[0] - expected).max() < 1e-6


def test_in_the_tables(blend: Any) -> None:
    """Its launcher runs within a scope, and the compile tool lists its kernel."""
    pytest.importorskip("triton")
    kernel = import_module(f"{PACKAGE}.kernel")
    assert operators.table()[blend.toy_blend._opoverload] is kernel.launch
    assert operators.modules("kernel")[NAME] == kernel.__name__
    assert [each.name for each in kernel.variants()] == [NAME]
    with Kernels({**operators.table(), blend.toy_blend._opoverload: lambda *_: "launched"}):
        assert blend.toy_blend(*inputs(), 0.25) == "launched"


@pytest.mark.kernels
def test_kernel(blend: Any) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, y = (each.to(device) for each in inputs())
    with Kernels(operators.table()):
        got = blend.toy_blend(x, y, 0.25)
    assert (got - blend.toy_blend(x, y, 0.25)).abs().max() < 1e-6
