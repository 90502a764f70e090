"""Manifests with absurd claims are refused in one sentence, before they take memory or time."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ancestral.bundles.manifest import seal
from ancestral.limits import FILES, MANIFEST_BYTES, MANIFEST_DEPTH, MANIFEST_VALUES
from tests.guarded import run_guarded
from tests.tamper import change_manifest, copied, sign

Change = Callable[[dict[str, Any]], object]
LONGEST = 20_000
"""Limit on the characters of an output: a million problems must not print megabytes."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as on Linux")


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def named(name: str) -> Change:
    return lambda m: m["files"].update({name: {"size": 6, "sha256": "0" * 64}})


def data(**fields: Any) -> Change:
    return lambda m: m["data"].update(fields)


def step(m: dict[str, Any]) -> dict[str, Any]:
    signature: dict[str, Any] = m["graphs"]["step"]["signature"]
    return signature


def every_axis(axis: Any) -> Change:
    return lambda m: [
        spec.update(axes=[axis, *spec["axes"][1:]])
        for side in ("inputs", "outputs")
        for spec in step(m)[side]
    ]


CHANGES: dict[str, tuple[Change, str]] = {
    "name with NUL": (named("a\0b"), "expected a plain path"),
    "name with an escape": (named("a\x1b[2Jb"), "expected a plain path"),
    "name with a change of direction": (named("a\u202eb"), "expected a plain path"),
    "long name": (named("a/" * 40_000 + "b"), "expected at most 1024 characters"),
    "long part of a name": (named("a" * 256), "expected a plain path"),
    "long part in bytes": (named("é" * 200), "expected a plain path"),
    "many files": (
        lambda m: [named(f"{i}")(m) for i in range(FILES)],
        f"files: expected at most {FILES} items",
    ),
    "many graphs": (
        lambda m: m["graphs"].update({str(i): m["graphs"]["logits"] for i in range(65)}),
        "graphs: expected at most 64 items",
    ),
    "many components": (
        lambda m: m["components"].update({str(i): m["components"]["model"] for i in range(17)}),
        "components: expected at most 16 items",
    ),
    "huge site": (data(ordering=[2**70]), "expected sites in 0 .. 16777215"),
    "sites that are not numbers": (data(ordering=["x"] * 200_000), "expected sites in 0"),
    "huge event": (data(event_shape=[2**20, 2**20]), "expected at most 16,777,216 values"),
    "huge axis": (data(event_shape=[2**70]), "expected a number <= "),
    "many axes": (data(event_shape=[1] * 100_000), "event_shape: expected at most 8"),
    "axis below 0": (data(event_shape=[-3]), "expected a number >= 1"),
    "random sites": (data(event_shape=[2**24], ordering="random:1"), "graph step: expected"),
    "long seed": (data(ordering="random:" + "7" * 4000), "ordering: expected raster"),
    "seed above 64 bits": (data(ordering="random:18446744073709551616"), "seed: expected"),
    "seed of odd digits": (data(ordering="random:\u00b2"), "ordering: expected raster"),
    "long ordering": (data(ordering="r" * 10**6), "ordering: expected raster"),
    "levels": (data(levels=2**60), "data.levels: expected a number <"),
    "other levels": (data(levels=4), "graph logits: expected output logits"),
    "fewer levels": (data(levels=2), "graph logits: expected output logits"),
    "classes": (data(num_classes=10**9), "data.num_classes: expected a number <"),
    "no classes": (
        lambda m: (m["data"].update(num_classes=None), m.update(label_prior=None)),
        "expected no given inputs other",
    ),
    "other events": (data(event_shape=[3, 2]), "graph step: expected input u"),
    "probabilities": (
        lambda m: m.update(label_prior=[{}] * 60_000),
        "expected at most 32,768 probabilities",
    ),
    "stops": (data(stop=[-1] * 100_000), "data.stop: expected at most 256 items"),
    "palette": (data(palette=[["x"] * 3] * 30_000), "data.palette"),
    "latents": (
        lambda m: m.update(
            kind="latent_variable",
            latent={
                "shape": [2**40] * 9,
                "posterior": "codes",
                "prior": "standard",
                "continuous": False,
            },
        ),
        "latent.shape",
    ),
    "long dataset name": (data(name="x" * 10**6), "data.name: expected at most"),
    "written by": (
        lambda m: m["written_by"].update({str(i): "1" for i in range(10_000)}),
        "written_by: expected at most",
    ),
    "surprises": (
        lambda m: m.update({f"surprise {i}": i for i in range(30_000)}),
        "and 29,980 more",
    ),
    "surprise with an escape": (lambda m: m.update({"\x1b]0;title\x07": 1}), r"\x1b]0;title\x07"),
    "long surprise": (lambda m: m.update({"s" * 10**6: 1}), "..."),
    "many tensors": (
        lambda m: step(m).update(inputs=[step(m)["inputs"][0]] * 4097),
        "signature.inputs: expected at most 4096 items",
    ),
    "axis of a tensor below 0": (every_axis(-1), "expected a number >= 0"),
    "huge axis of a tensor": (every_axis(2**60), "expected a number <= "),
    "huge tensor": (
        lambda m: step(m)["inputs"][1].update(axes=[2**30, 2**30]),
        "axes: expected at most 17,179,869,184 numbers",
    ),
    "axes of another tensor": (
        lambda m: step(m)["inputs"][1].update(axes=["b", 7]),
        "graph step: expected input u",
    ),
    "two tensors of a name": (
        lambda m: step(m)["inputs"].append(step(m)["inputs"][1]),
        "expected different names for all inputs",
    ),
    "carried from nowhere": (
        lambda m: step(m)["carried"][0].update(input="nowhere"),
        "carried: expected an input and an output, got 'nowhere'",
    ),
    "carried twice": (
        lambda m: step(m)["carried"].append(step(m)["carried"][0]),
        "carried: expected each tensor in only one pair",
    ),
    "carried into another type": (
        lambda m: step(m)["carried"][0].update(output="log_p_next"),
        "to be like 'position'",
    ),
    "initial beyond the type": (
        lambda m: step(m)["carried"][0].update(initial=1e300),
        "initial: expected a value of int64, got 1e+300",
    ),
    "initial": (
        lambda m: step(m)["carried"][0].update(initial="lots"),
        "carried.0.initial: expected a valid number",
    ),
    "another name": (
        lambda m: m["graphs"]["logits"]["signature"]["outputs"][0].update(name="logit"),
        "graph logits: expected output logits",
    ),
    "another type": (
        lambda m: m["graphs"]["logits"]["signature"]["outputs"][0].update(dtype="float16"),
        "graph logits: expected output logits",
    ),
    "cache of another size": (
        lambda m: [
            spec.update(axes=["b", 2, 9, 9])
            for side in ("inputs", "outputs")
            for spec in step(m)[side]
            if spec["name"].startswith("k_0")
        ],
        "graphs/step.onnx: expected the 14 inputs in the signature of graph step",
    ),
    "size of 4000 digits": (
        lambda m: m["files"]["graphs/step.onnx"].update(size=10**4000),
        "size: expected a number <= ",
    ),
    "parameters of 4000 digits": (
        lambda m: m["components"]["model"].update(parameters=10**4000),
        "parameters: expected a number <= ",
    ),
    "version of 4000 digits": (lambda m: m.update(version=10**4000), "got an integer of"),
    "graph of gigabytes": (
        lambda m: m["files"]["graphs/step.onnx"].update(size=2**32),
        "graphs/step.onnx: expected at most 33,554,432 bytes",
    ),
    "tokenizer of gigabytes": (
        lambda m: (
            m["data"].update(tokenizer="tokenizers"),
            m["files"].update({"tokenizer.json": {"size": 2**32, "sha256": "0" * 64}}),
        ),
        "tokenizer.json: expected at most 268,435,456 bytes",
    ),
    "half of a character": (data(name="\ud800"), "a lone surrogate"),
    "half of a character as a name": (named("\udfff"), "a lone surrogate"),
    "not a number": (lambda m: m["components"]["model"]["config"].update(x=float("nan")), "NaN"),
    "infinity": (lambda m: m["components"]["model"]["config"].update(x=-float("inf")), "-Infinity"),
    "deep config": (
        lambda m: m["components"]["model"]["config"].update(x=nested(MANIFEST_DEPTH)),
        f"objects and lists nested at most {MANIFEST_DEPTH} deep",
    ),
    "deep and deeper": (
        lambda m: m["components"]["model"]["config"].update(x=nested(700)),
        f"objects and lists nested at most {MANIFEST_DEPTH} deep",
    ),
    "many values": (
        lambda m: m.update(x=[0] * 600_000),
        f"expected at most {MANIFEST_VALUES:,} values",
    ),
    "many lists": (lambda m: m.update(x=[[]] * 260_000), "x: unknown field"),
    "known answers of other levels": (
        lambda m: (
            m["data"].update(levels=2),
            m["graphs"].pop("logits"),
        ),
        "known_answers.safetensors: distribution: expected",
    ),
}
"""Changes of the tiny toy's manifest, which is sealed again, and the message for each."""

