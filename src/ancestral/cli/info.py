"""`ancestral info`: show what a bundle contains."""

import math
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli import options
from ancestral.cli.output import json_text, put, show, table

if TYPE_CHECKING:
    from ancestral.bundles.bundle import Bundle
    from ancestral.bundles.manifest import Manifest


def info(
    bundle: options.BundlePath,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            rich_help_panel="Checks",
            help="Compute the hash of every file again, even if it was checked before.",
        ),
    ] = False,
    json: options.Json = False,
) -> None:
    """Show what a bundle contains.

    Shows the model, the data, the latents or the cache memory of a sample, the graphs and the
    files.
    """
    from ancestral.bundles.bundle import Bundle

    opened = Bundle.open(bundle, rehash=check)
    document = describe(opened)
    if json:
        put(json_text(document))
        return
    _show(document, "every file hashed, none altered" if check else "intact")


def describe(bundle: "Bundle") -> dict[str, Any]:
    """Return a bundle as plain values, the JSON of `info`; its prior, if any, is nested."""
    from ancestral.bundles.manifest import ignored_fields, versions

    manifest = bundle.manifest
    plain = manifest.model_dump(mode="json")
    files = plain["files"]
    prior = describe(bundle.prior()) if manifest.has_prior else None
    size = sum(entry["size"] for entry in files.values())
    per_row, per_position = _cache_bytes(manifest)
    return {
        "path": str(bundle.path),
        "format_version": manifest.version,
        "kind": manifest.kind,
        "dtype": manifest.dtype,
        "quantisation": plain["quantisation"],
        "cost": plain["cost"],
        "data": plain["data"],
        "tokenizer_off": bundle.unused_tokenizer_settings(),
        "label_prior": manifest.label_prior,
        "first_position": manifest.first_position,
        "latent": plain["latent"],
        "prior": prior,
        "components": plain["components"],
        "context": manifest.data.length,
        "vocabulary": manifest.data.levels,
        "start": _start(manifest),
        "parameters": sum(component.parameters for component in manifest.components.values()),
        "graphs": {name: sorted(entry.files) for name, entry in manifest.graphs.items()},
        "cache_bytes_per_row": per_row,
        "cache_bytes_per_position": per_position,
        "files": files,
        "bytes": size if prior is None else size + prior["bytes"],
        "unlisted": bundle.unlisted(),
        "written_by": versions(manifest.written_by),
        "ignored_fields": ignored_fields(manifest.written_by),
    }


def _start(manifest: "Manifest") -> int | str | None:
    """Return the first input of the model: a token id, "learned", or None if x_0 must be given."""
    if manifest.kind != "autoregressive" or manifest.first_position:
        return None
    start = manifest.components["model"].config.get("start")
    return start if isinstance(start, int) else "learned"


def _cache_bytes(manifest: "Manifest") -> tuple[int, float]:
    """Return the bytes of the model's cache for one row, and the bytes that a position appends.

    Both are 0 if the bundle has no step graph.
    """
    from ancestral.signature import BYTES, Update
    from ancestral.step_tensors import STATE

    if "step" not in manifest.graphs:
        return 0, 0.0
    signature, row, position = manifest.graphs["step"].signature, 0, 0.0
    for pair in signature.carried:
        if pair.input not in STATE:
            spec = signature.input(pair.input)
            size = BYTES[spec.dtype] * math.prod(spec.shape({"b": 1}))
            row += size
            position += size / manifest.data.length if pair.update is Update.APPEND else 0
    return row, position


