"""Cases by kind and number: a randomly changed copy of a sound file, and commands that use it.

A case depends only on its kind and its number. To repeat a failure, start
`python -m tests.fuzz.worker FOLDER` and type the kind and the number.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ancestral.bundles.manifest import seal
from ancestral.cli.main import guarded, run
from ancestral.train.hugging_face import load_hugging_face
from tests.fuzz import byte_faults, graph_faults, json_faults, npz_faults, state_faults
from tests.fuzz.control import NOTHING
from tests.fuzz.sources import TRAINING

Action = Callable[[], int]
"""A function that uses a changed file and returns an exit code."""
Kind = Callable[[random.Random, Path, Path], tuple[str, list[Action]]]
"""A function of noise, the sources and an empty folder: a note of the change, and its uses."""

_DATA = {"tiny": "events.npz", "codes": "codes.npz", "bernoulli": "binary.npz"}


def manifest(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change the manifest of a bundle or of the prior inside it, and seal it again."""
    name = rng.choice(("tiny", "text", "codes", "bernoulli"))
    bundle = _linked(sources / name, work / "bundle")
    inside = bundle / "prior" if name == "codes" and rng.random() < 0.5 else bundle
    note = _change_manifest(inside, rng)
    if inside != bundle:
        _sign(bundle)
    return f"{name}: {note}", _uses(bundle, name, sources, rng)


