"""Load checkpoints with absurd values in config.json, under limits of memory and time.

This is a program, since the limits are for a whole process:

    python -m tests.train.hostile FOLDER BUNDLE

For each case it prints a line of JSON with the name, and a second one with the result.
"""

import dataclasses
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ancestral.bundles.bundle import Bundle
from ancestral.dataspec import DataSpec
from ancestral.engine import Engine
from ancestral.errors import AncestralError
from ancestral.export.recast import recast
from ancestral.train.checkpoint import load_checkpoint, save_checkpoint
from ancestral.train.models.families import Model
from ancestral.train.models.recurrent import Recurrent, RecurrentConfig
from ancestral.train.models.table import Table, TableConfig
from ancestral.train.stored_model import bundled_model
from tests.latent_toys import make_latent
from tests.limited import limit
from tests.tamper import change_manifest
from tests.toys import make
from tests.train.hostile_folders import attempt_all

MEMORY, SECONDS = 2**30, 10
_IMAGES = DataSpec(name="images", event_shape=(3, 3), levels=3)
MODELS: dict[str, Callable[[], Model]] = {
    "transformer": lambda: make("tiny"),
    "rotary": lambda: make("llama"),
    "recurrent": lambda: make("lstm"),
    "wavenet": lambda: make("wavenet"),
    "pixelcnn": lambda: make("pixelcnn"),
    "above": lambda: Recurrent(RecurrentConfig(width=4, positions=False, above=True), _IMAGES),
    "table": lambda: make("table"),
    "left": lambda: Table(TableConfig(neighbours=((0, -1),)), _IMAGES),
    "vae": lambda: make_latent("bernoulli"),
    "convolved": lambda: make_latent("convolved"),
    "vqvae": lambda: make_latent("codes"),
    "autoencoder_kl": lambda: make_latent("diffusion"),
}
"""Models of each family; some have a second one, for example without learned positions."""
_NESTED = json.loads("[" * 40 + "1" + "]" * 40)
_OF_ANY: tuple[Any, ...] = (float("nan"), "x" * 2**14, _NESTED)
_OF_INTEGERS: tuple[Any, ...] = (2**31 - 1, 10**9, 2**70, -1, True, "3")
_OF_LISTS: tuple[Any, ...] = ([2**31 - 1] * 3, [1] * 30_000, [[-1, 0]] * 20_000, [[2**40]])
_OF_FLOATS: tuple[Any, ...] = (float("inf"), -1.0, True, "0.5")
_DATA: dict[str, dict[str, Any]] = {
    "levels": {"levels": 2**31 - 1},
    "more levels": {"levels": 2**62},
    "classes": {"num_classes": 2**40},
    "a long event": {"event_shape": [2**62], "ordering": "raster"},
    "a large image": {"event_shape": [2**12, 2**12], "ordering": "raster"},
    "a wide event": {"event_shape": [3, 2**40], "ordering": "raster"},
    "no level": {"levels": 0},
    "a name": {"name": "x" * 2**20, "levels": "three"},
}
"""Changes of the data to a space of events that does not fit the weights."""


def configs(family: str, config: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield changes of each field to each absurd value for its type, and of some together."""
    assert dataclasses.is_dataclass(config)
    assert not isinstance(config, type)
    for field in dataclasses.fields(config):
        kind = str(field.type)
        values = _OF_ANY
        values += _OF_INTEGERS if "int" in kind and "tuple" not in kind else ()
        values += _OF_LISTS if "tuple" in kind else ()
        values += _OF_FLOATS if "float" in kind and "tuple" not in kind else ()
        for value in values:
            yield f"{family}.{field.name}={_named(value)}", {field.name: value}
    yield f"{family} unknown", {"colour": "red", "x" * 2**20: "y" * 2**20}
    yield f"{family} many unknown", {f"field {i}": i for i in range(20_000)}
    together = {
        "layers": 10_000,
        "blocks": 2**30,
        "widths": [1, 1],
        "kernel": 2**20 + 1,
        "first_kernel": 2**20 + 1,
        "cells": 1,
        "neighbours": [[-1, 0]] * 25,
        "layers_per_block": 4096,
        "block_out_channels": [2] * 16,
    }
    known = {field.name for field in dataclasses.fields(config)}
    if together.keys() & known:
        yield f"{family} together", {name: together[name] for name in together.keys() & known}


def _named(value: object) -> str:
    text = repr(value)
    return text if len(text) < 24 else f"{text[:16]}.. of {len(text)}"


def _sign(folder: Path, body: dict[str, Any]) -> None:
    """Write config.json with a hash that fits."""
    body = {name: value for name, value in body.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (folder / "config.json").write_text(json.dumps(body | {"sha256": digest}))


def _attempt(name: str, action: Callable[[], object]) -> None:
    """Run a case under the limit of time, and print its result."""
    print(json.dumps({"begins": name}), flush=True)
    used = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(used) + SECONDS + 1, resource.RLIM_INFINITY))
    kind, message = "loaded", ""
    try:
        action()
    except AncestralError as error:
        kind, message = type(error).__name__, str(error)
    except BaseException as error:  # noqa: BLE001 - the test reports any other exception
        kind, message = f"raw {type(error).__name__}", str(error)
    result = {"name": name, "kind": kind, "length": len(message), "message": message[:3000]}
    print(json.dumps(result), flush=True)


def _checkpoints(folder: Path) -> None:
    for family, make_model in MODELS.items():
        model = make_model()
        path = folder / family
        save_checkpoint(path, model)
        body = json.loads((path / "config.json").read_text())
        load_checkpoint(path)
        for name, changes in configs(family, model.config):
            _sign(path, body | {"model": body["model"] | changes})
            _attempt(name, lambda path=path: load_checkpoint(path))
        for name, changes in _DATA.items():
            _sign(path, body | {"data": body["data"] | changes})
            _attempt(f"{family} data {name}", lambda path=path: load_checkpoint(path))
        _sign(path, body)
        load_checkpoint(path)


def _bundles(bundle: Path, folder: Path) -> None:
    """Change the config of a Transformer's bundle; load it on torch, and recast it."""
    component = json.loads((bundle / "manifest.json").read_text())["components"]["model"]
    for changes in (
        {"layers": 2**31 - 1},
        {"layers": 10_000},
        {"width": 10**9},
        {"hidden": 2**31},
        {"heads": True},
        {"dropout": "x" * 2**20},
        {"colour": "red"},
        {"windowed": [0] * 200_000, "window": 1},
    ):
        config = component["config"] | changes

        def change(manifest: dict[str, Any], config: dict[str, Any] = config) -> None:
            manifest["components"]["model"]["config"] = config

        change_manifest(bundle, change)
        first = next(iter(changes))
        _attempt(f"bundle {first}", lambda: bundled_model(Bundle.open(bundle)))
        _attempt(f"engine {first}", lambda: Engine.load(bundle, backend="torch"))
        _attempt(f"recast {first}", lambda: recast(bundle, folder / "recast", "float16"))


def main() -> None:
    """Run all cases under limits of memory and time, above what the imports took."""
    folder, bundle = map(Path, sys.argv[1:])
    # Each attempt sets its own limit of time.
    limit(MEMORY, seconds=None)
    attempt_all(folder, _attempt)
    _checkpoints(folder)
    _bundles(bundle, folder)
    print(json.dumps({"done": True}))


if __name__ == "__main__":
    main()
