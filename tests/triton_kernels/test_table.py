"""What runs where our kernels do: models call every entry, and nothing is left to chance."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ancestral.train.models.graphs import build
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.masked_attention import masked_attention
from ancestral.triton_kernels.overridable import Kernels, overridable
from ancestral.triton_kernels.references import OPERATORS, references
from tests.toys import make

pytest.importorskip("triton")


def recorded(toys: tuple[str, ...]) -> set[Callable[..., Any]]:
    """The entries of the table that a step and a parallel pass of these toys call."""
    from ancestral.triton_kernels.table import table

    called: set[Callable[..., Any]] = set()

    def recorder(entry: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            called.add(entry)
            return entry(*args, **kwargs)

        return run

    with torch.no_grad(), Kernels({entry: recorder(entry) for entry in table()}):
        for toy in toys:
            model = make(toy)
            for name in ("step", "log_prob"):
                program = build(name, model)
                sizes = {"b": 2, "s": 1, "t": 3}
                specs = program.signature.inputs
                program(
                    *(torch.zeros(s.shape(sizes), dtype=getattr(torch, s.dtype)) for s in specs)
                )
    return called


def test_models_call_every_entry() -> None:
    """But one, which stands for the users' own calls: models call PyTorch's attention instead."""
    from ancestral.triton_kernels.table import table

    assert recorded(("tiny", "llama", "wavenet")) == set(table()) - {masked_attention._opoverload}


def test_operators_are_in_the_table() -> None:
    from ancestral.triton_kernels.table import table

    assert {operator._opoverload for operator in OPERATORS} <= set(table())


def test_the_function_itself_without_a_mode() -> None:
    @overridable
    def twice(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    x = torch.ones(2)
    with Kernels({twice: lambda x: 3 * x}):
        assert twice(x)[0] == 3
        exported = torch.export.export(_Module(twice), (x,))
    assert twice(x)[0] == 2
    assert exported.module()(x)[0] == 2, "an export traces the function itself"


class _Module(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def test_references_are_put_back() -> None:
    """Within the scope no kernel is enabled for CUDA; after it all are again."""
    disabled = [operator._disabled_kernel for operator in OPERATORS]
    with references():
        assert all("cuda" in each for each in disabled)
    assert not any(disabled)


def test_siblings_write_in_place() -> None:
    from ancestral.triton_kernels.append import append_
    from ancestral.triton_kernels.cached_attention import cached_attention_
    from ancestral.triton_kernels.ring import ring, ring_

    generator = torch.Generator().manual_seed(0)
    position = torch.tensor([0, 3])
    buffer, block = torch.zeros(2, 5), torch.randn(2, 2, generator=generator)
    expected = append(buffer, position, block)
    append_(buffer, position, block)
    assert torch.equal(buffer, expected)
    q, k, v = (torch.randn(2, 1, 8, generator=generator) for _ in range(3))
    caches = [torch.randn(2, 1, 5, 8, generator=generator) for _ in range(2)]
    y, *new = cached_attention(q, k, v, *caches, position)
    assert torch.equal(cached_attention_(q, k, v, *caches, position), y)
    assert all(torch.equal(*pair) for pair in zip(caches, new, strict=True))
    around = torch.randn(2, 1, 3, 8, generator=generator)
    taps, written = ring(around, q, position, [-2, 0])
    assert torch.equal(ring_(around, q, position, [-2, 0]), taps)
    assert torch.equal(around, written)
    for operator, inputs in (
        (append_, (buffer, position, block)),
        (cached_attention_, (q, k, v, *caches, position)),
        (ring_, (around, q, position, [-2, 0])),
    ):
        torch.library.opcheck(operator, inputs, test_utils=("test_schema", "test_faketensor"))