def config(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change the configuration of a bundle's model, from which PyTorch builds the model."""
    name = rng.choice(("tiny", "text", "codes", "bernoulli"))
    bundle = _linked(sources / name, work / "bundle")
    values = json.loads((bundle / "manifest.json").read_bytes())
    component = values["components"]["model"]
    component["config"], note = json_faults.changed(component["config"], rng)
    _write(bundle / "manifest.json", _sealed(values))
    words = ["sample", str(bundle), "-n", "2", "-o", str(work / "out.npz"), "--backend", "torch"]
    return f"{name}: {note}", [partial(run, words)]


def graph(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change a graph, and make its hash fit."""
    name = rng.choice(("tiny", "tiny", "text", "bernoulli"))
    bundle = _linked(sources / name, work / "bundle")
    file = rng.choice(sorted((bundle / "graphs").glob("*.onnx")))
    change = rng.choice((graph_faults.changed, graph_faults.changed, byte_faults.changed))
    content, note = change(file.read_bytes(), rng)
    _write(file, content)
    _sign(bundle)
    return f"{name}, {file.name}: {note}", _uses(bundle, name, sources, rng)


def weights(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change weights or known answers in a safetensors file, and make its hash fit."""
    name = rng.choice(("tiny", "bernoulli", "codes"))
    bundle = _linked(sources / name, work / "bundle")
    file = rng.choice(sorted(bundle.rglob("*.safetensors")))
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.6:
        header, note = json_faults.changed(json.loads(content[8 : 8 + size]), rng)
        if note != NOTHING:
            text = json_faults.text_of(header).encode("utf-8", "surrogatepass")
            content = len(text).to_bytes(8, "little") + text + content[8 + size :]
    else:
        content, note = byte_faults.changed(content, rng)
    _write(file, content)
    if (bundle / "prior").exists():
        _sign(bundle / "prior")
    _sign(bundle)
    return f"{name}, {file.name}: {note}", _uses(bundle, name, sources, rng)


def quantised(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change what a manifest says of quantised weights, a graph that reads codes, or the codes."""
    bundle = _linked(sources / "quantised", work / "bundle")
    part = rng.choice(("manifest", "graph", "graph", "weights"))
    if part == "manifest":
        values = json.loads((bundle / "manifest.json").read_bytes())
        values["quantisation"], note = json_faults.changed(values["quantisation"], rng)
        _write(bundle / "manifest.json", _sealed(values))
    else:
        name = "step.onnxruntime.onnx" if part == "graph" else "weights.safetensors"
        change = graph_faults.changed if part == "graph" else byte_faults.changed
        content, note = change((bundle / "graphs" / name).read_bytes(), rng)
        _write(bundle / "graphs" / name, content)
        _sign(bundle)
    return f"{part}: {note}", _uses(bundle, "quantised", sources, rng)


def tokenizer(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change tokenizer.json, and make its hash fit."""
    bundle = _linked(sources / "text", work / "bundle")
    file = bundle / "tokenizer.json"
    if rng.random() < 0.8:
        values, note = json_faults.changed(json.loads(file.read_bytes()), rng)
        content = json_faults.text_of(values).encode("utf-8", "surrogatepass")
    else:
        content, note = byte_faults.changed(file.read_bytes(), rng)
    _write(file, content)
    _sign(bundle)
    return note, _uses(bundle, "text", sources, rng)


def data(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change a file of events that a command reads with a bundle."""
    name = rng.choice(("events.npz", "small.npz", "events.npy"))
    file = work / name
    change = (
        byte_faults.changed if name.endswith("npy") or rng.random() < 0.5 else npz_faults.changed
    )
    content, note = change((sources / name).read_bytes(), rng)
    file.write_bytes(content)
    tiny = str(sources / "tiny")
    words = rng.choice(
        (
            ["log-prob", tiny, str(file), "--label", "1"],
            ["classify", tiny, str(file)],
            ["sample", tiny, "--observed", str(file), "-n", "3", "--label", "1"],
        )
    )
    return f"{name}: {note}", [partial(run, [*words, "-o", str(work / "out.npz")])]


def training_data(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change the data of a training run: an .npz, or a file in IDX."""
    train = ["train", "--recipe", "tiny", "--steps", "1", "--no-evaluate", "-o", str(work / "run")]
    if rng.random() < 0.5:
        change = rng.choice((byte_faults.changed, npz_faults.changed))
        content, note = change((sources / "data.npz").read_bytes(), rng)
        (work / "data.npz").write_bytes(content)
        return note, [partial(run, [*train, "--data", f"npz:{work / 'data.npz'}"])]
    folder = Path(shutil.copytree(sources / "idx", work / "idx"))
    file = rng.choice(sorted(folder.iterdir()))
    content, note = byte_faults.changed(file.read_bytes(), rng)
    file.write_bytes(content)
    return f"{file.name}: {note}", [partial(run, [*train, "--data", f"idx:{folder}"])]


def checkpoint(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change the config.json or a tensor of a checkpoint, and make the hashes fit."""
    folder = _linked(sources / "run", work / "run")
    values = json.loads((folder / "config.json").read_bytes())
    values.pop("sha256")
    if rng.random() < 0.8:
        values, note = json_faults.changed(values, rng)
    else:
        name = rng.choice(("weights.safetensors", "split.safetensors"))
        content, note = byte_faults.changed((folder / name).read_bytes(), rng)
        _write(folder / name, content)
        values["files"][name] = hashlib.sha256(content).hexdigest()
        note = f"{name}: {note}"
    _write(folder / "config.json", _digested(values))
    return note, [partial(run, ["check-causality", str(folder)])]


def state(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change a training state from which a run resumes; its hash fits or not."""
    folder = _linked(sources / "half", work / "half")
    content = (folder / "state.pt").read_bytes()
    change = state_faults.changed if rng.random() < 0.8 else byte_faults.changed
    content, note = change(content, rng)
    _write(folder / "state.pt", content)
    words = [*TRAINING, "--data", f"npz:{sources / 'data.npz'}", "--resume", "-o", str(folder)]
    return note, [partial(run, words)]


def hugging_face(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Change the config.json or the weights of a Hugging Face transformers folder."""
    folder = _linked(sources / "mistral", work / "mistral")
    if rng.random() < 0.8:
        name = "config.json"
        values, note = json_faults.changed(json.loads((folder / name).read_bytes()), rng)
        content = json_faults.text_of(values).encode("utf-8", "surrogatepass")
    else:
        name = "model.safetensors"
        content, note = byte_faults.changed((folder / name).read_bytes(), rng)
    _write(folder / name, content)
    return f"{name}: {note}", [partial(guarded, partial(load_hugging_face, folder))]


KINDS: Mapping[str, Kind] = {
    kind.__name__: kind
    for kind in (
        manifest,
        config,
        graph,
        weights,
        tokenizer,
        data,
        training_data,
        checkpoint,
        state,
        hugging_face,
        quantised,
    )
}


def _uses(bundle: Path, name: str, sources: Path, rng: random.Random) -> list[Action]:
    """Return what a user does first with a downloaded bundle: `info`, then one command."""
    where, out = str(bundle), ["-o", str(bundle.parent / "out.npz")]
    backend = ["--backend", "onnxruntime"]
    uses = [["sample", where, "-n", "2", *out, *backend], ["verify", where, *backend]]
    match name:
        case "text":
            prompt = ["--prompt", "the cat", "--max-new", "4"]
            uses += [
                ["sample", where, *prompt, *backend],
                ["log-prob", where, "--text", str(sources / "text.txt"), *backend],
            ]
        case "quantised":
            uses.append(["sample", where, "-n", "3", *out, "--backend", "torch"])
        case "tiny":
            uses.append(["log-prob", where, str(sources / _DATA[name]), *out, *backend])
        case _:
            uses.append(["bound", where, str(sources / _DATA[name]), "-k", "4", *out, *backend])
    return [partial(run, ["info", where]), partial(run, rng.choice(uses))]


def _linked(source: Path, target: Path) -> Path:
    """Copy a folder as hard links; replace a file of the copy, never write into it."""
    return Path(shutil.copytree(source, target, copy_function=os.link))


def _write(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def _change_manifest(bundle: Path, rng: random.Random) -> str:
    values, note = json_faults.changed(json.loads((bundle / "manifest.json").read_bytes()), rng)
    _write(bundle / "manifest.json", _sealed(values))
    return note


def _sign(bundle: Path) -> None:
    """Make the sizes and hashes in a manifest fit its files."""
    values = json.loads((bundle / "manifest.json").read_bytes())
    for name, entry in values["files"].items():
        content = (bundle / name).read_bytes()
        entry.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    _write(bundle / "manifest.json", _sealed(values))


def _sealed(values: dict[str, object]) -> bytes:
    return json_faults.text_of(values | {"sha256": seal(values)}).encode()


def _digested(values: dict[str, object]) -> bytes:
    """Return the content of a checkpoint's config.json, with its own hash."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return json_faults.text_of(values | {"sha256": digest}).encode()
