"""The kernel of the TensorRT plugin, run with the arguments that the plugin passes."""

from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor

from ancestral.export.tensorrt.plugin import DTYPES
from ancestral.triton_kernels.masked_attention import masked_attention_reference
from tests.tensorrt_bindings import Case, answer, libraries, needs_bindings
from tests.triton_kernels.kernels.compare import assert_near, far

pytestmark = [pytest.mark.kernels, pytest.mark.slow, needs_bindings]

CASES = {
    "one": Case(b=2, h=1, g=1, t=1, d=24, dtype="FLOAT"),
    "fp32": Case(b=1, h=4, g=2, t=65, d=24, dtype="FLOAT"),
    "a block": Case(b=2, h=2, g=1, t=64, d=24, dtype="FLOAT"),
    "bf16": Case(b=2, h=3, g=1, t=129, d=40, dtype="BF16"),
    "short": Case(b=1, h=4, g=2, t=9, d=40, dtype="BF16"),
    "wide": Case(b=1, h=2, g=1, t=70, d=80, dtype="HALF"),
}


@pytest.fixture(scope="module")
def launches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the launch of each case."""
    folder = libraries(tmp_path_factory.mktemp("libraries"))
    request = {"target": 80, "cases": [asdict(each) for each in CASES.values()]}
    return dict(zip(CASES, answer(folder, request)["launches"], strict=True))


def drawn(case: Case, device: torch.device) -> list[Tensor]:
    """Return q, k, v with scores of size 2; a kernel with wrong sizes reads the 9s after them."""
    generator = torch.Generator().manual_seed(case.t * 1000 + case.d)
    found = []
    for size, (b, *others) in zip((2, 1, 1), case.shapes, strict=True):
        room = torch.full((4 * b, *others), 9.0, device=device, dtype=DTYPES[case.dtype])
        found.append(room[:b].copy_(size * torch.randn((b, *others), generator=generator)))
    return found


def run(case: Case, inputs: list[Tensor], numbers: list[int], programs: int) -> Tensor:
    """Return y [b, h, t, d], NaN where nothing was written."""
    from ancestral.triton_kernels.masked_attention.dense import _dense_kernel, dense_variant

    variant = dense_variant(case.d, DTYPES[case.dtype])
    y = inputs[0].new_full((4 * case.b, case.t, case.h, case.d), torch.nan)
    _dense_kernel[(programs,)](
        *inputs, *numbers, y, **variant.constants,
        num_warps=variant.warps, num_stages=variant.stages,
    )  # fmt: skip
    return y[: case.b].transpose(1, 2)


def exact(inputs: list[Tensor]) -> Tensor:
    q, k, v = (x.double() for x in inputs)
    return masked_attention_reference(q, k, v, None, None, None)


@pytest.mark.parametrize("name", CASES)
def test_exact(device: torch.device, launches: dict[str, dict[str, Any]], name: str) -> None:
    case, launch = CASES[name], launches[name]
    inputs = drawn(case, device)
    numbers = [value for _, value in launch["numbers"]]
    assert [launch["launch"][axis] for axis in ("grid_y", "grid_z")] == [1, 1]
    y = run(case, inputs, numbers, launch["launch"]["grid_x"])
    assert_near(y, exact(inputs), name)


@pytest.mark.parametrize("name", ["fp32", "short"])
def test_faults_are_seen(
    device: torch.device, launches: dict[str, dict[str, Any]], name: str
) -> None:
    """Another order of inputs or numbers, or a missing program, gives wrong results."""
    case, programs = CASES[name], launches[name]["launch"]["grid_x"]
    q, k, v = drawn(case, device)
    b, h, g, t, unit = (value for _, value in launches[name]["numbers"])
    expected = exact([q, k, v])
    right = [b, h, g, t, unit]
    assert_near(run(case, [q, k, v], right, programs), expected, "right order")
    assert far(run(case, [q, v, k], right, programs), expected), "keys and values"
    assert far(run(case, [q, k, v], [b, h, 1, t, unit], programs), expected), "heads of keys"
    assert far(run(case, [q, k, v], [g, h, b, t, unit], programs), expected), "rows and heads"
    assert far(run(case, [q, k, v], [b, h, g, t - 1, unit], programs), expected), "length"
    assert far(run(case, [q, k, v], right, programs - 1), expected), "programs"
