"""Models of bundles with latents return what the engine's methods return."""

import time
from typing import Any

import httpx
import numpy as np
import pytest

from ancestral.engine import LatentEngine
from tests.serve.conftest import Running, Serve
from tests.serve.inference.wire import document, infer, post, refused

TOYS = ("bernoulli", "linear", "convolved", "codes")


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    # A bound of so many latents is still running when its client goes.
    return serve(*TOYS, k=10**9)


@pytest.fixture(params=TOYS)
def toy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(running: Running, toy: str) -> LatentEngine:
    return running.server.served[toy].latent()


def events(engine: LatentEngine, n: int = 4) -> np.ndarray:
    data = engine.data
    return np.random.default_rng(1).integers(0, data.levels, (n, *data.event_shape))


def assert_equal(got: dict[str, np.ndarray], right: dict[str, Any]) -> None:
    """The same graphs on the same rows give the same bits."""
    assert list(got) == list(right)
    for name, array in got.items():
        assert array.shape == np.shape(right[name]), name
        assert array.tolist() == np.asarray(right[name]).tolist(), name


@pytest.mark.parametrize("binary", [True, False])
def test_sample(running: Running, toy: str, engine: LatentEngine, binary: bool) -> None:
    given = {
        "n": np.array([5]),
        "seed": np.array([9]),
        "first_index": np.array([2]),
        "temperature": np.array([0.5], np.float32),
    }
    labels = None
    if toy == "codes":
        labels = given["labels"] = np.arange(5) % 2
    from ancestral.sampling import Sampling

    right = engine.sample(5, labels, 9, 2, Sampling(temperature=0.5))
    got = infer(running.http, f"{toy}.sample", given, binary=binary)
    assert got["x"].dtype == right.x.dtype
    assert_equal(
        got,
        {
            "x": right.x,
            "z": right.z,
            "log_prior": right.log_prior,
            "log_likelihood": right.log_likelihood,
            "seed": [9],
        },
    )


@pytest.mark.parametrize("binary", [True, False])
def test_encode_and_decode(running: Running, toy: str, engine: LatentEngine, binary: bool) -> None:
    x = events(engine)
    got = infer(running.http, f"{toy}.encode", {"x": x}, binary=binary)
    assert_equal(got, engine.encode(x))
    z = engine.means(x)
    parameters, mean = engine.decode(z)
    decoded = infer(running.http, f"{toy}.decode", {"z": z}, binary=binary)
    assert_equal(decoded, {"parameters": parameters, "mean": mean})
    again = infer(running.http, f"{toy}.reconstruct", {"x": x}, binary=binary)
    assert_equal(again, {"mean": engine.reconstruct(x)})


def test_metadata_names_the_outputs(running: Running, toy: str, engine: LatentEngine) -> None:
    """Names, types and shapes of the metadata are those of the answers."""
    x = events(engine)
    inputs = {"encode": {"x": x}, "decode": {"z": engine.means(x)}, "reconstruct": {"x": x}}
    for method in ("sample", "encode", "decode", "reconstruct", "bound"):
        given = inputs.get(method, {"x": x} if method == "bound" else {"n": np.array([4])})
        if toy == "codes" and method == "sample":
            given["labels"] = np.array([1])
        outputs = infer(running.http, f"{toy}.{method}", given)
        found = running.http.get(f"/v2/models/{toy}.{method}").json()["outputs"]
        assert [each["name"] for each in found] == list(outputs)
        for each in found:
            got = outputs[each["name"]].shape
            wanted = [4 if size == -1 else size for size in each["shape"]]
            assert list(got) == wanted, each["name"]


@pytest.mark.parametrize("binary", [True, False])
def test_bound(running: Running, toy: str, engine: LatentEngine, binary: bool) -> None:
    x = events(engine)
    given = {"x": x, "k": np.array([8]), "seed": np.array([3]), "first_index": np.array([1])}
    right = engine.bound(x, 8, 3, first_index=1)
    got = infer(running.http, f"{toy}.bound", given, binary=binary)
    assert got.pop("seed").tolist() == [3]
    assert got.pop("unreliable").tolist() == right.unreliable.tolist()
    assert ("kl_closed" in got) == (right.kl_closed is not None)
    assert_equal(got, {name: getattr(right, name) for name in got})
    assert {"elbo", "iwae", "reconstruction", "kl", "stderr_elbo", "stderr_iwae", "ess"} <= set(got)


def test_bound_of_a_class(running: Running) -> None:
    engine = running.server.served["codes"].latent()
    x = events(engine)
    got = infer(running.http, "codes.bound", {"x": x, "labels": np.array([1])})
    assert got["elbo"].tolist() == engine.bound(x, labels=1).elbo.tolist()


def test_reals_and_levels_of_a_density(running: Running) -> None:
    """A level i stands for i + 1/2; a real number for itself."""
    engine = running.server.served["linear"].latent()
    x = events(engine)
    levels = infer(running.http, "linear.encode", {"x": x})
    reals = infer(running.http, "linear.encode", {"x": (x + 0.5).astype(np.float32)})
    assert levels["mean"].tolist() == reals["mean"].tolist()
    other = infer(running.http, "linear.encode", {"x": x.astype(np.float64)})
    assert other["mean"].tolist() == engine.encode(x.astype(np.float64))["mean"].tolist()
    assert (other["mean"] != levels["mean"]).any()


def test_a_client_that_goes_away(running: Running) -> None:
    """A long bound ends when its client goes, and the next call runs."""
    engine = running.server.served["bernoulli"].latent()
    calls = running.server.served["bernoulli"].calls
    given = {"x": events(engine), "k": np.array([10**9])}
    text, content = document(given, binary=True)
    with (
        httpx.Client(base_url=running.url, timeout=0.5) as http,
        pytest.raises(httpx.ReadTimeout),
    ):
        post(http, "bernoulli.bound", text, content)
    end = time.monotonic() + 20
    while calls.pending:
        assert time.monotonic() < end, "the call goes on"
        time.sleep(0.01)
    infer(running.http, "bernoulli.encode", {"x": events(engine)})


def test_the_limit_of_latents(running: Running) -> None:
    """It is that of /v1/ancestral/bound."""
    most = running.server.settings.k
    given = {"x": np.zeros((1, 3, 3), np.int64), "k": np.array([most + 1])}
    message = refused(running.http, "bernoulli.bound", *document(given, binary=True))
    assert message == f"input k: expected at most {most} latents of each event, got {most + 1}"