TEXTS: dict[str, tuple[Callable[[str], str], str]] = {
    "deep": (lambda text: "[" * 200_000, "nested at most"),
    "deep objects": (lambda text: '{"a":' * 30_000, "nested at most"),
    "two keys": (lambda text: text.replace("{", '{"version": 1, ', 1), "'version' twice"),
    "1e999": (lambda text: text.replace('"parameters": ', '"parameters": 1e999, "x": '), "float64"),
    "5000 digits": (
        lambda text: re.sub(r'"parameters": \d+', f'"parameters": {"9" * 5000}', text),
        "not the JSON of a manifest",
    ),
    "large": (lambda text: text + " " * MANIFEST_BYTES, "expected a file of at most 4 MiB"),
    "latin": (lambda text: text.replace("tiny", "\u00ff"), "expected UTF-8"),
    "empty": (lambda text: "", "not the JSON of a manifest"),
}
"""Changes of the text itself, and the message for each."""


def spoilt(bundle: Path, folder: Path) -> dict[str, tuple[Path, str]]:
    """Copy the bundle for each case; onnx refuses weights that have a second hard link."""
    found = {}
    text = (bundle / "manifest.json").read_text()
    for i, (name, (change, message)) in enumerate([*CHANGES.items(), *TEXTS.items()]):
        copy = folder / str(i)
        shutil.copytree(bundle, copy)
        if name in CHANGES:
            manifest = json.loads(text)
            change(manifest)
            manifest["sha256"] = seal(manifest)
            content = json.dumps(manifest).encode()
        else:
            content = change(text).encode("latin-1" if name == "latin" else "utf-8")
        (copy / "manifest.json").write_bytes(content)
        found[name] = (copy, message)
    return found


