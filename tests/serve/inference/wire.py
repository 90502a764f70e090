"""Requests of the inference protocol, made by hand, and their answers."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import numpy as np

HEADER = "Inference-Header-Content-Length"
TYPES = {
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "|b1",
}
HUGE = 10**4000
"""An integer that fits nowhere."""
Arrays = Mapping[str, np.ndarray]


def name_of(array: np.ndarray) -> str:
    """Name of an array's type in the protocol."""
    return next(name for name, each in TYPES.items() if np.dtype(each) == array.dtype)


def document(inputs: Arrays, *, binary: bool, **fields: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and the bytes after it."""
    entries, content = [], b""
    for name, array in inputs.items():
        entry: dict[str, Any] = {
            "name": name,
            "shape": list(array.shape),
            "datatype": name_of(array),
        }
        if binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            content += array.tobytes()
        else:
            entry["data"] = array.tolist()
        entries.append(entry)
    return {"inputs": entries, **fields}, content


def post(
    http: httpx.Client, model: str, given: Mapping[str, Any], content: bytes = b""
) -> httpx.Response:
    """Send a request; the header is there if bytes follow the document."""
    text = json.dumps(given).encode()
    headers = {HEADER: str(len(text))} if content else {}
    return http.post(f"/v2/models/{model}/infer", content=text + content, headers=headers)


def refused(http: httpx.Client, model: str, given: Mapping[str, Any], content: bytes = b"") -> str:
    """Message of a request that must be refused with 400; the server goes on."""
    answer = post(http, model, given, content)
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    message = answer.json()["error"]
    assert isinstance(message, str)
    assert len(message) < 500
    assert "\n" not in message
    assert http.get("/v2/health/ready").status_code == 200
    return message


def infer(
    http: httpx.Client,
    model: str,
    inputs: Arrays,
    *,
    binary: bool = True,
    outputs: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Outputs of a model, by name; both ways are binary, or both are JSON."""
    fields: dict[str, Any] = {"parameters": {"binary_data_output": True}} if binary else {}
    if outputs:
        fields["outputs"] = [{"name": name} for name in outputs]
    answer = post(http, model, *document(inputs, binary=binary, **fields))
    assert answer.status_code == 200, answer.text
    assert (HEADER.lower() in answer.headers) == binary
    return arrays_of(answer)


def arrays_of(answer: httpx.Response) -> dict[str, np.ndarray]:
    """Outputs of an answer by name."""
    size = int(answer.headers.get(HEADER, len(answer.content)))
    found, at = {}, size
    for each in json.loads(answer.content[:size])["outputs"]:
        dtype, shape = np.dtype(TYPES[each["datatype"]]), each["shape"]
        if "data" in each:
            assert "parameters" not in each
            array = np.array(each["data"], dtype)
        else:
            end = at + each["parameters"]["binary_data_size"]
            array, at = np.frombuffer(answer.content[at:end], dtype), end
            assert array.nbytes == math.prod(shape) * dtype.itemsize
        found[each["name"]] = array.reshape(shape)
    assert at == len(answer.content)
    return found
