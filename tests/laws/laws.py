"""Parts of the laws: limits, comparisons, uniforms, margins.

Limits are from the table in ancestral.parity, with the error of PyTorch's float32.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.engine import Engine, Sampling, step_graph
from ancestral.engine.comparison import Limits
from ancestral.engine.noise import Noise
from ancestral.parity import tolerance
from tests.toys import make

Floats = NDArray[np.floating]


def limits(engine: Engine) -> Limits:
    """Return the limits on differences of a log-probability, in nats, and of an edge."""
    entry = tolerance(engine.backend.name, engine.precision)
    return Limits.of(entry, engine.bundle.known_answers())


def assert_close(got: Floats, expected: Floats, limit: float, what: str) -> None:
    """Check that differences are within a limit; report the largest, its index and the mean.

    NaN fails; equal infinities have a difference of 0.
    """
    assert got.shape == expected.shape, f"{what}: shapes {got.shape} and {expected.shape}"
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.float64) - expected.astype(np.float64))
    error = np.where(got == expected, 0, difference)
    error = np.where(np.isnan(error), np.inf, error)
    worst = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    assert error.max() <= limit, (
        f"{what}: max {error.max():.3g} is over {limit:.3g}, mean {error.mean():.3g}, "
        f"worst at {worst}: {got[worst]!r} and {expected[worst]!r}"
    )


def events(engine: Engine, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return random events [n, t] and their labels."""
    data = engine.data
    x = np.random.default_rng(3).integers(0, data.levels, (n, data.length))
    return x, None if data.num_classes is None else np.arange(n) % data.num_classes


def position_log_prob(
    engine: Engine, x: NDArray[np.int64], label: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """Return log p(x_t | x_<t), [n, t], of events by position, for any ordering of the data."""
    return engine.position_log_prob(engine.data.in_place(x), label)


def given(
    engine: Engine, n: int, label: NDArray[np.int64] | None
) -> dict[str, NDArray[np.generic]]:
    """Return the inputs of a plain step graph with n rows, labels if there are any."""
    u = Noise(11, 0).uniforms(n, engine.data.length)
    signature = engine.session("step").signature
    settings = step_graph.settings(signature, Sampling(), n, engine.data.levels)
    return {"u": u} | settings | ({} if label is None else {"label": label})


def start_values(engine: Engine, n: int) -> NDArray[np.int64]:
    """Return observed values [n, t]: all free, but x_0 if there is no start symbol."""
    observed = np.full((n, engine.data.length), -1)
    if engine.bundle.manifest.first_position:
        observed[:, 0] = np.arange(n) % engine.data.levels
    return observed


def margins(
    toy: str, x: NDArray[np.int64], label: NDArray[np.int64] | None, u: Floats
) -> NDArray[np.float64]:
    """Return the distance of u to the nearest edge of the CDF, computed in float64, [n, t]."""
    with torch.no_grad():
        y = None if label is None else torch.from_numpy(label)
        p = make(toy).double().logits(torch.from_numpy(x), y).softmax(-1)
    edges = p.cumsum(-1)[..., :-1].numpy()
    return np.asarray(np.abs(edges - u[..., None]).min(axis=-1))


def assert_same_draws(
    got: NDArray[np.int64], expected: NDArray[np.int64], margin: Floats, limit: float
) -> None:
    """Check that rows agree up to their first near tie: u within the limit of an edge.

    After a first difference the past differs, so later ones are not checked.
    """
    for row in np.flatnonzero((got != expected).any(axis=1)):
        t = int(np.flatnonzero(got[row] != expected[row])[0])
        assert margin[row, t] <= limit, (
            f"sample {row}, position {t}: {got[row, t]} and {expected[row, t]}, "
            f"though u is {margin[row, t]:.3g} from an edge (near is {limit:.3g})"
        )
