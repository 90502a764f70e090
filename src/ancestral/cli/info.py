"""`ancestral info`: what a bundle holds."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.options import BundlePath, Json
from ancestral.cli.output import json_text, show, table

if TYPE_CHECKING:
    from ancestral.bundle import Bundle
    from ancestral.manifest import Manifest

_LOOP = frozenset({"position", "values", "log_p", "log_q"})
"""What a step carries beside the model's own cache."""
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "bool": 1}


def info(
    bundle: BundlePath,
    check: Annotated[
        bool, typer.Option("--check", help="Hash every file, whatever was hashed before.")
    ] = False,
    json: Json = False,
) -> None:
    """Show what a bundle holds: model, data, graphs, memory of a sample, files, versions."""
    from ancestral.bundle import Bundle

    opened = Bundle.open(bundle, rehash=check)
    document = describe(opened)
    if json:
        typer.echo(json_text(document))
        return
    _show(document, "every file hashed, none altered" if check else "sound")


def describe(bundle: "Bundle") -> dict[str, Any]:
    """A bundle in plain values: the JSON of `info`."""
    manifest = bundle.manifest
    per_row, per_position = cache_bytes(manifest)
    return {
        "path": str(bundle.path),
        "format_version": manifest.version,
        "kind": manifest.kind,
        "dtype": manifest.dtype,
        "data": manifest.data.model_dump(mode="json"),
        "label_prior": manifest.label_prior,
        "first_position": manifest.first_position,
        "components": {
            name: component.model_dump(mode="json")
            for name, component in manifest.components.items()
        },
        "parameters": sum(component.parameters for component in manifest.components.values()),
        "graphs": {name: sorted(entry.files) for name, entry in manifest.graphs.items()},
        "cache_bytes_per_row": per_row,
        "cache_bytes_per_position": per_position,
        "files": {name: entry.model_dump() for name, entry in manifest.files.items()},
        "bytes": sum(entry.size for entry in manifest.files.values()),
        "written_by": manifest.written_by,
    }


def cache_bytes(manifest: "Manifest") -> tuple[int, float]:
    """Bytes of the model's cache for one row, and of what one position appends to it.

    Both are 0 where the bundle has no step graph.
    """
    from ancestral.signature import Update

    if "step" not in manifest.graphs:
        return 0, 0.0
    signature = manifest.graphs["step"].signature
    row, position = 0, 0.0
    for pair in signature.carried:
        if pair.input in _LOOP:
            continue
        spec = signature.input(pair.input)
        size = _BYTES[spec.dtype]
        for length in spec.shape({"b": 1}):
            size *= length
        row += size
        if pair.update is Update.APPEND:
            position += size / manifest.data.length
    return row, position


def _show(document: dict[str, Any], state: str) -> None:
    data = document["data"]
    prior = document["label_prior"]
    lines = [
        ("bundle", f"{document['path']} ({state})"),
        ("kind", f"{document['kind']}, {document['dtype']}, format {document['format_version']}"),
        ("data", f"{data['name']}: events {data['event_shape']} of {data['levels']} levels"),
        ("labels", "none" if prior is None else f"0 .. {data['num_classes'] - 1}"),
        ("text", data["tokenizer"] or "no"),
        ("parameters", f"{document['parameters']:,}"),
        (
            "cache",
            f"{document['cache_bytes_per_row']:,} bytes a sample, "
            f"{document['cache_bytes_per_position']:,.0f} a position",
        ),
        ("size", f"{document['bytes']:,} bytes in {len(document['files'])} files"),
        ("written by", ", ".join(f"{k} {v}" for k, v in document["written_by"].items())),
    ]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        typer.echo(f"{name:<{width}}  {value}")
    for name, component in document["components"].items():
        config = ", ".join(f"{k} {v}" for k, v in component["config"].items())
        typer.echo(f"\n{name}: {component['family']} ({config})")
    graphs = [(name, ", ".join(forms)) for name, forms in document["graphs"].items()]
    files = [(name, f"{f['size']:,}", f["sha256"][:16]) for name, f in document["files"].items()]
    show(
        table("Graphs", ("graph", "forms"), graphs),
        table("Files", ("file", "bytes", "SHA-256 begins"), files),
    )
