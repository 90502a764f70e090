"""NVIDIA's client of the inference protocol, over HTTP with binary tensors and with JSON."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, LatentEngine
from tests.conftest import Load
from tests.laws.laws import assert_close, limits
from tests.serve.process import serving

http = pytest.importorskip("tritonclient.http", exc_type=ImportError)
triton = pytest.importorskip("tritonclient.utils", exc_type=ImportError)
pytestmark = pytest.mark.clients
SECONDS = 120
N = 6
BUNDLES = ("tiny", "bernoulli")


@pytest.fixture(scope="module")
def client(bundles: Callable[[str], Path]) -> Iterator[Any]:
    """A client of a server in a process of its own."""
    with serving(*map(bundles, BUNDLES)) as process:
        made = http.InferenceServerClient(
            process.url.removeprefix("http://"), network_timeout=SECONDS
        )
        assert made.is_server_ready()
        yield made
        made.close()


def infer(client: Any, model: str, arrays: dict[str, np.ndarray], *, binary: bool) -> Any:
    """Run a model on arrays; both ways are binary, or both are JSON."""
    inputs = []
    for name, array in arrays.items():
        each = http.InferInput(name, list(array.shape), triton.np_to_triton_dtype(array.dtype))
        each.set_data_from_numpy(array, binary_data=binary)
        inputs.append(each)
    names = [each["name"] for each in client.get_model_metadata(model)["outputs"]]
    outputs = [http.InferRequestedOutput(name, binary_data=binary) for name in names]
    return client.infer(model, inputs, outputs=outputs)


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_model_ready("tiny.sample")
    assert client.is_model_ready("bernoulli.bound", "1")
    assert not client.is_model_ready("tiny.bound")
    server = client.get_server_metadata()
    assert (server["name"], server["extensions"]) == ("ancestral", ["binary_tensor_data"])
    models = [each["name"] for each in client.get_model_repository_index()]
    assert len(models) == 8
    for name in models:
        found = client.get_model_metadata(name, model_version="1")
        assert found["name"] == name
        assert found["outputs"]


@pytest.mark.parametrize("binary", [True, False])
def test_autoregressive(client: Any, load: Load, binary: bool) -> None:
    engine = load("tiny", "onnxruntime")
    assert isinstance(engine, AutoregressiveEngine)
    labels = np.arange(N) % 2
    given = {"n": np.array([N]), "seed": np.array([2**63], np.uint64), "labels": labels}
    drawn = infer(client, "tiny.sample", given, binary=binary)
    right = engine.sample(N, labels=labels, seed=2**63)
    x = drawn.as_numpy("x")
    same = (x == right.x).reshape(N, -1).all(axis=1)
    assert same.sum() >= N - 1
    nats = limits(engine).nats
    assert_close(drawn.as_numpy("log_prob")[same], right.log_prob[same], nats, "log_prob")
    found = infer(client, "tiny.log_prob", {"x": x, "labels": labels}, binary=binary)
    assert_close(found.as_numpy("log_prob"), engine.log_prob(x, labels), nats, "log_prob")
    classes = infer(client, "tiny.classify", {"x": x}, binary=binary)
    assert classes.as_numpy("label").tolist() == engine.classify(x).label.tolist()


@pytest.mark.parametrize("binary", [True, False])
def test_latent(client: Any, load: Load, binary: bool) -> None:
    engine = load("bernoulli", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    drawn = infer(client, "bernoulli.sample", {"n": np.array([N])}, binary=binary)
    x, z = drawn.as_numpy("x"), drawn.as_numpy("z")
    assert (x.shape, z.dtype) == ((N, 3, 3), np.float32)
    seed = int(drawn.as_numpy("seed")[0])
    assert_close(z, engine.sample(N, seed=seed).z, limits(engine).latent, "z")
    given = {"x": x, "k": np.array([16]), "seed": np.array([3])}
    found, right = infer(client, "bernoulli.bound", given, binary=binary), engine.bound(x, 16, 3)
    assert found.as_numpy("unreliable").tolist() == right.unreliable.tolist()
    for name in ("elbo", "iwae", "stderr_iwae", "kl_closed"):
        assert_close(found.as_numpy(name), getattr(right, name), limits(engine).nats, name)
    mean = infer(client, "bernoulli.encode", {"x": x}, binary=binary).as_numpy("mean")
    decoded = infer(client, "bernoulli.decode", {"z": mean}, binary=binary).as_numpy("mean")
    again = infer(client, "bernoulli.reconstruct", {"x": x}, binary=binary).as_numpy("mean")
    assert_close(decoded, again, limits(engine).mean, "mean")


def test_all_outputs(client: Any) -> None:
    """Without a list of outputs the client asks for all of them, as bytes."""
    labels = http.InferInput("labels", [1], "INT64")
    labels.set_data_from_numpy(np.array([1]))
    found = client.infer("tiny.sample", [labels], request_id="a-1")
    assert found.get_response()["id"] == "a-1"
    assert found.as_numpy("x").shape == (1, 3, 3)
    assert found.as_numpy("seed").dtype == np.uint64


def test_errors(client: Any) -> None:
    """The words of the server reach the caller."""
    x = http.InferInput("x", [1, 2, 2], "INT64")
    x.set_data_from_numpy(np.zeros((1, 2, 2), np.int64))
    with pytest.raises(
        triton.InferenceServerException, match=r"input x: expected shape \[-1, 3, 3\]"
    ):
        client.infer("tiny.classify", [x])
    with pytest.raises(triton.InferenceServerException, match=r"expected one of tiny\.sample"):
        client.get_model_metadata("nope")
