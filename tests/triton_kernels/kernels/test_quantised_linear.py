"""The kernel of the linear map whose weight has 4 or 8 bits."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.errors import InvalidInput
from ancestral.train.quantisation.rounding import nearest
from ancestral.triton_kernels.dequantise import dequantise_reference, packed, unpacked
from ancestral.triton_kernels.linear import ACTIVATIONS, Activation, linear
from ancestral.triton_kernels.operators import table
from ancestral.triton_kernels.overridable import Kernels
from ancestral.triton_kernels.quantised_linear import Quantised, rounded
from tests.triton_kernels.kernels.compare import assert_near, far

pytestmark = pytest.mark.kernels

FACTOR = 2.0
"""Factor of the tolerance, for sums over up to 300 terms, both roundings of scales, activations."""


class Kind(NamedTuple):
    """What differs between quantised weights of one shape."""

    bits: int
    symmetric: bool
    rounded: bool

    def __str__(self) -> str:
        points = "symmetric" if self.symmetric else "zero"
        return f"int{self.bits}-{points}{'-rounded' if self.rounded else ''}"


KINDS = [Kind(*each) for each in product((8, 4), (True, False), (False, True))]
QUICK = (Kind(8, True, True), Kind(4, False, False))
EACH_KIND = pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow) for k in KINDS],
    ids=str,
)


class Factors(NamedTuple):
    """Factors and bias, in the order of `launch`."""

    x: Tensor
    weight: Quantised
    bias: Tensor | None

    def exact(self, activation: Activation = "none") -> Tensor:
        """Return the result in float64, of activations that were rounded in float32."""
        codes, scale, zero, width, bits, rounds = self.weight
        x = rounded(self.x, self.weight.group) if rounds else self.x
        matrix = dequantise_reference(codes, scale.double(), zero, width, bits)
        bias = None if self.bias is None else self.bias.double()
        return linear(x.double(), matrix, bias, activation, transposed=True)


def guarded(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy with NaN around it, or with the largest codes."""
    around = 255 if tensor.dtype == torch.uint8 else torch.nan
    flat = pad(tensor.flatten(), (64, 64), value=around).to(device)
    return flat[64:-64].view(tensor.shape)


def drawn(
    rows: int, i: int, o: int, group: int, kind: Kind, device: torch.device, outlier: float = 1.0
) -> Factors:
    """Return rows that are apart, with NaN between them, and codes without zeros after the last.

    The first group of x and of the weight is zero; the last numbers of both are outliers.
    """
    generator = torch.Generator().manual_seed(1000 * i + o)
    x = torch.full((rows + 2, i + 3), torch.nan, device=device)[1:-1, :i]
    x.copy_(torch.randn(rows, i, generator=generator))
    matrix = torch.randn(o, i, generator=generator) * i**-0.5
    if i > group:
        x[:, :group], matrix[:, :group] = 0, 0
    x[:, -1] *= outlier
    matrix[:, -1] *= outlier
    bias = torch.randn(o, generator=generator)
    how = QuantisedTensor(bits=kind.bits, group=group, symmetric=kind.symmetric)
    codes, scale, zero = nearest(matrix, how)
    unused = -i % group
    if unused:
        each = unpacked(codes, kind.bits)
        each[:, -1, -unused:] = torch.randint(0, 2**kind.bits, (o, unused), generator=generator)
        codes = packed(each, kind.bits)
    points = None if zero is None else guarded(zero, device)
    stored = Quantised(guarded(codes, device), guarded(scale, device), points, i, *kind[::2])
    return Factors(x, stored, guarded(bias, device))


