"""Check the inputs and outputs of a bundle's graphs against the data in its manifest."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from ancestral import step_tensors as names
from ancestral.arrays import shown
from ancestral.bundles.manifest import Manifest
from ancestral.bundles.onnx_file import IN_MEMORY, External, read_onnx
from ancestral.errors import BundleError
from ancestral.latent_tensors import LATENT_GRAPH_NAMES, LatentTensors
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.step_tensors import fills_caches, next_of, takes_temperature, tensor

_LENGTH = "t"
"""Axis of positions: named, or of the length of an event."""
_EXTERNAL = 3
"""Most problems with external data that are reported per file; there may be very many."""
_ANY = "*"
"""Axis of any length."""


def signature_problems(manifest: Manifest) -> list[str]:
    """List how signatures differ from what the manifest's events, classes and latents require."""
    autoregressive = manifest.latent is None
    graphs = _autoregressive(manifest) if autoregressive else _latent(manifest)
    found = []
    for name, entry in manifest.graphs.items():
        if name in graphs:
            length = manifest.data.length
            problems = list(_differences(graphs[name], entry.signature, length, autoregressive))
            found += [f"graph {name}: {problem}" for problem in problems]
    return found if autoregressive else [*found, *_latent_problems(manifest)]


def _latent_problems(manifest: Manifest) -> Iterator[str]:
    """Check that there is a decoder, and that log_weights takes what the encoder returns."""
    if "decode" not in manifest.graphs:
        yield "graphs: no graph 'decode'"
    if {"encode", "log_weights"} <= set(manifest.graphs):
        encode, weights = (manifest.graphs[name].signature for name in ("encode", "log_weights"))
        given = {spec.name for spec in encode.outputs} - {"kl"} | {"x", "noise"}
        taken = {spec.name for spec in weights.inputs}
        if given != taken:
            yield f"graph log_weights: expected inputs {sorted(given)}, got {shown(sorted(taken))}"


def graph_problems(
    content: bytes, name: str, manifest: Manifest, most: int
) -> tuple[list[str], int]:
    """List the problems of a graph's ONNX file, and return its number of protobuf messages.

    Args:
        content: content of the file.
        name: name of the file in the bundle.
        manifest: manifest of the bundle.
        most: most messages that the file may have.
    """
    try:
        found = read_onnx(content, most)
    except BundleError as error:
        return [f"{name}: {error}"], 0
    problems = [
        f"{name}: external data in {shown(external.location)}: {wrong}"
        for external in sorted(found.external, key=str)
        if (wrong := _external_problem(external, name, manifest))
    ][:_EXTERNAL]
    for graph, entry in manifest.graphs.items():
        if name not in entry.files.values():
            continue
        for side, values, specs in (
            ("inputs", found.inputs, entry.signature.inputs),
            ("outputs", found.outputs, entry.signature.outputs),
        ):
            unlike = [v for v, s in zip(values, specs, strict=False) if not v.fits(s)]
            if unlike or len(values) != len(specs):
                problems.append(
                    f"{name}: expected the {len(specs)} {side} in the signature of graph {graph}, "
                    f"got {len(values)}; {len(unlike)} of them differ: {shown(unlike)}"
                )
    return problems, found.messages


def _external_problem(external: External, name: str, manifest: Manifest) -> str:
    """Describe the problem of external data; empty if there is none."""
    # Only the exact text that is exported: a runtime may read another spelling differently.
    folder = PurePosixPath(name).parent
    weights = PurePosixPath(manifest.weights)
    expected = str(weights.relative_to(folder)) if weights.is_relative_to(folder) else None
    if IN_MEMORY in external.location or external.location != expected:
        return "expected the weights file"
    size = manifest.files[manifest.weights].size
    if external.offset + (external.length or 0) > size:
        data = "data" if external.length is None else f"{external.length} bytes"
        return f"{data} at {external.offset} end after its {size:,} bytes"
    return ""