def test_absurd_claims(tiny_bundle: Path, tmp_path: Path) -> None:
    """The command refuses each case in a child of 200 MB and 10 s, where a sound bundle opens."""
    cases = spoilt(tiny_bundle, tmp_path)
    commands = [["info", tiny_bundle], *(["info", folder] for folder, _ in cases.values())]
    sound, *endings = run_guarded(commands, tmp_path)
    assert sound.status == 0, sound.output
    wrong = [
        f"{name}: expected exit 2 and {message!r}, got {ending.status}: {ending.output[:800]}"
        for (name, (_, message)), ending in zip(cases.items(), endings, strict=True)
        if ending.status != 2
        or message not in ending.output
        or len(ending.output) > LONGEST
        or not ending.output.replace("\n", "").isprintable()
    ]
    assert not wrong, "\n\n".join(wrong)


def test_priors_inside_each_other(bundles: Callable[..., Path], tmp_path: Path) -> None:
    """A prior has no prior: the second one is not opened, however deep they are nested."""
    outer = copied(bundles("codes"), tmp_path)
    shutil.rmtree(outer / "prior")
    folder = outer
    for _ in range(20):
        shutil.copytree(outer, folder / "prior", ignore=shutil.ignore_patterns("prior"))
        folder = folder / "prior"
    # Only the hash that the first manifest has of the second one must be right.
    sign(folder.parents[18])
    change_manifest(folder.parents[18], lambda m: None)
    sign(outer)
    (ending,) = run_guarded([["info", outer]], tmp_path)
    assert ending.status == 2
    assert "kind: expected autoregressive for a prior" in ending.output


@pytest.mark.parametrize("whole", [False, True], ids=["file", "folder"])
def test_prior_that_is_a_link(bundles: Callable[..., Path], tmp_path: Path, whole: bool) -> None:
    """A file outside the bundle is named but not read: the message has none of its content."""
    copy = copied(bundles("codes"), tmp_path)
    outside = tmp_path / "outside"
    shutil.move(copy / "prior", outside)
    if whole:
        (copy / "prior").symlink_to(outside)
    else:
        (copy / "prior").mkdir()
        (copy / "prior" / "manifest.json").symlink_to(outside / "manifest.json")
    change_manifest(outside, lambda m: m.update(secret="never shown"))
    sign(copy)
    (ending,) = run_guarded([["info", copy]], tmp_path)
    assert ending.status == 2
    assert "prior/manifest.json: a link out of the bundle" in ending.output
    assert "secret" not in ending.output
