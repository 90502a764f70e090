"""Models of autoregressive bundles return what the engine's methods return."""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Sampling
from ancestral.engine.noise import Noise
from ancestral.serve.keys import Keys
from ancestral.serve.rows import Rows
from tests.laws.laws import assert_close, assert_same_draws, limits, margins, start_values
from tests.serve.conftest import Running, Serve
from tests.serve.inference.wire import TYPES, document, infer, post

SEED = 2**63 + 5
N = 24


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("tiny", "startless", "table", "wavenet", "lstm", slots=5)


def engine_of(running: Running, toy: str) -> AutoregressiveEngine:
    """The engine that the server runs."""
    return running.server.served[toy].autoregressive()


def one(value: Any, dtype: str = "INT64") -> np.ndarray:
    return np.array([value], TYPES[dtype])


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("toy", ["tiny", "startless", "table", "wavenet"])
def test_samples(running: Running, toy: str, binary: bool) -> None:
    """Samples of a seed are those of the engine, in slots that others have used."""
    engine, first = engine_of(running, toy), 7
    data = engine.data
    given = {"n": one(N), "seed": one(SEED, "UINT64"), "first_index": one(first)}
    arguments: dict[str, Any] = {}
    label = None
    if data.num_classes is not None:
        label = given["labels"] = arguments["labels"] = np.arange(N) % data.num_classes
    if engine.first_position:
        observed = data.in_place(start_values(engine, N))
        given["observed"] = arguments["observed"] = observed
    expected = engine.sample(N, seed=SEED, first_index=first, **arguments)
    got = infer(running.http, f"{toy}.sample", given, binary=binary)
    assert list(got) == ["x", "log_prob", "log_q", "seed"]
    assert got["seed"].tolist() == [SEED]
    assert got["x"].shape == (N, *data.event_shape)
    x, right = data.in_order(got["x"]), data.in_order(expected.x)
    u = Noise(SEED, first).uniforms(N, data.length)
    assert_same_draws(x, right, margins(toy, right, label, u), limits(engine).cdf)
    same = (x == right).all(axis=1)
    assert same.mean() > 0.9
    for name in ("log_prob", "log_q"):
        assert_close(got[name][same], getattr(expected, name)[same], limits(engine).nats, name)
    running.idle()


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.5},
        {"top_k": 2, "temperature": 2.0},
        {"top_p": 0.75},
        {"min_p": 0.5, "repetition_penalty": 2.0},
        {"presence_penalty": 1.5, "frequency_penalty": -0.5},
        {"temperature": 0.0},
    ],
    ids=str,
)
def test_settings(running: Running, settings: dict[str, float]) -> None:
    engine = engine_of(running, "tiny")
    given = {"n": one(N), "seed": one(3), "labels": one(1)}
    for name, value in settings.items():
        given[name] = one(value, "INT64" if name == "top_k" else "FP32")
    got = infer(running.http, "tiny.sample", given)
    expected = engine.sample(N, labels=1, seed=3, sampling=Sampling(**settings))  # type: ignore[arg-type]
    assert_mostly_same(engine, got, expected)
    plain = infer(running.http, "tiny.sample", {"n": one(N), "seed": one(3), "labels": one(1)})
    assert (plain["x"] != got["x"]).any()


def test_bias(running: Running) -> None:
    """A bias of -inf bans a value; JSON cannot say it, bytes can."""
    engine = engine_of(running, "tiny")
    bias = np.array([0.5, -np.inf, 0], np.float32)
    given = {"n": one(N), "seed": one(4), "labels": one(0), "logit_bias": bias}
    got = infer(running.http, "tiny.sample", given)
    assert 1 not in got["x"]
    sampling = Sampling(logit_bias={0: 0.5, 1: -np.inf})
    assert_mostly_same(engine, got, engine.sample(N, labels=0, seed=4, sampling=sampling))


def assert_mostly_same(
    engine: AutoregressiveEngine, got: dict[str, np.ndarray], right: Any
) -> None:
    """Rows are equal but for a near tie, and their log-probabilities within the table."""
    same = (got["x"] == right.x).reshape(len(right), -1).all(axis=1)
    assert same.sum() >= len(right) - 1
    for name in ("log_prob", "log_q"):
        assert_close(got[name][same], getattr(right, name)[same], limits(engine).nats, name)


@pytest.mark.parametrize("several", [True, False])
def test_observed(running: Running, several: bool) -> None:
    """Observed values are kept, at the beginning and between drawn ones."""
    engine = engine_of(running, "tiny")
    event = np.array([[2, 0, -1], [-1, 1, -1], [-1, -1, 2]])
    observed = np.stack(
        [(event + i * (event >= 0)) % 3 * (event >= 0) - (event < 0) for i in range(N)]
    )
    observed = observed if several else observed[:1]
    given = {"n": one(N), "seed": one(8), "labels": one(1), "observed": observed}
    got = infer(running.http, "tiny.sample", given)
    kept = np.broadcast_to(observed, got["x"].shape)
    assert (got["x"][kept >= 0] == kept[kept >= 0]).all()
    assert_mostly_same(engine, got, engine.sample(N, labels=1, seed=8, observed=observed))


def test_all_observed(running: Running) -> None:
    engine = engine_of(running, "tiny")
    observed = np.arange(9).reshape(1, 3, 3) % 3
    got = infer(running.http, "tiny.sample", {"labels": one(1), "observed": observed})
    assert (got["x"] == observed).all()
    assert got["log_q"].tolist() == [0]
    right = engine.sample(1, labels=1, observed=observed)
    assert_close(got["log_prob"], right.log_prob, limits(engine).nats, "log_prob")


