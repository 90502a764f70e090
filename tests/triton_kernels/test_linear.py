"""The linear map with its activation: the function that models call, and the operator."""

import math

import pytest
import torch
from torch import Tensor

from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.models.layers import LastProjection, Linear
from ancestral.triton_kernels.linear import ACTIVATIONS, Activation, linear
from ancestral.triton_kernels.overridable import Kernels
from tests.toys import transformer
from tests.triton_kernels.single import ROUNDING

FORMULAS = {
    "none": lambda y: y,
    "gelu": lambda y: y * 0.5 * (1 + torch.erf(y / math.sqrt(2))),
    "gelu_tanh": lambda y: (
        y * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
    ),
    "gelu_quick": lambda y: y / (1 + torch.exp(-1.702 * y)),
    "silu": lambda y: y / (1 + torch.exp(-y)),
    "relu": lambda y: y * (y > 0),
    "tanh": lambda y: 1 - 2 / (1 + torch.exp(2 * y)),
    "swiglu": lambda y: y[..., :4] / (1 + torch.exp(-y[..., :4])) * y[..., 4:],
}


def drawn(transposed: bool, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return x [2, 3, 5], a weight of 5 x 8, and a bias."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, 3, 5), (8, 5) if transposed else (5, 8), (8,))
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
def test_exact(activation: Activation, transposed: bool) -> None:
    """Activations equal their formulas in float64."""
    x, weight, bias = drawn(transposed)
    y = torch.einsum("bsi,oi->bso" if transposed else "bsi,io->bso", x, weight)
    for added in (None, bias):
        exact = FORMULAS[activation](y if added is None else y + added)
        given = [None if each is None else each.float() for each in (x, weight, added)]
        got = linear(*given, activation, transposed)
        assert got.dtype == torch.float32
        assert got.shape == exact.shape
        assert (got - exact).abs().max() < 5 * ROUNDING


@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
def test_axes(transposed: bool) -> None:
    x, weight, bias = drawn(transposed)
    expected = linear(x, weight, bias, "gelu", transposed)
    rows = linear(x.flatten(0, 1), weight, bias, "gelu", transposed)
    torch.testing.assert_close(rows.unflatten(0, (2, 3)), expected)
    torch.testing.assert_close(linear(x[1, 2], weight, bias, "gelu", transposed), expected[1, 2])
    four = linear(x[None], weight, bias, "gelu", transposed)
    torch.testing.assert_close(four[0], expected)


@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
def test_wide(transposed: bool) -> None:
    """`wide` gives at least float32: it changes only results in 16 bits."""
    for dtype in (torch.bfloat16, torch.float16):
        given = drawn(transposed, dtype)
        narrow = linear(*given, "none", transposed)
        wide = linear(*given, "none", transposed, True)
        assert narrow.dtype == dtype
        exact = linear(*(each.float() for each in given), "none", transposed)
        assert torch.equal(wide, exact)
        assert not torch.equal(narrow.float(), exact)
    for dtype in (torch.float32, torch.float64):
        given = drawn(transposed, dtype)
        wide = linear(*given, "none", transposed, True)
        assert torch.equal(wide, linear(*given, "none", transposed))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
def test_derivatives(activation: Activation, transposed: bool) -> None:
    x, weight, bias = (each.requires_grad_() for each in drawn(transposed))
    settings = (activation, transposed)
    assert torch.autograd.gradcheck(lambda *given: linear(*given, *settings), (x, weight, bias))
    assert torch.autograd.gradcheck(lambda *given: linear(*given, None, *settings), (x, weight))


class Map(torch.nn.Module):
    def __init__(self, *settings: object) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear(x, weight, bias, *self.settings)


def test_traced_as_plain_operations() -> None:
    """An export sees only the plain operations that the function uses."""

    def operations(*settings: object) -> list[str]:
        given = tuple(drawn(bool(settings[1]), torch.float32))
        traced = torch.export.export(Map(*settings), given)
        calls = (node for node in traced.graph.nodes if node.op == "call_function")
        return [str(node.target).split(".")[1] for node in calls]

    assert operations("none", False) == ["matmul", "add"]
    assert operations("none", False, True) == ["matmul", "add"], "wide"
    assert operations("gelu", False) == ["matmul", "add", "gelu"]
    assert "linear" in operations("none", True)


@pytest.mark.parametrize("toy", ["tiny", "llama", "startless"])
def test_models_call_it(toy: str) -> None:
    """Every product with a weight of a Transformer, with its activation, calls `linear`."""
    model, calls = transformer(toy), []

    def counted(*args: object, **settings: object) -> Tensor:
        calls.append((args, settings))
        return linear(*args, **settings)

    x = torch.zeros(2, model.data.length).long()
    label = None if model.data.num_classes is None else torch.zeros(2).long()
    expected = model.predict(x, label)
    with Kernels({linear: counted}):
        assert torch.equal(model.predict(x, label), expected)
    activations = [args[3] for args, _ in calls if len(args) > 3 and args[3] != "none"]
    assert len(calls) == 4 * model.config.layers + 1
    assert activations == [model.config.activation] * model.config.layers
    assert calls[-1][1]["wide"]


def test_modules() -> None:
    """The head of a 16-bit model gives float32; a map keeps its dtype."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6).bfloat16()
    head, affine = LastProjection(6, Categorical(5)).bfloat16(), Linear(6, 5, bias=True).bfloat16()
    assert head(x).dtype == torch.float32
    expected = x.float() @ head.weight.float() + head.bias
    assert torch.equal(head(x), expected)
    assert affine(x, "silu").dtype == torch.bfloat16
