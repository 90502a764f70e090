"""Samples and completions over HTTP are those of the engine, whatever else is drawn."""

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ancestral.engine import LatentEngine, Request, Sampling
from ancestral.serve import samples
from ancestral.serve.keys import Keys
from tests.conftest import Load, autoregressive
from tests.serve.api.conftest import post, refused
from tests.serve.conftest import Running, Serve

CLOSE = 1e-5
"""Largest difference of a log-probability in other company, in nats."""
TINY = "tiny"
REQUESTS: tuple[dict[str, Any], ...] = (
    {"model": TINY, "n": 1, "seed": 0, "labels": 0},
    {"model": TINY, "n": 17, "seed": 1, "labels": 1, "positions": True},
    {"model": TINY, "n": 3, "seed": 2**64 - 1, "labels": [0, 1, 0], "first_index": 5},
    {"model": TINY, "n": 4, "seed": 3, "labels": 1, "temperature": 0.5},
    {"model": TINY, "n": 4, "seed": 3, "labels": 1, "temperature": 0},
    {"model": TINY, "n": 6, "seed": 4, "labels": 0, "top_k": 2, "top_p": 0.9, "min_p": 0.01},
    {
        "model": TINY,
        "n": 6,
        "seed": 5,
        "labels": 0,
        "logit_bias": {"1": 0.5, "2": None},
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": -0.2,
    },
    {
        "model": TINY,
        "n": 5,
        "seed": 6,
        "labels": 1,
        "observed": [[0, 1, 2], [-1, -1, 1], [-1, -1, -1]],
        "positions": True,
    },
    {"model": TINY, "n": 1, "seed": 7, "labels": 0, "observed": [[0, 1, 2], [0, 1, 1], [2, 0, 1]]},
    {"model": "table", "n": 9, "seed": 8, "positions": True},
    {"model": "startless", "n": 4, "seed": 9, "observed": [2, -1, -1, -1, 1, -1]},
    {"model": "text", "n": 40, "seed": 10, "positions": True},
)


def expected(load: Load, body: dict[str, Any]) -> dict[str, Any]:
    """Return what the engine returns for the fields of a body."""
    engine = autoregressive(load, body["model"], "onnxruntime")
    options = {key: value for key, value in body.items() if key not in ("model", "positions")}
    names = Sampling.__dataclass_fields__.keys() & options.keys()
    settings = {name: options.pop(name) for name in names}
    if "logit_bias" in settings:
        settings["logit_bias"] = {
            int(key): -np.inf if nats is None else nats
            for key, nats in settings["logit_bias"].items()
        }
    found = engine.sample(**options, sampling=Sampling(**settings))
    x, labels = found.x, options.get("labels")
    return {
        "x": x,
        "labels": found.labels,
        "log_prob": found.log_prob,
        "log_q": found.log_q,
        "bits_per_dim": -found.log_prob / engine.data.length / np.log(2),
        "by_position": engine.position_log_prob(x, labels, path="steps"),
        "order": engine.data.order,
    }


def check(found: dict[str, Any], wanted: dict[str, Any], body: dict[str, Any]) -> None:
    assert np.array_equal(found["x"], wanted["x"])
    labels = found["labels"]
    assert (labels is None) == (wanted["labels"] is None)
    assert labels is None or labels == wanted["labels"].tolist()
    for name in ("log_prob", "log_q", "bits_per_dim"):
        assert np.allclose(found[name], wanted[name], rtol=0, atol=CLOSE), name
    assert (found["seed"], found["first_index"]) == (body["seed"], body.get("first_index", 0))
    assert ("position_log_prob" in found) == ("positions" in body)
    if "positions" in body:
        flat = np.array(found["position_log_prob"]).reshape(len(found["x"]), -1)
        by_position = flat[:, wanted["order"]]
        assert np.allclose(by_position, wanted["by_position"], rtol=0, atol=CLOSE)


def test_any_company_draws_the_same(running: Running, load: Load) -> None:
    """48 requests of 16 clients at a time, in two orders, give each what the engine gives."""
    wanted = [expected(load, body) for body in REQUESTS]
    # A value that ends a text does not end an event.
    assert 0 in wanted[-1]["x"][:, :-1]
    order = [*range(len(REQUESTS)), *reversed(range(len(REQUESTS)))] * 2
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: post(running, "sample", **REQUESTS[i]), order))
    for i, found in zip(order, answers, strict=True):
        check(found, wanted[i], REQUESTS[i])
    running.idle()


def faulty(fault: dict[str, Any], **fields: Any) -> Request:
    return Request(**fields | fault)


