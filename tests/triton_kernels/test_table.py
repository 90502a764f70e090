"""The table of kernels: models call every entry, and kernels run only within a scope."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from ancestral.train.models.graphs import build
from ancestral.triton_kernels.operators import OPERATORS, modules, table
from ancestral.triton_kernels.overridable import Kernels, overridable
from tests.toys import make

pytest.importorskip("triton")
FOLDER = Path(__file__).parents[2] / "triton_kernels"


def recorded(toys: tuple[str, ...]) -> set[Callable[..., Any]]:
    """Return the entries of the table that steps and a parallel pass of toys call."""
    called: set[Callable[..., Any]] = set()

    def recorder(entry: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            called.add(entry)
            return entry(*args, **kwargs)

        return run

    with torch.no_grad(), Kernels({entry: recorder(entry) for entry in table()}):
        for toy in toys:
            model = make(toy)
            for name in ("step", "step_full", "log_prob"):
                program = build(name, model)
                sizes = {"b": 2, "s": 1, "t": 3}
                specs = program.signature.inputs
                program(
                    *(torch.zeros(s.shape(sizes), dtype=getattr(torch, s.dtype)) for s in specs)
                )
    return called


def test_models_call_every_entry() -> None:
    assert recorded(("tiny", "llama", "wavenet")) == set(table())


@pytest.mark.parametrize("part", ["kernel", "onnx"])
def test_every_folder_is_an_operator(part: Literal["kernel", "onnx"]) -> None:
    """Every folder of an operator is in the list, which is in alphabetical order."""
    assert list(OPERATORS) == sorted(OPERATORS)
    folders = sorted(path.parent.name for path in FOLDER.glob(f"*/{part}.py"))
    assert list(modules(part)) == folders


def test_operators_run_on_every_device_as_their_references() -> None:
    """Nothing is registered for CUDA, since kernels run only within a scope."""
    ours = [torch._C._dispatch_dump(name) for name in torch._C._dispatch_get_all_op_names()
            if name.startswith("ancestral::")]  # fmt: skip
    assert len(ours) >= 7
    assert not [dump for dump in ours if re.search(r"^CUDA: ", dump, re.MULTILINE)]


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
