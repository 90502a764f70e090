"""Files of a bundle that contradict its manifest are refused, although their hashes are right."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.onnx_file import IN_MEMORY
from ancestral.errors import BundleError
from ancestral.limits import HEADER_BYTES
from tests.guarded import run_guarded
from tests.tamper import change_manifest, copied, edited, sign

WEIGHTS = "graphs/weights.safetensors"
ANSWERS = "known_answers.safetensors"


def refused(bundle: Path, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle)
    assert message in str(caught.value)


def header(text: str | bytes, length: int | None = None) -> Callable[[bytes], bytes]:
    """Return a change that replaces the header of a safetensors file."""
    content = text.encode() if isinstance(text, str) else text

    def change(file: bytes) -> bytes:
        data = file[8 + int.from_bytes(file[:8], "little") :]
        return (len(content) if length is None else length).to_bytes(8, "little") + content + data

    return change


def one(**entry: Any) -> Callable[[bytes], bytes]:
    plain = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    return header(json.dumps({"w": plain | entry}))


@pytest.mark.parametrize("file", [WEIGHTS, ANSWERS])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file[:5], "not a safetensors file: its header claims"),
        (header("{}", HEADER_BYTES + 1), "its header claims 4,194,305 bytes"),
        (header("{}", 2**63), "its header claims 9,223,372,036,854,775,808 bytes"),
        (header("[" * 1000), "nested at most"),
        (header("[1, 2]"), "expected an object"),
        (header('{"w": 3}'), "not a valid safetensors file"),
        (header('{"w": {"dtype": "F32"}}'), "not a valid safetensors file: 'shape'"),
        (one(data_offsets=[0, 8, 16]), "not a valid safetensors file"),
        (one(data_offsets=[0, 2**40]), "a tensor is not inside the file"),
        (one(shape=[2**38], data_offsets=[0, 2**40]), "a tensor is not inside the file"),
        (one(data_offsets=[8, 0]), "a tensor is not inside the file"),
        (one(data_offsets=[-8, 0]), "expected a shape and two offsets"),
        (one(data_offsets=[2**80, 2**80 + 8]), "expected a shape and two offsets"),
        (one(shape=[2**62, 2**62]), "a tensor is not inside the file"),
        (one(shape=[3]), "a tensor is not inside the file"),
        (one(shape=[1.0]), "expected a shape and two offsets"),
        (one(shape=[1] * 1000), "expected a shape and two offsets"),
        (one(dtype="F1024"), "expected a known dtype, got 'F1024'"),
        (one(dtype=["F32"]), "not a valid safetensors file"),
    ],
)  # fmt: skip
def test_header(
    tiny_bundle: Path, tmp_path: Path, file: str, change: Callable[[bytes], bytes], message: str
) -> None:
    """A wrong header is refused before a library maps the file."""
    copy = copied(tiny_bundle, tmp_path)
    (copy / file).write_bytes(change((copy / file).read_bytes()))
    sign(copy)
    refused(copy, f"{file}: {message}" if message.startswith("not ") else message)


Answers = dict[str, np.ndarray]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("x"), "arrays ['x'] are missing"),
        (lambda a: a.pop("label"), "arrays ['label'] are missing"),
        (lambda a: a.update(x=a["x"][:, :4]), "u: expected floats ['n', 't'], got F32 [32, 9]"),
        (
            lambda a: a.update(x=a["x"].astype(np.float64)),
            "x: expected integers ['n', 't'], got F64",
        ),
        (lambda a: a.update(x=np.full_like(a["x"], 3)), "x: expected values in 0 .. 2, got 3 .. 3"),
        (lambda a: a.update(x=a["x"] - 1), "x: expected values in 0 .. 2, got -1"),
        (lambda a: a.update(label=a["label"] + 1), "label: expected values in 0 .. 1, got 1 .. 2"),
        (lambda a: a.update(u=a["u"] * 0 + 1), "u: expected numbers in [0, 1)"),
        (lambda a: a.update(u=a["u"] * np.float32("nan")), "u: expected numbers in [0, 1)"),
        (
            lambda a: a.update(at=a["at"] + 9),
            "at: expected indices of events and positions within x (32, 9)",
        ),
        (lambda a: a.update(at=a["at"][:, :1]), "at: expected integers ['m', 2], got I64 [288, 1]"),
        (
            lambda a: a.update(distribution=a["distribution"][:, :2]),
            "distribution: expected floats",
        ),
        (
            lambda a: a.update(is_sample=a["is_sample"][:1]),
            "is_sample: expected bools ['n'], got BOOL",
        ),
        (
            lambda a: a.update({n: v[:1] for n, v in a.items() if v.ndim}),
            "axis n: expected a length of at least 2",
        ),
        (lambda a: a.update(own_kl=np.zeros(2)), "own_kl: expected floats [], got F64 [2]"),
    ],
)
def test_known_answers(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[Answers], object], message: str
) -> None:
    """Known answers are compared with the manifest when the bundle is opened."""
    copy = copied(tiny_bundle, tmp_path)
    answers = load_file(copy / ANSWERS)
    change(answers)
    save_file({name: np.array(v, order="C") for name, v in answers.items()}, copy / ANSWERS)
    sign(copy)
    refused(copy, message)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_known_answers_that_are_not_finite(tiny_bundle: Path, tmp_path: Path, value: float) -> None:
    """NaN and infinity in known answers are refused when the answers are read."""
    copy = copied(tiny_bundle, tmp_path)
    answers = load_file(copy / ANSWERS)
    answers["log_prob"][0, 0] = value
    save_file(answers, copy / ANSWERS)
    sign(copy)
    with pytest.raises(BundleError, match="known answers: log_prob: contains NaN or infinity"):
        Bundle.open(copy).known_answers()


def moved(**entries: str) -> Callable[[onnx.GraphProto], None]:
    """Return an edit that changes these entries of every tensor's external data."""

    def edit(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            for entry in tensor.external_data:
                entry.value = entries.get(entry.key, entry.value)

    return edit


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "20000"}, "end after its 20,020 bytes"),
        ({"length": "9" * 18}, "999999999999999999 bytes at "),
        ({"offset": "-1"}, "external data: expected a whole number below 2^63, got '-1'"),
        ({"location": "./weights.safetensors"}, "expected the weights file"),
        ({"location": f"*/{IN_MEMORY}/*"}, "expected the weights file"),
    ],
)
def test_external_data(
    tiny_bundle: Path, tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    refused(edited(tiny_bundle, tmp_path, moved(**entries), "log_prob"), message)


def test_weights_named_as_memory(tiny_bundle: Path, tmp_path: Path) -> None:
    """A name that ONNX Runtime takes for memory, and offsets for addresses, is refused."""
    name = f"*/{IN_MEMORY}/*"
    copy = edited(tiny_bundle, tmp_path, moved(location=name))
    (copy / "graphs" / name).parent.mkdir(parents=True)
    shutil.move(copy / WEIGHTS, copy / "graphs" / name)

    def rename(manifest: dict[str, Any]) -> None:
        manifest["weights"] = f"graphs/{name}"
        manifest["files"][f"graphs/{name}"] = manifest["files"].pop(WEIGHTS)

    change_manifest(copy, rename)
    refused(copy, f"graphs/{name}: expected a plain path inside the bundle")


def test_not_a_regular_file(tiny_bundle: Path, tmp_path: Path) -> None:
    """A pipe, a device or a folder in place of a file is named; no command waits for it."""
    commands: list[list[str | Path]] = []
    messages = []
    for i, name in enumerate(("manifest.json", WEIGHTS, ANSWERS, "graphs/step.onnx")):
        for kind in ("pipe", "device", "folder"):
            copy = copied(tiny_bundle, tmp_path / f"{kind}{i}")
            (copy / name).unlink()
            match kind:
                case "pipe":
                    os.mkfifo(copy / name)
                    commands.append(["sample", copy, "-n", "1", "-o", tmp_path / "x.npz"])
                    commands.append(["verify", copy, "--backend", "onnxruntime"])
                case "device":
                    (copy / name).symlink_to("/dev/zero")
                case _:
                    (copy / name).mkdir()
            commands.append(["info", copy])
            missing = f"{name}: missing"
            sentence = "no file manifest.json" if name == "manifest.json" else missing
            messages += [sentence] * (3 if kind == "pipe" else 1)
    for sentence, ending in zip(messages, run_guarded(commands, tmp_path), strict=True):
        assert ending.status == 2, ending
        assert sentence in ending.output


def test_unlisted(tiny_bundle: Path, tmp_path: Path) -> None:
    """Other files in a bundle's folder are listed, also links and pipes, and are not read."""
    copy = copied(tiny_bundle, tmp_path)
    assert Bundle.open(copy).unlisted() == []
    (copy / "graphs" / "numpy.py").write_text("")
    (copy / "more").mkdir()
    os.mkfifo(copy / "more" / "pipe")
    (copy / "link").symlink_to("/")
    assert Bundle.open(copy).unlisted() == ["graphs/numpy.py", "link", "more/pipe"]
