"""Requests with a wrong field, and requests that do not fit the model."""

from typing import Any

import pytest

from ancestral.engine import Request
from ancestral.errors import InvalidInput
from tests.conftest import Load, autoregressive

FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": -1}, "seed: expected an integer in 0"),
    "index": ({"index": 2**32}, "index: expected an integer in 0"),
    "max_new": ({"max_new": 0}, "max_new: expected an integer in 1"),
    "sampling": ({"sampling": 1}, "sampling: expected a Sampling"),
    "stop text": ({"stop_text": ["a", ""]}, "stop_text: expected texts that are not empty, got ''"),
    "one text": ({"stop_text": "ab"}, "stop_text: expected a list of texts, got 'ab'"),
    "both": ({"prompt": [1], "observed": [1]}, "observed: expected no prompt with it"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_wrong_fields(case: str) -> None:
    fields, words = FIELDS[case]
    with pytest.raises(InvalidInput, match=words):
        Request(**fields)


MISFITS: dict[str, tuple[str, Any, str]] = {
    "not a request": ("text", [1], r"request 0: expected a Request, got \[1\]"),
    "vocabulary": ("text", Request([293]), r"request 0: prompt: .*0 \.\. 292, got 293"),
    "observed": ("text", Request(observed=[1]), "request 0: observed: expected shape"),
    "stop": ("text", Request([1], stop=[293]), "request 0: stop: expected an integer in 0"),
    "label": ("text", Request([1], label=0), "request 0: label: the model has no classes"),
    "no label": ("tiny", Request([1]), r"request 0: `label` is required.* 0 \.\. 1"),
    "class": ("tiny", Request([1], label=2), "request 0: label: expected an integer in 0"),
    "stop text": ("tiny", Request([1], label=0, stop_text=["a"]), "the bundle has no tokenizer"),
    "empty": ("startless", Request(), "request 0: prompt: .*no start symbol"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_misfits(load: Load, case: str) -> None:
    toy, request, words = MISFITS[case]
    with pytest.raises(InvalidInput, match=words):
        list(autoregressive(load, toy, "onnxruntime").stream([request]))
