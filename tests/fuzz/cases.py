"""Cases by kind and number: a copy of something sound, changed at random, and what is done with it.

A case is a function of its kind and its number alone, so that a failure is repeated by
`python -m tests.fuzz.worker FOLDER`, to which its kind and number are typed.
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
"""Does something with a changed file, and returns the exit code of that."""
Kind = Callable[[random.Random, Path, Path], tuple[str, list[Action]]]
"""Given noise, the sources and an empty folder: what was changed, and what is done with it."""

_DATA = {"tiny": "events.npz", "codes": "codes.npz", "bernoulli": "binary.npz"}


def manifest(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A changed manifest, of the bundle or of the prior inside it, sealed."""
    name = rng.choice(("tiny", "text", "codes", "bernoulli"))
    bundle = _linked(sources / name, work / "bundle")
    inside = bundle / "prior" if name == "codes" and rng.random() < 0.5 else bundle
    told = _change_manifest(inside, rng)
    if inside != bundle:
        _sign(bundle)
    return f"{name}: {told}", _uses(bundle, name, sources, rng)


def config(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A changed configuration of a bundle's model, which PyTorch is to build."""
    name = rng.choice(("tiny", "text", "codes", "bernoulli"))
    bundle = _linked(sources / name, work / "bundle")
    values = json.loads((bundle / "manifest.json").read_bytes())
    component = values["components"]["model"]
    component["config"], told = json_faults.changed(component["config"], rng)
    _write(bundle / "manifest.json", _sealed(values))
    words = ["sample", str(bundle), "-n", "2", "-o", str(work / "out.npz"), "--backend", "torch"]
    return f"{name}: {told}", [partial(run, words)]


def graph(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A changed graph, whose hash is made to fit."""
    name = rng.choice(("tiny", "tiny", "text", "bernoulli"))
    bundle = _linked(sources / name, work / "bundle")
    file = rng.choice(sorted((bundle / "graphs").glob("*.onnx")))
    change = rng.choice((graph_faults.changed, graph_faults.changed, byte_faults.changed))
    content, told = change(file.read_bytes(), rng)
    _write(file, content)
    _sign(bundle)
    return f"{name}, {file.name}: {told}", _uses(bundle, name, sources, rng)


def weights(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Changed weights or known answers, in safetensors, whose hash is made to fit."""
    name = rng.choice(("tiny", "bernoulli", "codes"))
    bundle = _linked(sources / name, work / "bundle")
    file = rng.choice(sorted(bundle.rglob("*.safetensors")))
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.6:
        header, told = json_faults.changed(json.loads(content[8 : 8 + size]), rng)
        if told != NOTHING:
            text = json_faults.text_of(header).encode("utf-8", "surrogatepass")
            content = len(text).to_bytes(8, "little") + text + content[8 + size :]
    else:
        content, told = byte_faults.changed(content, rng)
    _write(file, content)
    if (bundle / "prior").exists():
        _sign(bundle / "prior")
    _sign(bundle)
    return f"{name}, {file.name}: {told}", _uses(bundle, name, sources, rng)


def tokenizer(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A changed tokenizer.json, whose hash is made to fit."""
    bundle = _linked(sources / "text", work / "bundle")
    file = bundle / "tokenizer.json"
    if rng.random() < 0.8:
        values, told = json_faults.changed(json.loads(file.read_bytes()), rng)
        content = json_faults.text_of(values).encode("utf-8", "surrogatepass")
    else:
        content, told = byte_faults.changed(file.read_bytes(), rng)
    _write(file, content)
    _sign(bundle)
    return told, _uses(bundle, "text", sources, rng)


def data(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A changed file of events, read by a command that uses a bundle."""
    name = rng.choice(("events.npz", "small.npz", "events.npy"))
    file = work / name
    change = (
        byte_faults.changed if name.endswith("npy") or rng.random() < 0.5 else npz_faults.changed
    )
    content, told = change((sources / name).read_bytes(), rng)
    file.write_bytes(content)
    tiny = str(sources / "tiny")
    words = rng.choice(
        (
            ["log-prob", tiny, str(file), "--label", "1"],
            ["classify", tiny, str(file)],
            ["sample", tiny, "--observed", str(file), "-n", "3", "--label", "1"],
        )
    )
    return f"{name}: {told}", [partial(run, [*words, "-o", str(work / "out.npz")])]


def training_data(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """Changed data of a training run: an .npz, or a file in IDX."""
    train = ["train", "--recipe", "tiny", "--steps", "1", "--no-evaluate", "-o", str(work / "run")]
    if rng.random() < 0.5:
        change = rng.choice((byte_faults.changed, npz_faults.changed))
        content, told = change((sources / "data.npz").read_bytes(), rng)
        (work / "data.npz").write_bytes(content)
        return told, [partial(run, [*train, "--data", f"npz:{work / 'data.npz'}"])]
    folder = Path(shutil.copytree(sources / "idx", work / "idx"))
    file = rng.choice(sorted(folder.iterdir()))
    content, told = byte_faults.changed(file.read_bytes(), rng)
    file.write_bytes(content)
    return f"{file.name}: {told}", [partial(run, [*train, "--data", f"idx:{folder}"])]


def checkpoint(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A checkpoint with a changed config.json, or with a changed tensor, whose hashes fit."""
    folder = _linked(sources / "run", work / "run")
    values = json.loads((folder / "config.json").read_bytes())
    values.pop("sha256")
    if rng.random() < 0.8:
        values, told = json_faults.changed(values, rng)
    else:
        name = rng.choice(("weights.safetensors", "split.safetensors"))
        content, told = byte_faults.changed((folder / name).read_bytes(), rng)
        _write(folder / name, content)
        values["files"][name] = hashlib.sha256(content).hexdigest()
        told = f"{name}: {told}"
    _write(folder / "config.json", _digested(values))
    return told, [partial(run, ["check-causality", str(folder)])]


def state(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A changed training state, whose hash is made to fit or not, from which a run goes on."""
    folder = _linked(sources / "half", work / "half")
    content = (folder / "state.pt").read_bytes()
    change = state_faults.changed if rng.random() < 0.8 else byte_faults.changed
    content, told = change(content, rng)
    _write(folder / "state.pt", content)
    words = [*TRAINING, "--data", f"npz:{sources / 'data.npz'}", "--resume", "-o", str(folder)]
    return told, [partial(run, words)]


def hugging_face(rng: random.Random, sources: Path, work: Path) -> tuple[str, list[Action]]:
    """A folder of transformers with a changed config.json, or with a changed file of weights."""
    folder = _linked(sources / "mistral", work / "mistral")
    if rng.random() < 0.8:
        name = "config.json"
        values, told = json_faults.changed(json.loads((folder / name).read_bytes()), rng)
        content = json_faults.text_of(values).encode("utf-8", "surrogatepass")
    else:
        name = "model.safetensors"
        content, told = byte_faults.changed((folder / name).read_bytes(), rng)
    _write(folder / name, content)
    return f"{name}: {told}", [partial(guarded, partial(load_hugging_face, folder))]


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
    )
}


def _uses(bundle: Path, name: str, sources: Path, rng: random.Random) -> list[Action]:
    """What a user does first with a bundle that was downloaded: look, then use it."""
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
        case "tiny":
            uses.append(["log-prob", where, str(sources / _DATA[name]), *out, *backend])
        case _:
            uses.append(["bound", where, str(sources / _DATA[name]), "-k", "4", *out, *backend])
    return [partial(run, ["info", where]), partial(run, rng.choice(uses))]


def _linked(source: Path, target: Path) -> Path:
    """A copy whose files are hard links: replace one, never write into it."""
    return Path(shutil.copytree(source, target, copy_function=os.link))


def _write(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def _change_manifest(bundle: Path, rng: random.Random) -> str:
    values, told = json_faults.changed(json.loads((bundle / "manifest.json").read_bytes()), rng)
    _write(bundle / "manifest.json", _sealed(values))
    return told


def _sign(bundle: Path) -> None:
    """Make the sizes and hashes of a manifest fit its files, where it is still a manifest."""
    values = json.loads((bundle / "manifest.json").read_bytes())
    for name, entry in values["files"].items():
        content = (bundle / name).read_bytes()
        entry.update(size=len(content), sha256=hashlib.sha256(content).hexdigest())
    _write(bundle / "manifest.json", _sealed(values))


def _sealed(values: dict[str, object]) -> bytes:
    return json_faults.text_of(values | {"sha256": seal(values)}).encode()


def _digested(values: dict[str, object]) -> bytes:
    """The content of a checkpoint's config.json, with the hash of itself."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return json_faults.text_of(values | {"sha256": digest}).encode()