def _show(document: dict[str, Any], state: str) -> None:
    data, prior = document["data"], document["prior"]
    count = len(document["files"]) + (0 if prior is None else len(prior["files"]))
    lines = [
        ("bundle", f"{document['path']} ({state})"),
        ("kind", f"{document['kind']}, {document['dtype']}, format {document['format_version']}"),
        ("data", f"{data['name']}: events {data['event_shape']} of {data['levels']} levels"),
        ("labels", _labels(document)),
        ("text", _text(data, document["tokenizer_off"])),
        ("parameters", f"{document['parameters']:,}"),
        *_quantised(document),
        *_of_kind(document),
        ("size", f"{document['bytes']:,} bytes in {count} files"),
        ("written by", ", ".join(f"{k} {v}" for k, v in document["written_by"].items())),
    ]
    if document["ignored_fields"]:
        names = ", ".join(document["ignored_fields"])
        lines.append(("ignored", f"{names}: fields of the model's config.json"))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        put(f"{name:<{width}}  {value}")
    for name, component in document["components"].items():
        config = ", ".join(f"{k} {v}" for k, v in component["config"].items())
        put(f"\n{name}: {component['family']} ({config})")
    graphs = [(name, ", ".join(forms)) for name, forms in document["graphs"].items()]
    files = [(name, f"{f['size']:,}", f["sha256"][:16]) for name, f in document["files"].items()]
    show(
        table("Graphs", ("graph", "forms"), graphs),
        table("Files", ("file", "bytes", "SHA-256 begins"), files),
    )
    if document["unlisted"]:
        put("Files that are not part of the bundle (the manifest does not list them):")
        for name in document["unlisted"]:
            put(f"  {' '.join(name.splitlines())}")
        put("")
    if prior is not None:
        put("The prior over codes, a bundle inside this one\n")
        _show(prior, state)


def _labels(document: dict[str, Any]) -> str:
    """Return the labels of the model, or of its prior."""
    if document["prior"] is not None:
        return f"{_labels(document['prior'])} (of the prior)"
    classes = document["data"]["num_classes"]
    return "none" if classes is None else f"0 .. {classes - 1}"


def _text(data: dict[str, Any], off: list[str]) -> str:
    """Return the tokenizer, its stop tokens, and the tokenizer settings that are not used."""
    if data["tokenizer"] is None:
        return "no"
    stop = " and ".join(map(str, data.get("stop", ())))
    ends = f", ends at {stop}" if stop else ""
    unused = f"; switched off: {', '.join(off)}" if off else ""
    return f"{data['tokenizer']}{ends}{unused}"


def _quantised(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines about quantised weights, what stays as it is and why, and the cost."""
    from ancestral.bundles.cost import Cost
    from ancestral.bundles.cost_rows import cost_rows
    from ancestral.bundles.quantisation import Quantisation

    if document["quantisation"] is None:
        return []
    plan = Quantisation.model_validate(document["quantisation"])
    by_kind = Counter((each.bits, each.group) for each in plan.tensors.values())
    stored = [
        f"{count} in int{bits}, groups of {group}" for (bits, group), count in by_kind.items()
    ]
    reasons = Counter(plan.kept.values())
    lines = [
        ("weights", f"{'; '.join(stored)}; {plan.scales} scales; activations {plan.compute}"),
        *(("in float32", f"{count} weights: {reason}") for reason, count in reasons.items()),
    ]
    if document["cost"] is None:
        return [*lines, ("cost", "not measured; run `ancestral compare` with the source and data")]
    return [*lines, *cost_rows(Cost.model_validate(document["cost"]))]


def _of_kind(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines about positions and cache, or about latents of a latent variable model."""
    latent = document["latent"]
    if latent is not None:
        over = "a density of real x" if latent["continuous"] else "over levels"
        z = f"z {latent['shape']}, q(z | x) {latent['posterior']}, p(z) {latent['prior']}"
        return [("latents", f"{z}; p(x | z) {over}")]
    row, position = document["cache_bytes_per_row"], document["cache_bytes_per_position"]
    begins = {
        None: "no start symbol: the first value must be given, and log p is log p(x_2.. | x_1)",
        "learned": "a learned start symbol",
    }
    return [
        ("context", f"{document['context']:,} positions"),
        ("vocabulary", f"{document['vocabulary']:,} values"),
        ("start", begins.get(document["start"], f"token {document['start']}")),
        ("cache", f"{row:,} bytes/sample, {position:,.0f} bytes/position"),
    ]
