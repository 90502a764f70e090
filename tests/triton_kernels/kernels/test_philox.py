"""Philox on the device: the bits of the host's."""

import numpy as np
import pytest
import torch

from ancestral.errors import InvalidInput
from ancestral.philox import Stream, seed_key, to_uniform, uniforms
from tests.test_philox import KNOWN, words

pytestmark = pytest.mark.kernels
SEEDS = [0, 2**31, 2**32 - 1, 2**40 + 5, 2**63, 2**64 - 1]
INDICES = np.array([0, 1, 2, 1000, 2**31 - 1, 2**31, 2**32 - 1])


@pytest.mark.parametrize("known", range(len(KNOWN)))
def test_known_answers(device: torch.device, known: int) -> None:
    from tests.triton_kernels.kernels.probes import block

    counter, key, result = map(words, KNOWN[known])
    out = torch.full((4,), -1, device=device)
    block[(1,)](torch.tensor(counter + key, device=device), out)
    assert out.tolist() == result


@pytest.mark.parametrize("seed", SEEDS)
def test_uniforms(device: torch.device, seed: int) -> None:
    """Every sample index and position, over more than one program."""
    from ancestral.triton_kernels.philox import Seeds, launch

    key = torch.tensor([*seed_key(seed), Stream.X], device=device)
    u = launch(Seeds(key, torch.tensor(INDICES, device=device)), 150).cpu().numpy()
    expected = uniforms(seed, INDICES, np.arange(150))
    assert u.dtype == expected.dtype
    assert np.array_equal(u, expected)
    # Of 1,000 numbers of 23 bits, less than one agrees by chance.
    few = np.arange(7)
    assert (u[:, :7] == uniforms(seed, few, INDICES).T).sum() <= 3, "index and position swapped"
    assert (u[:, 1:] == expected[:, :-1]).sum() <= 1, "the neighbour's"
    sevens = torch.arange(7).to(device)
    if seed_key(seed)[0] != seed_key(seed)[1]:
        other = launch(Seeds(key[[1, 0, 2]], sevens), 7)
        assert (other.cpu().numpy() == uniforms(seed, few, few)).sum() <= 1, "words of the key"
    for stream in (Stream.PARTICLES, max(Stream)):
        key[2] = stream
        other = launch(Seeds(key, sevens), 7)
        assert np.array_equal(other.cpu().numpy(), uniforms(seed, few, few, stream=stream))


def test_ends_of_the_interval(device: torch.device) -> None:
    from tests.triton_kernels.kernels.probes import convert

    bits = np.array([0, 511, 512, 2**31 - 1, 2**31, 2**32 - 512, 2**32 - 513, 2**32 - 1])
    out = torch.full((8,), torch.nan, device=device)
    convert[(1,)](torch.tensor(bits, device=device), out)
    assert np.array_equal(out.cpu().numpy(), to_uniform(bits.astype(np.uint32)))


def test_refused(device: torch.device) -> None:
    from ancestral.triton_kernels.philox import Seeds, launch

    key, index = torch.zeros(3).long().to(device), torch.arange(3, device=device)
    assert launch(Seeds(key, index[:0]), 4).shape == (0, 4)
    for seeds, length, name in (
        (Seeds(key[:1], index), 4, "key"),
        (Seeds(key.int(), index), 4, "key"),
        (Seeds(key, index.int()), 4, "index"),
        (Seeds(key, index[None]), 4, "index"),
        (Seeds(key, index.to("meta")), 4, "index"),
        (Seeds(key, index), 0, "T"),
    ):
        with pytest.raises(InvalidInput, match=f"{name}: expected"):
            launch(seeds, length)
