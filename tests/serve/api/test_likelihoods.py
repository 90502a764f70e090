"""Log-probabilities, classes, bounds and text over HTTP are those of the engine."""

from typing import Any

import numpy as np
import pytest

from ancestral.engine import LatentEngine
from ancestral.serve.api.text import pieces
from ancestral.text.tokenizer import Bytes
from tests.conftest import Load, autoregressive
from tests.serve.api.conftest import from_npy, post, refused, to_npy
from tests.serve.conftest import Running
from tests.text_toys import CONTEXT, SENTENCES

CLOSE = 1e-6
"""Largest difference of a log-probability, in nats: the calls are the same."""


def close(found: Any, wanted: Any) -> bool:
    return bool(np.allclose(np.array(found, float), wanted, rtol=0, atol=CLOSE))


@pytest.mark.parametrize("path", ["parallel", "steps"])
@pytest.mark.parametrize(("model", "labels"), [("tiny", [0, 1, 1]), ("table", None)])
def test_log_prob(
    running: Running, load: Load, model: str, labels: list[int] | None, path: Any
) -> None:
    engine = autoregressive(load, model, "onnxruntime")
    x = engine.sample(3, labels, seed=1).x
    body = {"model": model, "labels": labels, "path": path, "positions": True}
    found = post(running, "log_prob", x=x.tolist(), **body)
    wanted = engine.log_prob(x, labels, path=path)
    assert close(found["log_prob"], wanted)
    assert close(found["bits_per_dim"], -wanted / 9 / np.log(2))
    placed = np.array(found["position_log_prob"])
    assert placed.shape == x.shape
    by_position = placed.reshape(3, -1)[:, engine.data.order]
    assert close(by_position, engine.position_log_prob(x, labels, path=path))
    assert post(running, "log_prob", x=to_npy(x.astype(np.uint8)), **body) == found


def test_top_is_in_the_place_of_its_value(running: Running, load: Load) -> None:
    engine = autoregressive(load, "table", "onnxruntime")
    x = engine.sample(2, seed=1).x
    found = post(running, "log_prob", model="table", x=x.tolist(), top=3)["top"]
    wanted = engine.log_prob(x, top=3).top
    ids, nats, best = (np.array(found[name]) for name in ("ids", "log_prob", "most_likely"))
    assert (ids.shape, best.shape) == ((2, 3, 3, 3), (2, 3, 3))
    order = engine.data.order
    assert np.array_equal(ids.reshape(2, 9, 3)[:, order], wanted.ids)
    assert close(nats.reshape(2, 9, 3)[:, order], wanted.log_prob)
    assert np.array_equal(best.reshape(2, 9)[:, order], wanted.most_likely)


def test_text(running: Running, load: Load) -> None:
    engine = autoregressive(load, "text", "onnxruntime")
    text = " ".join(SENTENCES)
    ids = engine.tokenizer().encode(text)
    assert len(ids) > CONTEXT
    found = post(running, "log_prob", model="text", text=text, top=2, stride=5)
    wanted = engine.text_likelihood(ids, 5, top=2)
    assert wanted.top is not None
    assert found["ids"] == ids
    assert "".join(found["tokens"]) == text
    assert close(found["log_prob"], wanted.log_prob)
    assert close([found["total"], found["perplexity"]], [wanted.total, wanted.perplexity])
    assert close(found["bits_per_byte"], wanted.bits_per_byte(len(text.encode())))
    assert found["decodes"] is True
    assert found["seen"] == wanted.seen.tolist()
    assert found["top"]["ids"] == wanted.top.ids.tolist()
    same = post(running, "log_prob", model="text", ids=ids, top=2, stride=5)
    assert same == found | {"bits_per_byte": None, "decodes": None}


def test_tokens(running: Running, load: Load) -> None:
    tokenizer = autoregressive(load, "text", "onnxruntime").tokenizer()
    text = "naïve 😀 log"
    found = post(running, "tokenize", model="text", text=text)
    assert found["ids"] == tokenizer.encode(text)
    assert "".join(found["tokens"]) == text
    assert len(found["tokens"]) == len(found["ids"]) > len(text) // 2
    assert post(running, "detokenize", model="text", ids=found["ids"]) == {"text": text}
    assert post(running, "tokenize", model="text", text="") == {"ids": [], "tokens": []}
    assert refused(running, "tokenize", model="tiny", text="a")["code"] == "no_text"


def test_pieces_of_what_is_not_text() -> None:
    """Bytes that never make a character are not held back for ever."""
    ids = [*b"a", *[0x80] * 40, *"é".encode()]
    found = pieces(Bytes(), ids)
    assert found[0] == "a"
    assert max(map(len, found)) < 12
    assert "".join(found) == Bytes().decode(ids)


def test_classify(running: Running, load: Load) -> None:
    engine = autoregressive(load, "tiny", "onnxruntime")
    x = engine.sample(4, 1, seed=1).x
    found, wanted = post(running, "classify", model="tiny", x=x.tolist()), engine.classify(x)
    assert close(found["log_posterior"], wanted.log_posterior)
    assert close(found["log_joint"], wanted.log_joint)
    assert found["label"] == wanted.label.tolist()
    message = refused(running, "classify", model="table", x=x.tolist())["message"]
    assert message.startswith("classify: expected a model with classes")


@pytest.mark.parametrize("model", ["bernoulli", "linear", "codes"])
def test_latents(running: Running, load: Load, model: str) -> None:
    engine = load(model, "onnxruntime")
    assert isinstance(engine, LatentEngine)
    x = engine.sample(3, 0 if model == "codes" else None, seed=1).x
    given = to_npy(x)
    encoded, wanted = post(running, "encode", model=model, x=given), engine.encode(x)
    assert encoded.keys() == wanted.keys()
    assert all(close(encoded[name], wanted[name]) for name in wanted)
    means = post(running, "reconstruct", model=model, x=given)["x_mean"]
    assert close(means, engine.reconstruct(x))
    z = encoded["codes" if engine.codes else "mean"]
    decoded = post(running, "decode", model=model, z=z)
    parameters, mean = engine.decode(engine.means(x))
    assert close(decoded["parameters"], parameters)
    assert close(decoded["x_mean"], mean)
    found = post(running, "bound", model=model, x=given, k=8, seed=2, first_index=3)
    bound = engine.bound(x, 8, 2, first_index=3)
    for name in ("elbo", "iwae", "reconstruction", "kl", "stderr_elbo", "stderr_iwae", "ess"):
        assert close(found[name], getattr(bound, name)), name
    assert found["unreliable"] == bound.unreliable.tolist()
    assert close(found["bits_per_dim"], -bound.iwae / engine.data.length / np.log(2))
    assert (found["k"], found["seed"], found["first_index"]) == (8, 2, 3)


def test_infinity_is_null_in_lists_only(running: Running) -> None:
    """With one latent the standard error of the ELBO is infinite."""
    body = {"model": "bernoulli", "x": [[[0] * 3] * 3], "k": 1, "seed": 0}
    assert post(running, "bound", **body)["stderr_elbo"] == [None]
    arrays = post(running, "bound", **body, arrays="npy")
    assert from_npy(arrays["stderr_elbo"]) == [np.inf]
    assert from_npy(arrays["elbo"]).dtype == np.float64