def faults(factors: Factors) -> Iterator[tuple[str, Factors]]:
    """Yield what a wrong kernel would compute, by the name of the fault."""
    x, weight, bias = factors
    codes, scale, zero, width, bits, rounds = weight
    yield "missing bias", Factors(x, weight, None)
    short = x.clone()
    short[:, -1] = 0
    yield "missing last term", Factors(short, weight, bias)
    if bits == 4:
        swapped = (codes << 4) | (codes >> 4)
        yield "high half first", Factors(x, weight._replace(codes=swapped), bias)
    if scale.shape[1] > 1:
        yield "scale of another group", Factors(x, weight._replace(scale=scale.roll(1, 1)), bias)
    middle = 2 ** (bits - 1)
    points = (
        torch.full_like(scale, middle).byte()
        if zero is None
        else unpacked(zero, bits)[:, : scale.shape[1]]
    )
    odd = (0, points.shape[1] % 2)

    def with_points(each: Tensor) -> Factors:
        stored = packed(pad(each, odd) if bits == 4 else each, bits)
        return Factors(x, weight._replace(zero=stored), bias)

    # Points stay below 16, so that none wraps.
    above = torch.where(points == 2**bits - 1, points - 1, points + 1)
    yield "zero point off by one", with_points(above)
    if zero is not None:
        yield "middle for zero point", with_points(torch.full_like(points, middle))
        if scale.shape[1] > 1:
            yield "zero point of another group", with_points(points.roll(1, 1))
    if width % weight.group:
        longer = pad(x, (0, -width % weight.group), value=1.0)
        whole = weight._replace(width=longer.shape[1])
        yield "terms beyond the last", Factors(longer, whole, bias)
    yield "the other kind of product", Factors(x, weight._replace(rounded=not rounds), bias)


@EACH_KIND
@pytest.mark.parametrize(
    ("i", "o", "group"), [(24, 19, 16), (64, 17, 32), (100, 5, 48), (300, 33, 256)], ids=str
)
def test_exact(device: torch.device, kind: Kind, i: int, o: int, group: int) -> None:
    """Products are exact for all kinds and groups, also if the last group is not full."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    for rows in (1, 3, 17):
        factors = drawn(rows, i, o, group, kind, device)
        got = launch(*factors)
        assert_near(got, factors.exact(), f"{rows} rows", FACTOR)
    for name, wrong in faults(factors):
        assert far(got, wrong.exact(), FACTOR), name


@pytest.mark.parametrize("kind", KINDS[::3], ids=str)
def test_activation(device: torch.device, kind: Kind) -> None:
    """Activations are exact over more columns than a tile has, and with gates."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = drawn(3, 40, 38, 16, kind, device)
    for activation in ACTIVATIONS:
        got = launch(*factors, activation)
        assert_near(got, factors.exact(activation), activation, FACTOR)
        for other in ACTIVATIONS[:-1]:
            alike = activation in (other, "swiglu")
            assert alike or far(got, factors.exact(other), FACTOR), f"{other} for {activation}"


@pytest.mark.parametrize("kind", KINDS[2::5], ids=str)
@pytest.mark.parametrize(("o", "activation"), [(1030, "swiglu"), (4106, "none")])
def test_wide_tiles(device: torch.device, kind: Kind, o: int, activation: Activation) -> None:
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = drawn(2, 24, o, 16, kind, device)
    assert_near(launch(*factors, activation), factors.exact(activation), f"to {o}", FACTOR)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    st.integers(0, 20),
    st.integers(1, 300),
    st.integers(1, 20),
    st.integers(1, 16),
    st.sampled_from(KINDS),
    st.sampled_from(ACTIVATIONS),
)
def test_any_size(
    device: torch.device, rows: int, i: int, o: int, n: int, kind: Kind, activation: Activation
) -> None:
    """Any width, and groups of any multiple of 16 up to 256, are supported."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = drawn(rows, i, 2 * o, 16 * n, kind, device)
    assert_near(launch(*factors, activation), factors.exact(activation), activation, FACTOR)


@EACH_KIND
@pytest.mark.parametrize("outlier", [1e4, 1e-4])
def test_outlier(device: torch.device, kind: Kind, outlier: float) -> None:
    """One number of 1e4 in x and in each row of the weight changes only its own group."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = drawn(3, 70, 6, 32, kind, device, outlier)
    assert_near(launch(*factors), factors.exact(), "outlier", FACTOR)
    factors.x[:, -1] = 0
    assert_near(launch(*factors), factors.exact(), "other groups", FACTOR)


