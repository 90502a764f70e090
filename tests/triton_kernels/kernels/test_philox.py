"""Philox on the device gives the bits of Philox on the host."""

import numpy as np
import pytest
import torch

from ancestral.philox import Stream, seed_key, to_uniform, uniforms
from tests.test_philox import KNOWN, words

pytestmark = pytest.mark.kernels
SEEDS = [0, 2**31, 2**32 - 1, 2**40 + 5, 2**63, 2**64 - 1]
INDICES = np.array([0, 1, 2, 1000, 2**31 - 1, 2**31, 2**32 - 1])


def made(key: torch.Tensor, index: torch.Tensor, length: int) -> np.ndarray:
    """Return the uniforms of positions 0 .. length - 1 of each index, made on the device."""
    from tests.triton_kernels.kernels.probes import fill

    u = torch.empty(len(index), length, device=index.device)
    fill[(len(index), -(-length // 128))](u, key, index, length, block_size=128)
    return u.cpu().numpy()


@pytest.mark.parametrize("known", range(len(KNOWN)))
def test_known_answers(device: torch.device, known: int) -> None:
    from tests.triton_kernels.kernels.probes import block

    counter, key, result = map(words, KNOWN[known])
    out = torch.full((4,), -1, device=device)
    block[(1,)](torch.tensor(counter + key, device=device), out)
    assert out.tolist() == result


@pytest.mark.parametrize("seed", SEEDS)
def test_uniforms(device: torch.device, seed: int) -> None:
    """Uniforms are right for every sample index and position, over several programs."""
    key = torch.tensor([*seed_key(seed), Stream.X], device=device)
    u = made(key, torch.tensor(INDICES, device=device), 150)
    expected = uniforms(seed, INDICES, np.arange(150))
    assert u.dtype == expected.dtype
    assert np.array_equal(u, expected)
    # By chance, less than one of 1,000 numbers of 23 bits agrees.
    few = np.arange(7)
    assert (u[:, :7] == uniforms(seed, few, INDICES).T).sum() <= 3, "index and position swapped"
    assert (u[:, 1:] == expected[:, :-1]).sum() <= 1, "the next position's"
    sevens = torch.arange(7).to(device)
    if seed_key(seed)[0] != seed_key(seed)[1]:
        other = made(key[[1, 0, 2]], sevens, 7)
        assert (other == uniforms(seed, few, few)).sum() <= 1, "words of the key"
    for stream in (Stream.PARTICLES, max(Stream)):
        key[2] = stream
        other = made(key, sevens, 7)
        assert np.array_equal(other, uniforms(seed, few, few, stream=stream))


def test_ends_of_the_interval(device: torch.device) -> None:
    from tests.triton_kernels.kernels.probes import convert

    bits = np.array([0, 511, 512, 2**31 - 1, 2**31, 2**32 - 512, 2**32 - 513, 2**32 - 1])
    out = torch.full((8,), torch.nan, device=device)
    convert[(1,)](torch.tensor(bits, device=device), out)
    assert np.array_equal(out.cpu().numpy(), to_uniform(bits.astype(np.uint32)))