def test_a_seed_that_is_not_given(running: Running) -> None:
    given = {"n": one(N), "labels": one(0)}
    first, second = (infer(running.http, "tiny.sample", given) for _ in range(2))
    assert first["seed"] != second["seed"]
    again = infer(running.http, "tiny.sample", given | {"seed": first["seed"]})
    assert (again["x"] == first["x"]).mean() > 0.9
    assert (second["x"] != first["x"]).any()


@pytest.mark.parametrize("binary", [True, False])
def test_log_prob(running: Running, binary: bool) -> None:
    """The same graph on the same rows gives the same bits."""
    for toy in ("tiny", "table", "lstm"):
        engine = engine_of(running, toy)
        data = engine.data
        x = np.random.default_rng(1).integers(0, data.levels, (10, *data.event_shape))
        given, labels = {"x": x}, None
        if toy == "tiny":
            labels = given["labels"] = np.arange(10) % 2
        got = infer(running.http, f"{toy}.log_prob", given, binary=binary)
        assert got["log_prob"].tolist() == engine.log_prob(x, labels).tolist()
    one_label = infer(running.http, "lstm.log_prob", {"x": x, "labels": one(1)}, binary=binary)
    assert one_label["log_prob"].tolist() == engine.log_prob(x, 1).tolist()


def test_classify(running: Running) -> None:
    engine = engine_of(running, "tiny")
    x = np.random.default_rng(2).integers(0, 3, (6, 3, 3))
    got, right = infer(running.http, "tiny.classify", {"x": x}), engine.classify(x)
    assert list(got) == ["log_posterior", "log_joint", "label"]
    for name, array in got.items():
        assert array.tolist() == getattr(right, name).tolist()


@pytest.mark.parametrize("datatype", [name for name in TYPES if name != "BOOL"])
@pytest.mark.parametrize("binary", [True, False])
def test_datatypes(running: Running, datatype: str, binary: bool) -> None:
    """All types of numbers give the result of INT64, if the values are whole."""
    x = np.random.default_rng(3).integers(0, 3, (5, 3, 3))
    given = {"x": x.astype(TYPES[datatype]), "labels": one(1, datatype)}
    got = infer(running.http, "tiny.log_prob", given, binary=binary)
    right = engine_of(running, "tiny").log_prob(x, 1)
    assert got["log_prob"].tolist() == right.tolist()


def test_flat_data_and_the_id(running: Running) -> None:
    x = np.arange(18).reshape(2, 3, 3) % 3
    given, _ = document({"x": x, "labels": one(0)}, binary=False, id="a 1", other=[1])
    nested = post(running.http, "tiny.log_prob", given)
    given["inputs"][0]["data"] = x.reshape(-1).tolist()
    flat = post(running.http, "tiny.log_prob", given)
    assert flat.json() == nested.json()
    assert flat.json()["id"] == "a 1"
    assert (flat.json()["model_name"], flat.json()["model_version"]) == ("tiny.log_prob", "1")
    assert flat.headers["x-ignored-fields"] == "other"


def test_some_outputs(running: Running) -> None:
    """Outputs come in the order that was asked for, each in its own form."""
    given, _ = document(
        {"n": one(2), "labels": one(0), "seed": one(1)},
        binary=False,
        parameters={"binary_data_output": True},
        outputs=[{"name": "log_prob", "parameters": {"binary_data": False}}, {"name": "x"}],
    )
    answer = post(running.http, "tiny.sample", given)
    size = int(answer.headers["inference-header-content-length"])
    assert len(answer.content) == size + 2 * 9 * 8
    both = infer(running.http, "tiny.sample", {"n": one(2), "labels": one(0), "seed": one(1)})
    assert answer.content[size:] == both["x"].tobytes()
    log_prob, x = json.loads(answer.content[:size])["outputs"]
    assert log_prob["data"] == both["log_prob"].tolist()
    assert x["parameters"] == {"binary_data_size": 2 * 9 * 8}


def test_a_graph_that_is_missing(running: Running) -> None:
    """A bundle without the graph of filters refuses them, and goes on."""
    given = {"top_p": one(0.5, "FP32")}
    answer = post(running.http, "wavenet.sample", *document(given, binary=True))
    assert answer.status_code == 400
    assert "step_filtered" in answer.json()["error"]
    assert running.http.get("/v2/health/ready").status_code == 200
    infer(running.http, "wavenet.sample", {})


def test_stop_values_do_not_end_an_event(serve: Serve) -> None:
    """Events of text are whole, as those of `Engine.sample`: a stop value is a value."""
    running = serve("text")
    engine = engine_of(running, "text")
    assert engine.data.stop == (0,)
    got = infer(running.http, "text.sample", {"n": one(N), "seed": one(1)})
    right = engine.sample(N, seed=1)
    assert (right.x[:, :-1] == 0).any()
    assert (got["x"] >= 0).all()
    assert_mostly_same(engine, got, right)


def test_the_scope_of_a_key(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What rows begin with is shared among the requests of one key only."""
    keys = Keys(("0123456789abcdef", "fedcba9876543210"))
    running = serve("tiny", keys=keys)
    thread = running.server.served["tiny"].thread
    submit, scopes = thread.submit, []

    def watched(rows: Rows) -> None:
        scopes.append({row.request.prefix_scope for row in rows.rows})
        submit(rows)

    monkeypatch.setattr(thread, "submit", watched)
    given, content = document({"labels": one(0), "n": one(2)}, binary=True)
    for key in ("0123456789abcdef", "fedcba9876543210"):
        with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {key}"}) as http:
            assert post(http, "tiny.sample", given, content).status_code == 200
    assert scopes == [{keys.scope("0123456789abcdef")}, {keys.scope("fedcba9876543210")}]
