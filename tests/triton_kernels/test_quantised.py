"""Operators of quantised weights: their references, and their ONNX forms in ONNX Runtime."""

from collections.abc import Callable
from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.export.operators import FORMS, Form
from ancestral.train.quantisation.rounding import Codes, nearest
from ancestral.triton_kernels.dequantise import dequantise, packed, unpacked
from ancestral.triton_kernels.quantised_linear import quantised_linear, rounded
from ancestral.triton_kernels.quantised_rows import quantised_rows
from tests.triton_kernels.single import exported, run

ROUNDING = 4e-6
"""Largest error in float32 of sums over 70 terms, whose results have a size of 1."""
ROWS, WIDTH, GROUP = 12, 70, 32
KINDS = {"int8": (8, True), "int8 zero": (8, False), "int4": (4, True), "int4 zero": (4, False)}
"""Bits, and whether the zero point is the middle, by the name of a kind of weight."""
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
Sessions = Callable[[Form], ort.InferenceSession]


@cache
def coded(kind: str) -> Codes:
    """Return codes of a matrix with a group of zeros; the last group is longer than its part."""
    bits, symmetric = KINDS[kind]
    matrix = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(bits)) * WIDTH**-0.5
    matrix[4, :GROUP] = 0
    return nearest(matrix, QuantisedTensor(bits=bits, group=GROUP, symmetric=symmetric))


@cache
def exact_matrix(kind: str) -> Tensor:
    """Return the matrix that codes stand for in float64, number by number."""
    (codes, scale, zero), (bits, _) = coded(kind), KINDS[kind]

    def code(stored: Tensor, index: int) -> int:
        byte = int(stored.flatten()[index * bits // 8])
        return byte if bits == 8 else byte // 16 if index % 2 else byte % 16

    found = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    for row, k in np.ndindex(ROWS, WIDTH):
        group = k // GROUP
        point = 2 ** (bits - 1) if zero is None else code(zero[row], group)
        found[row, k] = (code(codes[row], k) - point) * float(scale[row, group])
    return found


def ids() -> Tensor:
    return torch.tensor([[3, 0], [11, 3], [7, 1]])


def activations() -> Tensor:
    """Return x [3, 2, WIDTH], with a group of zeros."""
    x = torch.randn(3, 2, WIDTH, generator=torch.Generator().manual_seed(1))
    x[0, :, :GROUP] = 0
    return x


class Each(torch.nn.Module):
    """The matrix plus nothing, rows, and both products, for each kind of weight."""

    def __init__(self) -> None:
        super().__init__()
        for kind in KINDS:
            for name, tensor in coded(kind)._asdict().items():
                self.register_buffer(f"{kind} {name}", tensor)

    def forward(self, x: Tensor, some: Tensor) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for kind, (bits, _) in KINDS.items():
            stored = [getattr(self, f"{kind} {name}") for name in Codes._fields]
            found += [
                x[:1, 0] * 0 + dequantise(*stored, WIDTH, bits),
                quantised_rows(some, *stored, WIDTH, bits),
                quantised_linear(x, *stored, WIDTH, bits, False),
                quantised_linear(x, *stored, WIDTH, bits, True),
            ]
        return tuple(found)


@pytest.fixture(scope="module")
def sessions() -> Sessions:
    """Return a function that exports `Each` in a form on first use."""
    b, s = torch.export.Dim("b", min=1), torch.export.Dim("s", min=1)
    shapes = ({0: b, 1: s}, {0: b, 1: s})
    return cache(lambda form: exported(Each(), (activations(), ids()), form, shapes))


def outputs(session: ort.InferenceSession, kind: str, rows: slice) -> list[np.ndarray]:
    """Return the matrix, rows and products of a graph, for some rows of the batch."""
    first = 4 * list(KINDS).index(kind)
    return run(session, (activations()[rows], ids()[rows]))[first : first + 4]


@EACH_KIND
def test_references(kind: str) -> None:
    """The references read codes, zero points and scales as the layout says."""
    (codes, scale, zero), (bits, _) = coded(kind), KINDS[kind]
    exact, x = exact_matrix(kind), activations()
    assert torch.equal(packed(unpacked(codes, bits), bits), codes)
    assert torch.equal(dequantise(codes, scale.double(), zero, WIDTH, bits), exact)
    matrix = dequantise(codes, scale, zero, WIDTH, bits)
    assert torch.equal(matrix, exact.float())
    for some in (ids(), ids()[0], ids()[:, None]):
        assert torch.equal(quantised_rows(some, codes, scale, zero, WIDTH, bits), matrix[some])
    for rounds, read in ((False, x), (True, rounded(x, GROUP))):
        got = quantised_linear(x, codes, scale, zero, WIDTH, bits, rounds)
        assert (got - read.double() @ exact.T).abs().max() < ROUNDING


@EACH_KIND
@pytest.mark.parametrize("form", FORMS)
def test_forms(sessions: Sessions, form: Form, kind: str) -> None:
    """Matrix and rows of a graph are the exact ones, rounded once; so are products, but for sums.

    Products are compared with those of activations that are rounded, and of those that are not.
    """
    exact, x = exact_matrix(kind), activations()
    rounds = rounded(x, GROUP)
    for rows in (slice(0, 3), slice(1, 2)):
        matrix, taken, plain, by_integers = outputs(sessions(form), kind, rows)
        assert np.array_equal(matrix, exact.float().numpy())
        assert np.array_equal(taken, exact.float()[ids()[rows]].numpy())
        for got, read, other in ((plain, x, rounds), (by_integers, rounds, x)):
            expected, wrong = ((each[rows].double() @ exact.T).numpy() for each in (read, other))
            assert np.abs(got - expected).max() < ROUNDING
            assert np.abs(got - wrong).max() > 10 * ROUNDING