def test_company_planted(running: Running, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults that the law finds: noise of another index, an event that a stop value ends."""
    faults: tuple[tuple[int, dict[str, Any]], ...] = ((1, {"index": 0}), (-1, {"stop": None}))
    for place, fault in faults:
        body = REQUESTS[place]
        wanted = expected(load, body)
        check(post(running, "sample", **body), wanted, body)
        with monkeypatch.context() as patch:
            patch.setattr(samples, "Request", functools.partial(faulty, fault))
            found = post(running, "sample", **body)
        with pytest.raises(AssertionError):
            check(found, wanted, body)


def test_prefixes_are_shared_by_one_key_only(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("a" * 16, "b" * 16)
    running, scopes = serve(TINY, keys=Keys(keys)), []

    def recorded(**fields: Any) -> Request:
        scopes.append(fields["prefix_scope"])
        return Request(**fields)

    monkeypatch.setattr(samples, "Request", recorded)
    for key in (*keys, keys[0]):
        headers = {"authorization": f"Bearer {key}"}
        body = {"model": TINY, "labels": 0}
        assert running.http.post("/v1/ancestral/sample", json=body, headers=headers).is_success
    assert scopes[0] == scopes[2] != scopes[1]
    assert running.http.post("/v1/ancestral/sample", json=body).status_code == 401


def test_a_seed_that_was_not_given_is_returned(running: Running) -> None:
    first, second = (post(running, "sample", model=TINY, n=2, labels=0) for _ in range(2))
    assert first["seed"] != second["seed"]
    assert first["seed"] < 2**53
    again = post(running, "sample", model=TINY, n=2, labels=0, seed=first["seed"])
    assert again["x"] == first["x"]


def test_latents(running: Running, load: Load) -> None:
    for model, labels in (("bernoulli", None), ("linear", None), ("codes", 1)):
        engine = load(model, "onnxruntime")
        assert isinstance(engine, LatentEngine)
        for mean in (False, True):
            body = {"model": model, "n": 3, "seed": 4, "first_index": 2, "labels": labels}
            settings = {"temperature": 0.7}
            found = post(running, "sample", **body, **settings, mean=mean)
            wanted = engine.sample(3, labels, 4, 2, Sampling(**settings), mean)
            assert np.array_equal(np.float32(found["x"]), wanted.x.astype(np.float32))
            assert np.array_equal(np.float32(found["z"]), wanted.z.astype(np.float32))
            assert found["log_prior"] == wanted.log_prior.tolist()
            assert (found["log_likelihood"] is None) == mean
            assert (found["seed"], found["first_index"]) == (4, 2)


@pytest.mark.parametrize("observed", ["first", "later"])
def test_complete(running: Running, load: Load, observed: str) -> None:
    engine = autoregressive(load, TINY, "onnxruntime")
    event = np.full((3, 3), -1)
    event[0 if observed == "first" else 2] = [1, 0, 2]
    body = {"model": TINY, "particles": 16, "labels": 1, "seed": 3}
    found = post(running, "complete", observed=event.tolist(), first_index=7, **body)
    wanted = engine.complete(event, 16, 1, 3, 7)
    assert np.array_equal(found["x"], wanted.x)
    assert found["chosen"] == wanted.chosen.tolist()
    assert found["exact"] == wanted.exact == (observed == "first")
    assert found["resampled"] == wanted.resampled
    for name in ("log_prob", "log_weight", "log_prob_observed", "ess"):
        assert np.allclose(found[name], getattr(wanted, name), rtol=0, atol=CLOSE), name
    # Several events, or one several times, have an axis more.
    several = post(running, "complete", observed=[event.tolist()] * 2, **body)
    for i in range(2):
        wanted = engine.complete(event, 16, 1, 3, 16 * i)
        assert np.array_equal(several["x"][i], wanted.x)
        assert np.isclose(several["log_prob_observed"][i], wanted.log_prob_observed, atol=CLOSE)
    assert post(running, "complete", observed=event.tolist(), n=2, **body) == several


def test_limits(running: Running) -> None:
    rows = running.server.settings.rows
    found = refused(running, "sample", model=TINY, n=rows + 1, labels=0)
    assert found["message"] == f"n: expected at most {rows} in one request, got {rows + 1}"
    event = [[-1] * 3] * 3
    found = refused(running, "complete", model=TINY, observed=event, labels=0, particles=rows + 1)
    assert (found["status"], found["param"]) == (400, "particles")


def test_a_missing_graph_is_not_a_failure(running: Running) -> None:
    """A bundle without the graph of a filter refuses it; the engine goes on."""
    found = refused(running, "sample", model="text", top_k=3)
    assert (found["status"], found["code"]) == (400, "no_graph")
    found = refused(running, "sample", model="codes", labels=0, logit_bias={"0": 1})
    assert (found["status"], found["code"]) == (400, "no_graph")
    assert post(running, "sample", model="text")["x"]
    health = running.http.get("/health").json()
    assert set(health["bundles"].values()) == {"ready"}