@EACH_KIND
def test_zeros(device: torch.device, kind: Kind) -> None:
    """Zeros give the bias, and so do numbers too small to be divided by; so does a weight of 0."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    x, weight, bias = drawn(3, 40, 6, 16, kind, device)
    assert torch.equal(launch(torch.zeros_like(x), weight, bias), bias.expand(3, 6))
    assert torch.equal(launch(torch.full_like(x, 1e-37), weight, bias), bias.expand(3, 6))
    none = nearest(torch.zeros(6, 40), QuantisedTensor(bits=kind.bits, group=16, symmetric=True))
    zeros = Quantised(*(each if each is None else each.to(device) for each in none), *weight[3:])
    assert torch.equal(launch(x, zeros, bias), bias.expand(3, 6))


@pytest.mark.parametrize("bits", [8, 4])
def test_ties(device: torch.device, bits: int) -> None:
    """Halves are rounded to even, as in the reference; sums of integers are exact."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    values = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 63.5, -126.5, 3.49, -3.51])
    whole = torch.tensor([127.0, 0, 2, 2, 0, -2, -2, 64, -126, 3, -4])
    x = pad(torch.diag(values[1:]), (1, 5)).to(device)
    x[:, 0] = 127
    codes = packed(torch.full((1, 1, 16), 2 ** (bits - 1) + 1, dtype=torch.uint8), bits)
    ones = Quantised(codes.to(device), torch.ones(1, 1, device=device), None, 16, bits, True)
    assert torch.equal(launch(x, ones).cpu()[:, 0], 127 + whole[1:])
    assert torch.equal(rounded(x, 16).cpu()[:, 1:11].diagonal(), whole[1:]), "the reference"


