"""Wrong fields: each gets a 4xx in words, with the name of the field, and never a path."""

import base64
import json
import pickle
from typing import Any

import numpy as np
import pytest

from ancestral.serve.api import router
from ancestral.serve.body import IGNORED
from tests.serve.api.conftest import from_npy, post, refused, to_npy
from tests.serve.conftest import Running

X = [[[0, 1, 2], [2, 1, 0], [0, 0, 1]]]
GOOD: dict[str, dict[str, Any]] = {
    "sample": {"model": "tiny", "labels": 0},
    "complete": {"model": "tiny", "labels": 0, "observed": X[0], "particles": 2},
    "log_prob": {"model": "tiny", "labels": 0, "x": X},
    "classify": {"model": "tiny", "x": X},
    "encode": {"model": "bernoulli", "x": [[[0] * 3] * 3]},
    "decode": {"model": "bernoulli", "z": [[0.0, 1.0]]},
    "reconstruct": {"model": "bernoulli", "x": [[[0] * 3] * 3]},
    "bound": {"model": "bernoulli", "x": [[[0] * 3] * 3], "k": 2},
    "tokenize": {"model": "text", "text": "a"},
    "detokenize": {"model": "text", "ids": [1, 2]},
    "verify": {"model": "tiny"},
}
"""A body of each method that is accepted."""
HUGE = 10**400
NPY = to_npy(X)["npy"]
OBJECTS = to_npy(np.array([{"a": 1}], object), allow_pickle=True)
CASES: tuple[tuple[str, dict[str, Any], str], ...] = (
    # what the model is
    ("sample", {"model": "nope"}, "model: expected one of the bundles tiny, table, "),
    ("sample", {"model": 3}, "model: expected a valid string, got 3"),
    ("log_prob", {"model": "bernoulli"}, "bundle 'bernoulli' is of kind latent_variable; it has "),
    ("encode", {"model": "tiny"}, "bundle 'tiny' is of kind autoregressive; it has log_prob, "),
    ("tokenize", {"model": "tiny"}, "model: expected a bundle with text, got 'tiny'"),
    ("detokenize", {"model": "bernoulli"}, "model: expected a bundle with text"),
    # numbers
    ("sample", {"n": 0}, "n: expected a number >= 1, got 0"),
    ("sample", {"n": "3"}, "n: expected a valid integer, got '3'"),
    ("sample", {"n": True}, "n: expected a valid integer, got True"),
    ("sample", {"n": 2.5}, "n: expected a valid integer, got 2.5"),
    ("sample", {"n": HUGE}, "n: expected at most 1024 in one request, got "),
    ("sample", {"seed": -1}, "seed: expected a number >= 0, got -1"),
    ("sample", {"seed": 2**64}, "seed: expected a number <= 18446744073709551615"),
    ("sample", {"first_index": 2**32}, "first_index: expected a number <= 4294967295"),
    ("sample", {"first_index": 2**32 - 1, "n": 2}, "first_index: expected integers in 0 .. 2^32"),
    ("sample", {"temperature": -1}, "temperature: expected a number >= 0, got -1"),
    ("sample", {"temperature": 1e300}, "temperature: expected a number <= 1000000"),
    ("sample", {"temperature": "hot"}, "temperature: expected a valid number, got 'hot'"),
    ("sample", {"top_k": 0}, "top_k: expected a number >= 1, got 0"),
    ("sample", {"top_p": 0}, "top_p: expected a number > 0, got 0"),
    ("sample", {"min_p": 2}, "min_p: expected a number <= 1, got 2"),
    ("sample", {"repetition_penalty": 0}, "repetition_penalty: expected a number >= 0.01, got 0"),
    ("sample", {"presence_penalty": 1000}, "presence_penalty: expected a number <= 100, got 1000"),
    ("sample", {"frequency_penalty": [1]}, "frequency_penalty: expected a valid number, got [1]"),
    ("sample", {"logit_bias": [1]}, "logit_bias: expected an object of ids and numbers, got [1]"),
    ("sample", {"logit_bias": {"a": 1}}, "logit_bias: expected ids, which are texts of digits"),
    ("sample", {"logit_bias": {"3": 1}}, "logit_bias: expected an integer in 0 .. 2, got 3"),
    (
        "sample",
        {"logit_bias": {"0": 1e9}},
        "logit_bias: expected numbers in [-1000, 1000], or null",
    ),
    ("sample", {"logit_bias": dict.fromkeys("012")}, "logit_bias: expected at least one value"),
    ("bound", {"k": 0}, "k: expected a number >= 1, got 0"),
    ("bound", {"k": 10**6 + 1}, "k: expected at most 1000000 latents of each event, got 1000001"),
    ("bound", {"k": 2**32}, "k: expected a number <= 4294967295"),
    ("complete", {"particles": 0}, "particles: expected a number >= 1, got 0"),
    ("complete", {"n": 0}, "n: expected a number >= 1, got 0"),
    ("log_prob", {"top": 21}, "top: expected a number <= 20, got 21"),
    ("log_prob", {"top": 4}, "top: expected at most 3, the model's values, got 4"),
    # choices
    ("sample", {"arrays": "csv"}, "arrays: expected 'lists' or 'npy', got 'csv'"),
    ("sample", {"stream": "yes"}, "stream: expected a valid boolean, got 'yes'"),
    ("log_prob", {"path": "fast"}, "path: expected 'parallel' or 'steps', got 'fast'"),
    ("log_prob", {"path": "steps", "top": 1}, "top: expected path='parallel', got 'steps'"),
    ("log_prob", {"stride": 2}, "stride: only used with text and ids; leave it out"),
    ("bound", {"proposal": "best"}, "proposal: expected 'posterior' or 'prior', got 'best'"),
    ("sample", {"mean": True}, "mean: only used by latent variable models; leave it out"),
    ("log_prob", {"text": "a"}, "x: expected one of the fields x, text and ids, got x and text"),
    ("log_prob", {"x": None}, "one of the fields `x`, `text` and `ids` is required"),
    ("log_prob", {"x": None, "text": "a"}, "model: expected a bundle with text"),
    # labels
    ("sample", {"labels": None}, "`labels` is required"),
    ("sample", {"labels": 2}, "labels: expected values in 0 .. 1, got 2"),
    ("sample", {"labels": -1}, "labels: expected values in 0 .. 1, got -1"),
    ("sample", {"labels": HUGE}, "labels: expected "),
    ("sample", {"labels": "cat"}, "labels: expected an integer, or a list of integers, got 'cat'"),
    ("sample", {"labels": True}, "labels: expected an integer, or a list of integers, got True"),
    ("sample", {"labels": [0, 1]}, "labels: expected one label or [1], got shape (2,)"),
    ("sample", {"labels": [0.5]}, "labels: expected integers, got float64"),
    ("bound", {"labels": 0}, "labels: the model has no classes; leave labels out"),
    # arrays
    ("log_prob", {"x": 5}, 'x: expected nested lists of numbers, or {"npy": BASE64}, got 5'),
    ("log_prob", {"x": "a"}, "x: expected nested lists of numbers"),
    ("log_prob", {"x": []}, "x: expected events [n, 3, 3] with n >= 1, got shape (0,)"),
    ("log_prob", {"x": X[0]}, "x: expected events [n, 3, 3] with n >= 1, got shape (3, 3)"),
    ("log_prob", {"x": [[[0, 1], [1]]]}, "x: expected lists of equal lengths, got 1 and 2"),
    ("log_prob", {"x": [[0, [1]]]}, "x: expected numbers at the same depth, got [1]"),
    ("log_prob", {"x": [["0"] * 9]}, "x: expected numbers at the same depth, got '0'"),
    ("log_prob", {"x": [[None] * 9]}, "x: expected numbers at the same depth, got None"),
    ("log_prob", {"x": [[True] * 9]}, "x: expected numbers at the same depth, got True"),
    ("log_prob", {"x": [[[[[[[[[[[[1]]]]]]]]]]]]}, "x: expected at most 10 axes, got more"),
    ("log_prob", {"x": [[3] * 9]}, "x: expected values in 0 .. 2, got 3 at index (0, 0)"),
    ("log_prob", {"x": [[-1] * 9]}, "x: expected values in 0 .. 2, got -1"),
    ("log_prob", {"x": [[0.5] * 9]}, "x: expected integers, got float64"),
    ("log_prob", {"x": [[1.0] * 9]}, "x: expected integers, got float64"),
    ("log_prob", {"x": [[HUGE] * 9]}, "x: expected numbers of at most 64 bits"),
    ("log_prob", {"x": [[HUGE, 0.5] * 4 + [0]]}, "x: expected "),
    ("log_prob", {"x": X * 1025}, "x: expected at most 1024 in one request, got 1025"),
    ("complete", {"observed": [[0, 3]]}, "observed: expected shape (3, 3) (one event) or"),
    ("complete", {"observed": []}, "observed: expected shape (3, 3) (one event) or"),
    ("sample", {"observed": [-2] * 9}, "observed: expected values in -1 .. 2, got -2"),
    ("sample", {"model": "startless", "labels": None}, "observed: x_0 is required"),
    ("decode", {"z": [[0.0]]}, "z: expected numbers of shape [any, 2], got float64 [1, 1]"),
    ("decode", {"z": [[1e300, 0]]}, "z: expected numbers within float32"),
    ("detokenize", {"ids": [[1]]}, "ids: expected a sequence of ids, [n], got shape (1, 1)"),
    ("detokenize", {"ids": [10**6]}, "ids: expected values in 0 .. 292, got 1000000"),
    (
        "log_prob",
        {"model": "text", "labels": None, "x": None, "text": ""},
        "text: expected at least",
    ),
    ("log_prob", {"model": "text", "labels": None, "x": None, "ids": []}, "ids: expected at least"),
    # .npy
    ("log_prob", {"x": {}}, 'x: expected {"npy": BASE64}, got {}'),
    ("log_prob", {"x": {"npy": NPY, "a": 1}}, 'x: expected {"npy": BASE64}, got {'),
    ("log_prob", {"x": {"npy": 3}}, 'x: expected {"npy": BASE64}, got {'),
    ("log_prob", {"x": {"npy": NPY[:-3]}}, "x: expected base64 of an .npy, got 'k05VTVBZ"),
    ("log_prob", {"x": {"npy": NPY[:-4]}}, "x: expected 72 bytes for shape (1, 3, 3) of int64"),
    ("log_prob", {"x": {"npy": "é" * 8}}, "x: expected base64 of an .npy"),
    ("log_prob", {"x": {"npy": ""}}, "x: expected an .npy, got bytes b''"),
    ("log_prob", {"x": OBJECTS}, "x: expected integers or real numbers, got Python objects"),
    (
        "log_prob",
        {"x": {"npy": base64.b64encode(pickle.dumps([1])).decode()}},
        "x: expected an .npy, got bytes",
    ),
    ("log_prob", {"x": to_npy(3)}, "x: expected events [n, 3, 3] with n >= 1, got shape ()"),
    ("complete", {"observed": to_npy(3)}, "observed: expected shape (3, 3)"),
    ("log_prob", {"x": to_npy(np.full((1, 9), np.nan))}, "x: expected finite numbers, got nan"),
    ("decode", {"z": to_npy(np.array([[np.inf, 0]]))}, "z: expected finite numbers, got inf"),
    ("decode", {"z": to_npy(np.array([[1j, 0]]))}, "z: expected numbers of shape [any, 2]"),
)


