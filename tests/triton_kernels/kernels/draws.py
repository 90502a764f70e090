"""Steps of sampling for a kernel, in poisoned memory, and checks of their results."""

from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.triton_kernels.sample_token import Drawn
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature
from tests.triton_kernels.kernels.compare import assert_near

# Limit on the distance of u from an edge: the error of cumulative sums in fp32.
_NEAR_TIE = 2e-6
_LENGTH = 5
_POISON = -77


class Case(NamedTuple):
    """Arguments of `launch`, and the position of each row."""

    logits: Tensor
    noise: Tensor
    observed: Tensor
    state: Drawn
    n: Tensor

    @property
    def u(self) -> Tensor:
        """u of each row at its position."""
        return self.noise.gather(1, self.n[:, None])[:, 0].cpu()

    @property
    def plain(self) -> Temperature:
        """Temperature 1 in every row."""
        return Temperature(torch.ones(len(self.n), device=self.n.device))

    def state_copy(self) -> Drawn:
        return Drawn(*(each.clone() for each in self.state))


def case(
    logits: Tensor,
    device: torch.device,
    *,
    u: Tensor | None = None,
    forced: Tensor | None = None,
    padding: int = 3,
    padded: float = torch.nan,
) -> Case:
    """Return rows at positions 0, 1, ..., in which everything that must not be read is poisoned.

    The padding of logits is NaN, or `padded`. At all positions except the row's, u is NaN and the
    observed value is _POISON. Values are _POISON, and log-probabilities are NaN.
    """
    b, v = logits.shape
    wide = torch.full((b, v + padding), padded, dtype=logits.dtype)
    wide[:, :v] = logits
    n = torch.arange(b) % _LENGTH
    at = n[:, None]
    if u is None:
        u = torch.rand(b, generator=torch.Generator().manual_seed(v))
    noise = torch.full((b, _LENGTH), torch.nan).scatter(1, at, u[:, None])
    taken = torch.full((b,), -1) if forced is None else forced
    observed = torch.full((b, _LENGTH), _POISON).scatter(1, at, taken[:, None])
    unset = torch.full((b, _LENGTH), torch.nan)
    state = Drawn(
        n.clone().to(device),
        torch.full((b, _LENGTH), _POISON).to(device),
        unset.to(device),
        unset.clone().to(device),
    )
    return Case(
        wide.to(device)[:, :v], noise.to(device), observed.to(device), state, n.clone().to(device)
    )


def drawn(got: Drawn, before: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Return value, log p and log q of each row; check that nothing else has changed."""
    at = before.n[:, None]
    assert torch.equal(got.position, before.n + 1)
    parts = []
    for name in ("values", "log_p", "log_q"):
        new, old = getattr(got, name), getattr(before.state, name)
        assert same_bits(new.scatter(1, at, old.gather(1, at)), old), f"{name} elsewhere"
        parts.append(new.gather(1, at)[:, 0].cpu())
    value, log_p, log_q = parts
    return value, log_p, log_q


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors have the same bits, also where they are NaN."""
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def assert_inverted(value: Tensor, w: Tensor, u: Tensor) -> int:
    """Fail unless u draws each value from weights in float64, except near ties.

    Returns:
        Number of near ties: other values, where u is next to an edge.
    """
    c = w.cumsum(-1) / w.sum(-1, keepdim=True)
    exact = (c < u[:, None]).sum(-1)
    assert (value >= 0).all()
    assert (value < w.shape[-1]).all()
    assert (w.gather(1, value[:, None]) > 0).all(), "a value of probability 0"
    other = value != exact
    edges = torch.nn.functional.pad(c, (1, 0)).gather(1, torch.stack([value, value + 1], -1))
    away = torch.maximum(edges[:, 0] - u, u - edges[:, 1]).clamp_min(0)
    assert (away <= _NEAR_TIE).all(), (
        f"max {float(away.max()):.3g} off, row {int(away.argmax())}: value "
        f"{int(value[away.argmax()])}, exact {int(exact[away.argmax()])}"
    )
    return int(other.sum())


def assert_chosen(value: Tensor, log_p: Tensor, logits: Tensor, what: str = "log_p") -> None:
    """Fail unless log p is the log-probability of each value under logits in float64."""
    assert_near(log_p, logits.log_softmax(-1).gather(1, value[:, None])[:, 0], what)


def filters_of(rows: list[tuple[float, int, float, float]], device: torch.device) -> Filters:
    """Return filters of rows (temperature, top-k, top-p, min-p)."""
    temperature, top_k, top_p, min_p = zip(*rows, strict=True)
    return Filters(
        torch.tensor(temperature, device=device),
        torch.tensor(top_k, device=device),
        torch.tensor(top_p, device=device),
        torch.tensor(min_p, device=device),
    )
