"""Laws of noise: different purposes never share numbers, so bounds on own samples are valid."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral import philox
from ancestral.engine import AutoregressiveEngine, LatentEngine, bounds
from ancestral.philox import Stream
from ancestral.train.bounds import bound as training_bound
from ancestral.train.data import load_digits
from tests.conftest import Load, autoregressive
from tests.engine.test_particles import CASES
from tests.engine.threads import BOTH
from tests.latent_toys import make_latent
from tests.laws.test_bounds import WITH_NOISE, limit
from tests.toys import SECOND

SEED, OTHER = 5, 6
SIZES = {"posterior": (40_000, 1), "prior": (4_000, 16)}
"""Numbers of events and of latents per event, by proposal."""
SHARED = SimpleNamespace(Z_GIVEN_X=Stream.Z, NAIVE_Z=Stream.Z)
"""The planted fault: proposals of a bound are the latents that made the samples."""

TRITON = pytest.param("triton", marks=[pytest.mark.kernels, pytest.mark.slow])
Block = tuple[int, ...]
Blocks = frozenset[Block]


def excess(
    engine: LatentEngine, proposal: str, size: tuple[int, int] | None = None
) -> tuple[float, float]:
    """Return how much higher the bound on the model's samples is with the seed that drew them.

    Args:
        engine: engine of a toy.
        proposal: proposal of the bound.
        size: numbers of events and of latents per event; None means those of `SIZES`.

    Returns:
        The mean of the paired differences and its limit, 4 standard errors plus the parity limit,
        in nats.
    """
    n, k = SIZES[proposal] if size is None else size
    labels = None
    if engine.latent.posterior == "codes":
        # The encoder chooses the codes, so both bounds have the same latents.
        n, labels, proposal = 400, 0, "posterior"
    x = engine.sample(n, labels=labels, seed=SEED).x
    own, other = (
        engine.bound(x, k=k, seed=seed, labels=labels, proposal=proposal).iwae
        for seed in (SEED, OTHER)
    )
    difference = own - other
    error = float(difference.std(ddof=1)) / n**0.5
    return float(difference.mean()), 4 * error + limit(engine)


@pytest.mark.many
@pytest.mark.parametrize("backend", [*BOTH, TRITON], scope="session")
@pytest.mark.parametrize("proposal", SIZES)
def test_bound_on_own_samples(latent_engine: LatentEngine, proposal: str) -> None:
    """A bound on samples is no higher with the seed that drew them than with another."""
    mean, most = excess(latent_engine, proposal)
    assert abs(mean) <= most, f"{mean:.3g} nats over {most:.3g}"


@pytest.mark.parametrize("proposal", SIZES)
def test_shared_stream_is_found(load: Load, proposal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "Stream", SHARED)
    seen = []
    for toy in (each for each in WITH_NOISE if each not in SECOND):
        engine = load(toy, "onnxruntime")
        assert isinstance(engine, LatentEngine)
        mean, most = excess(engine, proposal)
        seen += [toy] * (mean > most)
    assert len(seen) >= 2, seen


@contextmanager
def recorded() -> Iterator[set[Block]]:
    """Record the Philox blocks that are computed inside: counter and key of each."""
    real, blocks = philox.philox4x32, set()

    def philox4x32(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
        blocks.update((*row, *key) for row in counter.reshape(-1, 4).tolist())
        return real(counter, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(philox, "philox4x32", philox4x32)
        yield blocks


def blocks_of(call: Callable[[], object]) -> Blocks:
    with recorded() as blocks:
        call()
    return frozenset(blocks)


def purposes(load: Load) -> dict[str, Blocks]:
    """Return the blocks of every call that draws noise, each with the same seed and index 0."""
    images, mixed, real = (load(toy, "onnxruntime") for toy in ("tiny", "convolved", "linear"))
    assert isinstance(images, AutoregressiveEngine)
    assert isinstance(mixed, LatentEngine)
    assert isinstance(real, LatentEngine)
    # An observed value after free ones needs weights of particles.
    observed = images.data.in_place(np.array([CASES["tiny"]]))[0]
    x = np.zeros((4, *mixed.data.event_shape), np.int64)
    levels = np.zeros((4, real.data.length), np.int64)
    model = make_latent("linear")
    return {
        "sample": blocks_of(lambda: images.sample(4, 0, SEED)),
        "complete": blocks_of(lambda: images.complete(observed, 16, 0, SEED)),
        "sample of latents": blocks_of(lambda: mixed.sample(4, seed=SEED)),
        "bound": blocks_of(lambda: real.bound(levels, 4, SEED)),
        "naive bound": blocks_of(lambda: mixed.bound(x, 4, SEED, proposal="prior")),
        "bound in training": blocks_of(lambda: training_bound(model, levels, 4, SEED)),
        "binarised": blocks_of(lambda: load_digits().binarised(SEED)),
    }


def shared(found: dict[str, Blocks]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in combinations(found, 2) if found[a] & found[b]]


def test_no_two_purposes_share_a_block(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two purposes share a block; a random ordering is a constant of a model, not noise."""
    found = purposes(load)
    assert not shared(found)
    assert {block[3] for blocks in found.values() for block in blocks} == set(Stream)
    monkeypatch.setattr(bounds, "Stream", SHARED)
    assert shared(purposes(load)) == [
        ("sample of latents", "bound"),
        ("sample of latents", "naive bound"),
        ("bound", "naive bound"),
    ]


def test_values_of_a_sample_have_one_stream(load: Load) -> None:
    """`sample` with observed values, `complete` and `generate` draw from the same stream."""
    engine = autoregressive(load, "tiny", "onnxruntime")
    length = engine.data.length
    whole = engine.sample(3, 1, SEED)
    begun = np.where(np.arange(length) < 4, engine.data.in_order(whole.x), -1)
    again = engine.sample(3, 1, SEED, observed=engine.data.in_place(begun))
    assert np.array_equal(again.x, whole.x)
    for i, row in enumerate(begun):
        one = engine.complete(engine.data.in_place(row[None])[0], 1, 1, SEED, first_index=i)
        assert one.exact
        assert np.array_equal(one.x[0], whole.x[i]), (
            "the start of a sample is not completed to the sample"
        )
        (text,) = engine.generate([row[:4]], labels=1, seed=SEED, first_index=i)
        assert np.array_equal(text.tokens, engine.data.in_order(whole.x)[i, 4:])
    codes = load("codes", "onnxruntime")
    assert isinstance(codes, LatentEngine)
    assert codes.prior is not None
    inner = codes.prior.sample(3, 1, SEED).x.reshape(3, -1)
    assert np.array_equal(inner, codes.sample(3, 1, SEED).z)
