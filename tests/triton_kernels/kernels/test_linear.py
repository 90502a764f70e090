"""The kernel of the linear map with its activation."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.linear import ACTIVATIONS, Activation, linear
from tests.triton_kernels.kernels.compare import EACH_FLOAT, assert_near, far

pytestmark = pytest.mark.kernels

FACTOR = 2.0
"""Factor of the tolerance, for sums over up to 769 terms and an activation."""


class Factors(NamedTuple):
    """Factors and bias, in the order of `launch`."""

    x: Tensor
    weight: Tensor
    bias: Tensor

    def exact(
        self, activation: Activation = "none", transposed: bool = False, bias: bool = True
    ) -> Tensor:
        """Return the result in float64."""
        x, weight, added = (each.double() for each in self)
        return linear(x, weight, added if bias else None, activation, transposed)


def drawn(
    rows: int,
    i: int,
    o: int,
    dtype: torch.dtype,
    device: torch.device,
    transposed: bool = False,
) -> Factors:
    """Return rows that are apart, with NaN between them and around the weight and the bias."""
    generator = torch.Generator().manual_seed(1000 * i + o)
    x = torch.full((rows + 2, i + 3), torch.nan, dtype=dtype, device=device)[1:-1, :i]
    x.copy_(torch.randn(rows, i, generator=generator))
    weight, bias = (
        torch.full((n + 128,), torch.nan, dtype=dtype, device=device)[64:-64] for n in (i * o, o)
    )
    weight.copy_(torch.randn(i * o, generator=generator) * i**-0.5)
    bias.copy_(torch.randn(o, generator=generator))
    return Factors(x, weight.view((o, i) if transposed else (i, o)), bias)


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
@pytest.mark.parametrize(
    ("rows", "i", "o"), [(1, 1, 3), (16, 24, 17), (17, 127, 1), (5, 128, 256), (33, 769, 17)]
)
def test_exact(
    device: torch.device, dtype: torch.dtype, rows: int, i: int, o: int, transposed: bool
) -> None:
    """Results are exact, stored in fp32 for 16-bit factors too: rounding could hide a fault."""
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(rows, i, o, dtype, device, transposed)
    got = launch(*factors, transposed=transposed, wide=True)
    assert_near(got, factors.exact(transposed=transposed), f"{rows} x {i} x {o}", FACTOR)
    assert far(got, factors.exact(transposed=transposed, bias=False), FACTOR), "missing bias"
    short = factors._replace(x=factors.x.clone())
    short.x[:, -1] = 0
    assert far(got, short.exact(transposed=transposed), FACTOR), "missing last term"


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
def test_activation(device: torch.device, dtype: torch.dtype, transposed: bool) -> None:
    """Activations are exact over more columns than a tile has, and with gates."""
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(3, 24, 38, dtype, device, transposed)
    exact = {each: factors.exact(each, transposed) for each in ACTIVATIONS}
    for activation in ACTIVATIONS:
        got = launch(*factors, activation, transposed, wide=True)
        assert_near(got, exact[activation], activation, FACTOR)
        for other in ACTIVATIONS[:-1]:
            alike = activation in (other, "swiglu")
            assert alike or far(got, exact[other], FACTOR), f"{other} for {activation}"
    columns = torch.arange(38, device=device).roll(19)
    weight = factors.weight[columns] if transposed else factors.weight[:, columns]
    swapped = Factors(factors.x, weight, factors.bias[columns])
    assert far(got, swapped.exact(activation, transposed), FACTOR), "gate for value"


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
def test_stored_as_x(device: torch.device, dtype: torch.dtype) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(3, 24, 17, dtype, device)
    got = launch(*factors, "gelu")
    assert got.dtype == dtype
    assert_near(got, factors.exact("gelu"), "gelu", FACTOR)


@pytest.mark.parametrize(
    ("dtype", "i", "o", "activation"),
    [
        (torch.float32, 24, 1030, "swiglu"),
        (torch.float32, 600, 1030, "none"),
        (torch.bfloat16, 24, 1030, "none"),
        (torch.float32, 3, 4106, "none"),
        (torch.bfloat16, 3, 4106, "swiglu"),
    ],
    ids=str,
)
def test_wide_tiles(
    device: torch.device, dtype: torch.dtype, i: int, o: int, activation: Activation
) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(2, i, o, dtype, device)
    got = launch(*factors, activation, wide=True)
    assert_near(got, factors.exact(activation), f"{i} x {o}", FACTOR)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_vocabulary(device: torch.device, dtype: torch.dtype) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(1, 24, 50_257, dtype, device, transposed=True)
    got = launch(*factors[:2], transposed=True, wide=True)
    assert_near(got, factors.exact(transposed=True, bias=False), "logits", FACTOR)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.integers(0, 40),
    st.integers(1, 300),
    st.integers(1, 40),
    st.sampled_from(FLOATS),
    st.booleans(),
    st.sampled_from(ACTIVATIONS),
)
def test_any_size(
    device: torch.device,
    rows: int,
    i: int,
    o: int,
    dtype: torch.dtype,
    transposed: bool,
    activation: Activation,
) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(rows, i, 2 * o, dtype, device, transposed)
    got = launch(*factors, activation, transposed, wide=True)
    assert_near(got, factors.exact(activation, transposed), activation, FACTOR)


@pytest.mark.parametrize("dtype", EACH_FLOAT, ids=str)
@pytest.mark.parametrize("transposed", [False, True], ids=["", "transposed"])
@pytest.mark.usefixtures("row_by_row")
def test_rows_are_independent(
    device: torch.device, dtype: torch.dtype, transposed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bits of a row are the same in every batch, and at every place in a batch."""
    from ancestral.triton_kernels.linear import kernel
    from ancestral.triton_kernels.linear.kernel import launch

    x, *rest = drawn(64, 300, 14, dtype, device, transposed)
    settings = {"activation": "gelu", "transposed": transposed, "wide": True}
    whole = launch(x, *rest, **settings)
    for rows in (1, 2, 16, 17):
        assert torch.equal(launch(x[:rows], *rest, **settings), whole[:rows])
    for row in (31, 63):
        assert torch.equal(launch(x[row], *rest, **settings), whole[row])
    moved = launch(x.roll(15, 0), *rest, **settings)
    assert torch.equal(moved, whole.roll(15, 0))
    tiles = kernel.configuration(300, 14, transposed, dtype)
    other = tiles._replace(parts=tiles.parts // 2, part=max(tiles.part // 2, 16))
    monkeypatch.setattr(kernel, "configuration", lambda *sizes: other)
    assert not torch.equal(launch(x[:1], *rest, **settings), whole[:1]), "other tiles"


@pytest.mark.parametrize(
    ("dtype", "activation"),
    [*((torch.float32, each) for each in ACTIVATIONS), (torch.bfloat16, "none")],
    ids=str,
)
def test_nan_stays_in_its_row(
    device: torch.device, dtype: torch.dtype, activation: Activation
) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(5, 24, 14, dtype, device)
    expected = launch(*factors, activation)
    factors.x[3, 7] = torch.nan
    got = launch(*factors, activation)
    assert got[3].isnan().all()
    others = [0, 1, 2, 4]
    assert torch.equal(got[others], expected[others])


@pytest.mark.parametrize("activation", ["none", "swiglu"])
def test_axes(device: torch.device, activation: Activation) -> None:
    """Any number of axes before the last is supported, also 0, and no rows."""
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(6, 24, 18, torch.float32, device)
    rows = launch(*factors, activation)
    blocks = factors.x.unflatten(0, (2, 3))
    assert torch.equal(launch(blocks, *factors[1:], activation), rows.unflatten(0, (2, 3)))
    last = launch(blocks[:, -1:], *factors[1:], activation)
    assert torch.equal(last, rows[[2, 5]][:, None]), "last rows of blocks"
    apart = launch(blocks.transpose(0, 1), *factors[1:], activation)
    assert torch.equal(apart, rows.unflatten(0, (2, 3)).transpose(0, 1))
    assert torch.equal(launch(factors.x[4], *factors[1:], activation), rows[4])
    assert launch(blocks[:0], *factors[1:], activation).shape == (0, 3, rows.shape[1])


def test_dtypes(device: torch.device) -> None:
    """The result has the right dtype, also with a bias in fp32 and a weight in 16 bits."""
    from ancestral.triton_kernels.linear.kernel import launch

    factors = drawn(3, 24, 18, torch.bfloat16, device)
    exact = factors.exact()
    for wide, dtype in ((False, torch.bfloat16), (True, torch.float32)):
        got = launch(*factors, wide=wide)
        assert got.dtype == dtype
        assert_near(got, exact, str(dtype), FACTOR)
    # bfloat16 cannot represent 1 + 2^-12.
    factors.x.zero_()
    bias = torch.full((18,), 1 + 2**-12, device=device)
    assert torch.equal(launch(*factors[:2], bias, wide=True), bias.expand(3, 18))
    assert launch(*factors[:2], bias).dtype == torch.bfloat16
    single = drawn(3, 24, 18, torch.float32, device)
    assert torch.equal(launch(*single, wide=True), launch(*single))


@pytest.mark.parametrize("activation", ACTIVATIONS[:-1])
def test_far_from_zero(device: torch.device, activation: Activation) -> None:
    """Nothing overflows; tanh is relatively exact also near zero, where the others cancel."""
    from ancestral.triton_kernels.linear.kernel import launch

    values = torch.tensor([1e-30, 1e-4, 0.1, 0.2499, 0.2501, 0.7, 3.0, 9.0, 40.0, 1e3, 1e30])
    values = torch.cat([values, -values])
    second = torch.full_like(values, 0.0 if activation == "tanh" else 1.0)
    x = torch.stack([values, second], dim=-1).to(device)
    factors = Factors(x, torch.eye(2, device=device), torch.zeros(2, device=device))
    assert_near(launch(*factors, activation), factors.exact(activation), activation, FACTOR)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f._replace(weight=f.weight.half()), "weight: expected"),
        (lambda f: f._replace(weight=f.weight[:-1]), "weight: expected"),
        (lambda f: f._replace(weight=f.weight.T), "weight: expected"),
        (lambda f: f._replace(weight=f.weight.to("meta")), "weight: expected"),
        (lambda f: f._replace(weight=f.weight[None]), "expected x .* and a 2-D weight"),
        (lambda f: f._replace(weight=f.weight[:, :0]), "expected x .* without axes of size 0"),
        (lambda f: f._replace(weight=f.weight[:, :7].contiguous()), "expected an even width"),
        (lambda f: f._replace(weight=f.weight[:, ::2]), "weight: expected contiguous"),
        (lambda f: f._replace(x=f.x[:, :0]), "expected x .* without axes of size 0"),
        (lambda f: f._replace(x=f.x.T), "x: expected a contiguous last axis"),
        (lambda f: f._replace(x=f.x.double(), weight=f.weight.double()), "x: expected"),
        (lambda f: f._replace(bias=f.bias.half()), "bias: expected"),
        (lambda f: f._replace(bias=f.bias[:-1]), "bias: expected"),
    ],
    ids=[
        "dtype", "width", "transposed", "device", "axes", "none", "odd", "strided",
        "no terms", "last axis", "double", "dtype of the bias", "width of the bias",
    ],
)  # fmt: skip
def test_refused(device: torch.device, change: Callable[[Factors], Factors], message: str) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    factors = change(drawn(8, 8, 12, torch.float32, device))
    with pytest.raises(InvalidInput, match=message):
        launch(*factors, "swiglu")


def test_unknown_activation(device: torch.device) -> None:
    from ancestral.triton_kernels.linear.kernel import launch

    with pytest.raises(InvalidInput, match="activation: expected one of"):
        launch(*drawn(2, 8, 10, torch.float32, device), "softplus")