@pytest.mark.parametrize("method", GOOD)
def test_the_good_bodies_are_good(running: Running, method: str) -> None:
    post(running, method, **GOOD[method])


@pytest.mark.parametrize(("method", "wrong", "words"), CASES)
def test_refused(running: Running, method: str, wrong: dict[str, Any], words: str) -> None:
    found = refused(running, method, **GOOD[method] | wrong)
    assert found["status"] in (400, 404), found
    assert found["message"].startswith(words)
    assert len(found["message"]) < 500


def test_wrong_fields_of_every_method(running: Running) -> None:
    """Each field of each body, with values of every other type."""
    odd: tuple[Any, ...] = (None, True, -(2**70), 1e308, "\u2028", [], [[]], [{}], {"npy": []}, {})
    statuses = set()
    for body in router.BODIES:
        methods = [name for name in GOOD if _body_of(name) is body]
        for method in methods:
            for name in body.model_fields.keys() - {"stream"}:
                for value in odd:
                    response = running.http.post(
                        router.PREFIX + method, json=GOOD[method] | {name: value}
                    )
                    statuses.add(response.status_code)
                    assert response.status_code in (200, 400, 404), (name, value, response.text)
    assert statuses == {200, 400, 404}
    assert set(running.http.get("/health").json()["bundles"].values()) == {"ready"}


