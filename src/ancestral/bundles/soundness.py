"""What is wrong with a bundle: names and sizes of its files, and what graphs and tensors hold."""

import math
from pathlib import Path, PurePosixPath

from ancestral.arrays import shown
from ancestral.bundles.answers import CHECKED, shape_problems, value_problems
from ancestral.bundles.graph_contract import graph_problems, signature_problems
from ancestral.bundles.manifest import MANIFEST, PRIOR, Manifest
from ancestral.bundles.onnx_file import IN_MEMORY
from ancestral.bundles.tensors_file import read_header, read_small
from ancestral.limits import (
    FILE_NAME_PART,
    GRAPH_BYTES,
    GRAPHS_BYTES,
    GRAPHS_MESSAGES,
    MANIFEST_BYTES,
    TOKENIZER_BYTES,
)
from ancestral.text.tokenizer import TOKENIZER_FILES


def path_problems(manifest: Manifest) -> list[str]:
    """Names that leave the bundle, and names without a hash."""
    problems = [
        f"{name if name.isprintable() else shown(name)}: expected a plain path inside the bundle"
        for name in manifest.files
        if not is_plain(name)
    ]
    problems += _size_problems(manifest)
    tokenizer = manifest.data.tokenizer_file
    used = sorted(manifest.used) + ([] if tokenizer is None else [tokenizer])
    missing = (name for name in used if name not in manifest.files)
    problems += [f"{name}: is used, but the manifest has no hash of it" for name in missing]
    return problems


def is_plain(name: str) -> bool:
    """Whether a name is a path inside the bundle that every file system can have."""
    pure = PurePosixPath(name)
    return (
        name == str(pure)
        and name.isprintable()
        and not pure.is_absolute()
        and not {".", "..", IN_MEMORY}.intersection(pure.parts)
        and "\\" not in name
        and all(len(part.encode()) <= FILE_NAME_PART for part in pure.parts)
    )


def _size_problems(manifest: Manifest) -> list[str]:
    """Files that would be read whole and are too large for it."""
    sizes = {name: entry.size for name, entry in manifest.files.items()}
    graphs = {name: size for name, size in sizes.items() if name.endswith(".onnx")}
    limits = dict.fromkeys(graphs, GRAPH_BYTES)
    limits |= dict.fromkeys(TOKENIZER_FILES.values(), TOKENIZER_BYTES)
    limits |= {f"{PRIOR}/{MANIFEST}": MANIFEST_BYTES}
    problems = [
        f"{name}: expected at most {most:,} bytes, got {sizes[name]:,}"
        for name, most in limits.items()
        if sizes.get(name, 0) > most
    ]
    if sum(graphs.values()) > GRAPHS_BYTES:
        problems.append(f"graphs: expected at most {GRAPHS_BYTES:,} bytes together")
    return problems


def prior_problems(manifest: Manifest, around: Manifest) -> list[str]:
    """How a prior does not suit the bundle that it is in."""
    latent = around.latent
    assert latent is not None
    if manifest.kind != "autoregressive":
        return ["expected an autoregressive model: a prior has no prior of its own"]
    if manifest.data.length != math.prod(latent.shape):
        return [
            f"data: expected a model of latents {list(latent.shape)}, got one of events "
            f"{list(manifest.data.event_shape)}"
        ]
    return []


def content_problems(path: Path, manifest: Manifest) -> list[str]:
    """What is wrong in files that are the ones of the manifest: in graphs and in tensors."""
    problems = signature_problems(manifest)
    graphs = [name for name in manifest.files if name.endswith(".onnx")]
    try:
        problems += _tensor_problems(path, manifest)
        left = GRAPHS_MESSAGES
        for name in graphs:
            found, messages = graph_problems((path / name).read_bytes(), name, manifest, left)
            problems += found
            left -= messages
    except OSError as error:
        problems.append(f"cannot be read: {error}")
    return problems


def _tensor_problems(path: Path, manifest: Manifest) -> list[str]:
    """What is wrong with the weights' header and with the known answers.

    Raises:
        OSError: a file cannot be read.
    """
    headers, problems = {}, []
    for name in dict.fromkeys((manifest.weights, manifest.known_answers)):
        try:
            headers[name] = read_header(path / name)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    header = headers.get(manifest.known_answers)
    if header is not None:
        wrong = shape_problems(header, manifest)
        if not wrong:
            small = read_small(path / manifest.known_answers, header, CHECKED)
            wrong = value_problems(small, manifest)
        problems += [f"{manifest.known_answers}: {problem}" for problem in wrong]
    return problems