def _differences(
    wanted: GraphSignature, signature: GraphSignature, length: int, strict: bool
) -> Iterator[str]:
    for side, expected, specs in (
        ("input", wanted.inputs, signature.inputs),
        ("output", wanted.outputs, signature.outputs),
    ):
        by_name = {spec.name: spec for spec in specs}
        for each in expected:
            got = by_name.get(each.name)
            if got is None or not _is(got, each, length):
                words = f"no such {side}" if got is None else f"{got.dtype} {list(got.axes)}"
                yield f"expected {side} {each.name}, {each.dtype} {list(each.axes)}, got {words}"
    known = {spec.name for spec in wanted.inputs} | {names.OFFSETS}
    more = [spec.name for spec in signature.given if spec.name not in known]
    if strict and more:
        yield f"expected no given inputs other than {sorted(known)}, got {shown(more)}"


def _is(got: TensorSpec, wanted: TensorSpec, length: int) -> bool:
    return (
        got.dtype == wanted.dtype
        and len(got.axes) == len(wanted.axes)
        and all(
            axis == expected
            or expected == _ANY
            or (expected == _LENGTH and (isinstance(axis, str) or axis == length))
            for axis, expected in zip(got.axes, wanted.axes, strict=True)
        )
    )


def _autoregressive(manifest: Manifest) -> dict[str, GraphSignature]:
    t, levels = manifest.data.length, manifest.data.levels
    label = () if manifest.data.num_classes is None else (tensor(names.LABEL, "b"),)
    x, u = tensor(names.X, "b", _LENGTH), tensor(names.U, "b", _LENGTH)
    given = (tensor(names.U, "b", t), tensor(names.OBSERVED, "b", t), *label)
    temperature, filters, adjusted = (names.settings(each, levels) for each in names.STEP_GRAPHS)
    position = tensor(names.POSITION, "b")
    state = (position, tensor(names.VALUES, "b", t), tensor(names.LOG_P, "b", t))
    weighed = (*state, tensor(names.LOG_Q, "b", t))
    full = (*weighed, *names.alternatives(t, levels))
    # A likelihood without logits as parameters has a step without temperature.
    step: tuple[tuple[TensorSpec, ...], ...] = (*given, *state), state
    if "step" in manifest.graphs and takes_temperature(manifest.graphs["step"].signature):
        step = (*given, *temperature, *weighed), weighed
    # A bundle of an earlier version has a prefill of fresh caches, which no loop runs.
    prefill = (tensor(names.X, "b", _LENGTH), *label)
    if "prefill" in manifest.graphs and fills_caches(manifest.graphs["prefill"].signature):
        prefill = (state[1], position, *label)
    sides = {
        "log_prob": ((x, *label), (tensor(names.LOG_PROB, "b", _LENGTH),)),
        "logits": ((x, *label), (tensor(names.LOGITS, "b", _LENGTH, levels),)),
        "redraw": ((x, u, *label), (tensor(names.REDRAWN, "b", _LENGTH),)),
        "top_log_prob": (
            (x, *label),
            (
                tensor(names.LOG_PROB, "b", _LENGTH),
                tensor(names.TOP_IDS, "b", _LENGTH, names.most_of(levels)),
                tensor(names.TOP_LOG_PROB, "b", _LENGTH, names.most_of(levels)),
            ),
        ),
        "prefill": (prefill, ()),
        "step": (step[0], tuple(map(next_of, step[1]))),
        "step_filtered": ((*given, *filters, *weighed), tuple(map(next_of, weighed))),
        "step_full": ((*given, *adjusted, *full), tuple(map(next_of, full))),
    }
    return {name: GraphSignature(inputs=i, outputs=o) for name, (i, o) in sides.items()}


def _latent(manifest: Manifest) -> dict[str, GraphSignature]:
    latent = manifest.latent
    assert latent is not None
    codes = latent.posterior == "codes"
    tensors = LatentTensors(
        length=manifest.data.length,
        continuous=latent.continuous,
        shape=latent.shape,
        codes=codes,
        posterior=[("codes" if codes else "mean", latent.shape)],
        observation=(_ANY, _ANY),
        chooses=latent.prior == "mixture",
        closed_kl=False,
    )
    return {name: tensors.signature(name) for name in LATENT_GRAPH_NAMES}