def _body_of(method: str) -> type:
    """Return the model of a method's body, by its name in the API document."""
    named = {body.__name__: body for body in router.BODIES}
    own = f"{method.title().replace('_', '')}Body"
    return named.get(own, named["EventsBody"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "body: expected JSON"),
        (b"{", "body: expected JSON"),
        (b'{"model": "\xff"}', "body: expected JSON"),
        (b'{"model": "\\ud800"}', "body: expected JSON"),
        (b"[1]", "body: expected an object"),
        (b"{}", "model: missing"),
        (b'{"model": "tiny", "x": [[NaN]], "labels": 0}', "x: expected "),
        (b'{"model": "tiny", "x": [[1e999]], "labels": 0}', "x: expected "),
        (b'{"model": "tiny", "x": ' + b"[" * 10**5, "body: expected JSON"),
        (b'{"model": "tiny", "x": [' + b"9" * 10**4 + b'], "labels": 0}', ""),
    ],
)
def test_content(running: Running, content: bytes, words: str) -> None:
    response = running.http.post(
        "/v1/ancestral/log_prob", content=content, headers={"content-type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(words)


def test_one_long_text_takes_no_memory(running: Running) -> None:
    """Numpy would make every place of this list as long as its text, 32 GB."""
    body = {"model": "tiny", "x": ["a" * 2**20, *[""] * 8000], "labels": 0}
    assert refused(running, "log_prob", **body)["message"].startswith("x: expected numbers")


def test_large_answers_are_refused_before_they_are_made(running: Running) -> None:
    text = "a" * (2**20 + 1)
    found = refused(running, "tokenize", model="text", text=text)
    assert found["message"].startswith("text: ")
    assert "1,048,576 available" in found["message"]


def test_too_many_ids(running: Running) -> None:
    found = refused(running, "detokenize", model="text", ids=[1] * (2**20 + 1))
    assert found["message"].startswith("ids: 1,048,577 numbers needed")


def test_unknown_fields_are_named(running: Running) -> None:
    for stream in (False, True):
        body = GOOD["sample"] | {"stream": stream, "tempreature": 2, "x": 1}
        response = running.http.post("/v1/ancestral/sample", json=body)
        assert response.status_code == 200
        assert response.headers[IGNORED] == "tempreature, x"


def test_arrays_of_every_form_are_the_same(running: Running) -> None:
    x = np.array(X)
    wanted = post(running, "log_prob", **GOOD["log_prob"], positions=True)
    forms = (x.astype(np.uint8), x.astype(">i4"), np.asfortranarray(x))
    for form in forms:
        body = GOOD["log_prob"] | {"x": to_npy(form), "arrays": "npy"}
        found = post(running, "log_prob", **body, positions=True)
        assert {name: from_npy(value).tolist() for name, value in found.items()} == wanted


def test_every_field_is_described_with_its_unit(running: Running) -> None:
    document = running.http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    paths = {path: each["post"] for path, each in document["paths"].items() if "post" in each}
    own = {path: each for path, each in paths.items() if path.startswith(router.PREFIX)}
    assert {path.removeprefix(router.PREFIX) for path in own} == GOOD.keys()
    names = set()
    for each in own.values():
        assert each["summary"]
        body = each["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        answer = json.dumps(each["responses"]["200"]["content"]["application/json"]["schema"])
        names |= {name for name in schemas if f'/{name}"' in json.dumps(body) + answer}
    names.add("TopAnswer")
    assert len(names) == len(router.BODIES) + 14
    for name in names:
        for field, schema in schemas[name]["properties"].items():
            about = schema.get("description", "")
            assert about, f"{name}.{field} has no description"
            nats = field.startswith(("log_", "max_abs_nats", "mean_")) or field in (
                *("total", "elbo", "iwae", "kl", "stderr_elbo", "stderr_iwae", "position_log_prob"),
                *("presence_penalty", "frequency_penalty", "logit_bias", "reconstruction"),
            )
            if nats and field != "log_scale":
                assert "nats" in about.lower(), f"{name}.{field}: {about}"
            if field.startswith("bits_per"):
                assert "bits/" in about, f"{name}.{field}: {about}"
