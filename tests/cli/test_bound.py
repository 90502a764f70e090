"""`bound`: prints the engine's numbers, and the quantity that they bound."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ancestral.engine import LatentEngine

from .conftest import Bundles, Cli, saved

RANDOM = np.random.default_rng(0)
BINARY = RANDOM.integers(0, 2, (5, 3, 3))
IMAGES = RANDOM.integers(0, 3, (6, 4, 4))
LEVELS = RANDOM.integers(0, 4, (3, 5))
ELBO = r"ELBO (\S+) \+- (\S+) nats; at most (\S+) \+- \S+ bits/dim"


def test_bounds(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """stdout has a line per event, the file has all terms, and the summary names each bound."""
    bundle, events = bundles("bernoulli"), saved(tmp_path, x=BINARY)
    expected = LatentEngine.load(bundle).bound(BINARY, 16, 5)
    options = ["-k", 16, "--seed", 5, "--threads", 1]
    result = cli("bound", bundle, events, *options)
    assert result.code == 0, result.err
    rows = np.loadtxt(io.StringIO(result.out))
    names = ("elbo", "iwae", "stderr_iwae", "ess")
    np.testing.assert_allclose(rows[:, :2], np.stack([expected.elbo, expected.iwae], 1), atol=1e-4)
    np.testing.assert_allclose(rows[:, 2], expected.stderr_iwae, atol=1e-4)
    assert rows.shape == (5, len(names))
    elbo, error, bits = map(float, re.search(ELBO, result.err).groups())  # type: ignore[union-attr]
    assert elbo == pytest.approx(expected.elbo.mean(), abs=1e-3)
    assert error == pytest.approx(expected.elbo.std(ddof=1) / 5**0.5, abs=1e-3)
    assert bits == pytest.approx(-elbo / (9 * np.log(2)), abs=1e-3)
    for word in ("lower bounds on log p(x)", "an upper bound", "in closed form", "of 5 events"):
        assert word in result.err
    out = tmp_path / "made" / "bound.npz"
    result = cli("bound", bundle, events, *options, "-o", out)
    assert (result.code, result.out) == (0, "")
    got = np.load(out)
    for name in (*names, "reconstruction", "kl", "kl_closed", "stderr_elbo"):
        np.testing.assert_allclose(got[name], getattr(expected, name), rtol=1e-3, atol=1e-4)
    assert int(got["k"]) == 16


def test_bounds_as_json(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    events = saved(tmp_path, x=BINARY[:1])
    options = ["-k", 4, "--proposal", "prior", "--threads", 1, "--json"]
    result = cli("bound", bundles("bernoulli"), events, *options)
    document = json.loads(result.out)
    expected = LatentEngine.load(bundles("bernoulli")).bound(BINARY[:1], 4, proposal="prior")
    assert document["proposal"] == "prior"
    assert document["lower_bound_on"] == "log p(x)"
    assert (document["events"], document["k"], document["unreliable"]) == (1, 4, 1)
    assert document["nats"]["iwae"]["mean"] == pytest.approx(expected.iwae[0], abs=1e-4)
    assert document["nats"]["iwae"]["error"] is None
    bits = document["bits_per_dim_upper_bound"]["iwae"]["mean"]
    assert bits == pytest.approx(-expected.iwae[0] / (9 * np.log(2)), abs=1e-4)
    assert len(document["elbo"]) == len(document["ess"]) == 1


@pytest.mark.parametrize(("real", "words"), [(False, "of x + u"), (True, "of x:")])
def test_bounds_of_a_density(
    cli: Cli, bundles: Bundles, tmp_path: Path, real: bool, words: str
) -> None:
    x = LEVELS + 0.25 if real else LEVELS
    events = saved(tmp_path, x=x)
    result = cli("bound", bundles("linear"), events, "-k", 16, "--threads", 1)
    assert result.code == 0, result.err
    assert f"{words}" in result.err
    assert "do not compare it with exact bits/dim" in result.err
    rows = np.loadtxt(io.StringIO(result.out))
    np.testing.assert_allclose(
        rows[:, 1], LatentEngine.load(bundles("linear")).bound(x, 16).iwae, atol=1e-3
    )


def test_bounds_of_codes(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """The bound is on p(x) even if the file has labels; `--label` or `--labelled` uses labels."""
    bundle, y = bundles("codes"), np.arange(6) % 2
    events, engine = saved(tmp_path, x=IMAGES, y=y), LatentEngine.load(bundles("codes"))
    for options, labels in (([], None), (["--label", 1], 1), (["--labelled"], y)):
        result = cli("bound", bundle, events, *options, "-k", 2, "--threads", 1)
        assert result.code == 0, result.err
        rows = np.loadtxt(io.StringIO(result.out))
        np.testing.assert_allclose(rows[:, 0], engine.bound(IMAGES, labels=labels).elbo, atol=1e-3)
        bounded = "log p(x)" if labels is None else "log p(x | y)"
        assert f"lower bounds on {bounded}" in result.err
        assert "log p(x | z) + log p(z)" in result.err
        assert "ess" not in result.err, "all draws of codes are equal, so an ess has no meaning"
