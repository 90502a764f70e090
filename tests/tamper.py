"""Bundles with a planted fault: copies with a change, and with hashes that are valid or not."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ancestral.bundles.manifest import FORMAT_VERSION, seal

Edit = Callable[[onnx.GraphProto], None]


def copied(bundle: Path, folder: Path) -> Path:
    """Return a copy of a bundle that may be changed."""
    return Path(shutil.copytree(bundle, folder / "copy", dirs_exist_ok=True))


def edited(bundle: Path, folder: Path, edit: Edit, graphs: str = "*") -> Path:
    """Return a copy with edits to the graphs of matching names; its hashes are valid."""
    copy = copied(bundle, folder)
    files = sorted((copy / "graphs").glob(f"{graphs}.onnx"))
    assert files, f"no graph matches {graphs}"
    changed = 0
    for file in files:
        before = file.read_bytes()
        model = onnx.load_model_from_string(before)
        edit(model.graph)
        file.write_bytes(model.SerializeToString())
        changed += file.read_bytes() != before
    assert changed, "the edit changed nothing"
    sign(copy)
    return copy


def sign(bundle: Path) -> None:
    """Set the sizes and hashes in the manifest to those of the files."""

    def true_hashes(manifest: dict[str, Any]) -> None:
        for name in manifest["files"]:
            data = (bundle / name).read_bytes()
            entry = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            manifest["files"][name] = entry

    change_manifest(bundle, true_hashes)


def add_file(bundle: Path, name: str, content: bytes, **data: Any) -> None:
    """Add a file to a bundle, of the newest format, and fields about it to the manifest's data."""
    (bundle / name).write_bytes(content)

    def enter(manifest: dict[str, Any]) -> None:
        manifest["version"] = FORMAT_VERSION
        manifest["files"][name] = {"size": 0, "sha256": ""}
        manifest["data"].update(data)

    change_manifest(bundle, enter)
    sign(bundle)


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest's JSON in place, and update its seal."""
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_bytes())
    change(manifest)
    manifest["sha256"] = seal(manifest)
    file.write_text(json.dumps(manifest))


def set_attribute(op_type: str, name: str, value: Any) -> Edit:
    """Return an edit that sets an attribute of every node whose type ends with `op_type`."""

    def edit(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if node.op_type.endswith(op_type):
                kept = [each for each in node.attribute if each.name != name]
                del node.attribute[:]
                node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return edit


def scale_weights(file: Path, factor: float = 1.05) -> None:
    """Multiply all weights in a float32 safetensors file in place: its size and inode stay."""
    with file.open("r+b") as opened:
        start = 8 + int.from_bytes(opened.read(8), "little")
        opened.seek(start)
        scaled = np.frombuffer(opened.read(), np.float32) * np.float32(factor)
        opened.seek(start)
        opened.write(scaled.tobytes())
