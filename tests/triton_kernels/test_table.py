"""What runs where our kernels do: models call every entry, and nothing is left to chance."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier
from typing import Any

import pytest
import torch

from ancestral.train.models.graphs import build
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.masked_attention import masked_attention
from ancestral.triton_kernels.overridable import Kernels, overridable
from ancestral.triton_kernels.references import references
from ancestral.triton_kernels.residual_norm import residual_norm
from ancestral.triton_kernels.ring import ring
from tests.toys import make

pytest.importorskip("triton")
OPERATORS = (append, cached_attention, masked_attention, residual_norm, ring)
"""What models call that has a kernel of ours registered for CUDA."""


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


def test_references_are_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two scopes that overlap in two threads; beside them and after them kernels run.

    Of each operator what is registered for CUDA is called, with a launcher that only raises.
    """

    class Launched(Exception):
        pass

    def launch(*_: Any) -> None:
        raise Launched

    inputs: dict[Any, tuple[Any, ...]] = {
        append: (torch.zeros(1, 5), torch.tensor([0]), torch.ones(1, 2)),
        cached_attention: (*torch.ones(3, 1, 1, 8), *torch.ones(2, 1, 1, 5, 8), torch.tensor([0])),
        masked_attention: (*torch.ones(3, 1, 1, 4, 8), None, None, None),
        residual_norm: (*torch.ones(2, 1, 1, 8), torch.ones(8), None, 1e-5, True),
        ring: (torch.ones(1, 1, 3, 8), torch.ones(1, 1, 8), torch.tensor([0]), [0]),
    }
    assert set(inputs) == set(OPERATORS)
    for operator in inputs:
        name = operator._name
        monkeypatch.setattr(f"ancestral.triton_kernels.{name}.kernel.launch", launch)

    def runs() -> set[bool]:
        """Whether a reference ran, of all operators."""
        found = set()
        for operator, given in inputs.items():
            try:
                operator._backend_fns["cuda"](*given)
                found.add(True)
            except Launched:
                found.add(False)
        return found

    at = Barrier(2, timeout=10)

    def within(first: bool) -> list[set[bool]]:
        seen = [runs()]
        with references() if first else nullcontext():
            at.wait()
            with references():
                seen.append(runs())
                at.wait()
                at.wait()
            seen.append(runs())
        return seen

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.submit(within, True), pool.submit(within, False)
        assert one.result() == [{False}, {True}, {True}]
        assert two.result() == [{False}, {True}, {False}]
    assert runs() == {False}


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
