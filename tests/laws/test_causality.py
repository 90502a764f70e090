"""Law: the conditional at a position does not depend on values from that position on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.engine import Engine
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.pixelcnn import PixelCNN
from tests.toys import LOCAL, TOYS, make

from .faults import faulty_model, plant
from .laws import events

Logits = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def check_bits(logits: Logits, x: NDArray[np.int64], levels: int, *, local: bool = False) -> None:
    """Check that a change from t on keeps the bits of logits[:, :t + 1] and changes later logits.

    If `local`, the model sees only a part of the past, so one later change is enough.
    """
    before = logits(x)
    for t in range(x.shape[1]):
        changed = x.copy()
        changed[:, t:] = (changed[:, t:] + 1) % levels
        after = logits(changed)
        differs = (after != before).any(axis=(0, 2))
        assert not differs[: t + 1].any(), f"x[{t}:] changes logits at {np.flatnonzero(differs)}"
        if t + 1 < x.shape[1]:
            seen = differs[t + 1 :].any() if local else differs[t + 1 :].all()
            assert seen, f"x[{t}:] does not change logits from {t + 1} on"


def check_derivative(model: AutoregressiveModel, x: Tensor, label: Tensor | None) -> None:
    """Check that d logits[:, t] / d (embedding of x_s) is 0 for s >= t, not for all s < t."""
    leaves: list[Tensor] = []

    def make_leaf(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    token = model.token if isinstance(model, PixelCNN) else model.inputs.token
    hook = token.register_forward_hook(make_leaf)
    logits = model.logits(x, label)
    hook.remove()
    # A network whose input is the previous value embeds at slot s the value at s - 1 + first.
    skipped = 0 if isinstance(model, PixelCNN) else 1 - model.first_position
    values = leaves[0][:, skipped:]
    expected = token(x[:, : values.shape[1]])
    assert torch.equal(values, expected), "a slot consumes another value than the previous one"
    for t in range(model.first_position, x.shape[1]):
        (gradient,) = torch.autograd.grad(logits[:, t].sum(-1).sum(), leaves[0], retain_graph=True)
        size = gradient[:, skipped:].abs().amax(dim=(0, 2))
        later = size[t:]
        assert not later.any(), f"position {t} has a derivative by values from it on: {later}"
        assert size[:t].any() or t == 0, f"position {t} has no derivative by any value before it"


def test_bits(engine: Engine, toy: str) -> None:
    x, label = events(engine, 4)
    check_bits(
        lambda x: engine.parallel("logits", label, x=x)["logits"],
        x,
        engine.data.levels,
        local=toy in LOCAL,
    )


@pytest.mark.parametrize(
    ("backend", "fault"),
    [
        ("torch", "mask shifted"),
        ("torch", "shift missing"),
        ("torch", "order swapped"),
        ("onnxruntime", "mask missing"),
    ],
)
def test_planted(bundles, tmp_path, backend: str, fault: str) -> None:
    toy = "tiny" if backend == "torch" else "llama"
    engine = plant(bundles(toy), tmp_path, fault, toy, backend)
    x, label = events(engine, 4)
    with pytest.raises(AssertionError, match="changes logits at"):
        check_bits(lambda x: engine.parallel("logits", label, x=x)["logits"], x, engine.data.levels)


def inputs(model: AutoregressiveModel) -> tuple[Tensor, Tensor | None]:
    x = torch.randint(model.data.levels, (3, model.data.length), generator=torch.manual_seed(1))
    return x, None if model.data.num_classes is None else torch.tensor([0, 1, 0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("toy", [toy for toy in TOYS if toy != "table"])
def test_derivative(toy: str, dtype: torch.dtype) -> None:
    model = make(toy).to(dtype)
    check_derivative(model, *inputs(model))


@pytest.mark.parametrize("fault", ["mask shifted", "shift missing", "order swapped"])
def test_derivative_planted(fault: str) -> None:
    model = faulty_model(fault, "startless")
    with pytest.raises(AssertionError, match=r"values from it on|consumes another value"):
        check_derivative(model, *inputs(model))