@EACH_KIND
@pytest.mark.usefixtures("row_by_row")
def test_rows_are_independent(
    device: torch.device, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bits of a row are the same in every batch, and at every place in a batch."""
    from ancestral.triton_kernels.quantised_linear import kernel
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    x, *rest = drawn(34, 300, 14, 32, kind, device)
    whole = launch(x, *rest, "gelu")
    for rows in (1, 2, 16, 17):
        assert torch.equal(launch(x[:rows], *rest, "gelu"), whole[:rows])
    for row in (15, 33):
        assert torch.equal(launch(x[row], *rest, "gelu"), whole[row])
    assert torch.equal(launch(x.roll(15, 0), *rest, "gelu"), whole.roll(15, 0))
    tiles = kernel.configuration(300, 14, 32, kind.rounded)
    other = tiles._replace(parts=tiles.parts // 2)
    monkeypatch.setattr(kernel, "configuration", lambda *sizes: other)
    assert not torch.equal(launch(x[:1], *rest, "gelu"), whole[:1]), "other tiles"


@pytest.mark.parametrize("kind", KINDS[:2], ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_not_finite(device: torch.device, kind: Kind, value: float) -> None:
    """A number that is not finite stays in its row, and makes the row not finite."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = drawn(5, 40, 14, 16, kind, device)
    expected = launch(*factors)
    factors.x[3, 23] = value
    got = launch(*factors)
    assert not got[3].isfinite().any()
    others = [0, 1, 2, 4]
    assert torch.equal(got[others], expected[others])


def test_axes(device: torch.device) -> None:
    """Any number of axes before the last is supported, also 0, and no rows."""
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    x, *rest = drawn(6, 40, 18, 16, KINDS[0], device)
    rows = launch(x, *rest)
    blocks = x.unflatten(0, (2, 3))
    assert torch.equal(launch(blocks, *rest), rows.unflatten(0, (2, 3)))
    assert torch.equal(launch(blocks[:, -1:], *rest), rows[[2, 5]][:, None])
    assert torch.equal(launch(x[4], *rest), rows[4])
    assert launch(blocks[:0], *rest).shape == (0, 3, 18)


@pytest.mark.parametrize("kind", KINDS[::5], ids=str)
def test_models_run_it(device: torch.device, kind: Kind) -> None:
    """`linear` runs the kernel in the mode, and the reference where there is no kernel."""
    from ancestral.triton_kernels.linear.kernel import FEW_ROWS
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    x, weight, bias = drawn(FEW_ROWS + 1, 40, 18, 16, kind, device)
    few, invariant = Kernels(table()), Kernels(table(batch_invariant=True))
    ours = launch(x, weight, bias, "silu")
    reference = linear(x, weight, bias, "silu", True, True)
    assert not torch.equal(ours, reference)
    for mode, rows, expected in ((few, 5, ours), (invariant, 65, ours), (few, 65, reference)):
        with mode:
            got = linear(x[:rows], weight, bias, "silu", transposed=True, wide=True)
        if expected is ours:
            assert torch.equal(got, launch(x[:rows], weight, bias, "silu"))
        else:
            assert torch.equal(got, reference)
    x, weight, bias = drawn(2, 300, 6, 18, kind, device)
    for factors, what in (((x, weight, bias), "groups of 18"), ((x.half(), weight), "16 bits")):
        expected = linear(*factors)
        with few:
            assert torch.equal(linear(*factors), expected), what


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, w, b: (x.double(), w, b), "x: expected .* of float32"),
        (lambda x, w, b: (x[:, :-1], w, b), "x: expected"),
        (lambda x, w, b: (x.T, w, b), "x: expected"),
        (lambda x, w, b: (x, w._replace(codes=w.codes.char()), b), "codes: expected .* of uint8"),
        (lambda x, w, b: (x, w._replace(codes=w.codes[0]), b), "expected x .* and codes"),
        (lambda x, w, b: (x, w._replace(codes=w.codes[:0]), b), "without axes of size 0"),
        (lambda x, w, b: (x, w._replace(bits=2), b), "of 4 or 8 bits"),
        (lambda x, w, b: (x, w._replace(codes=w.codes[:, :1]), b), "got 1 groups of 16"),
        (lambda x, w, b: (x, w._replace(codes=w.codes[..., :14]), b), "groups of 14"),
        (lambda x, w, b: (x, w._replace(scale=w.scale.half()), b), "scale: expected"),
        (lambda x, w, b: (x, w._replace(scale=w.scale[:, :1]), b), "scale: expected"),
        (lambda x, w, b: (x, w._replace(zero=w.zero[:, :1]), b), "zero: expected"),
        (lambda x, w, b: (x, w._replace(zero=w.zero.to("meta")), b), "zero: expected"),
        (lambda x, w, b: (x, w, b[:-1]), "bias: expected"),
        (lambda x, w, b: (x, w, b.half()), "bias: expected"),
    ],
    ids=[
        "double", "width", "last axis", "signed", "axes", "none", "bits", "groups", "group",
        "dtype of scales", "number of scales", "zero points", "device", "width of the bias",
        "dtype of the bias",
    ],
)  # fmt: skip
def test_refused(
    device: torch.device, change: Callable[..., tuple[object, ...]], message: str
) -> None:
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = change(*drawn(8, 40, 12, 16, Kind(8, False, False), device))
    with pytest.raises(InvalidInput, match=message):
        launch(*factors)


def test_refused_activation(device: torch.device) -> None:
    from ancestral.triton_kernels.quantised_linear.kernel import launch

    factors = drawn(2, 40, 11, 16, KINDS[0], device)
    with pytest.raises(InvalidInput, match="activation: expected one of"):
        launch(*factors, "softplus")
    with pytest.raises(InvalidInput, match="expected an even width for swiglu, got 11"):
        launch(*factors, "swiglu")
