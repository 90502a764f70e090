"""List the problems of a bundle: names and sizes of files, and contents of graphs and tensors."""

import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ancestral import limits
from ancestral.arrays import shown
from ancestral.bundles.answers import CHECKED, shape_problems, value_problems
from ancestral.bundles.graph_contract import graph_problems, signature_problems
from ancestral.bundles.manifest import MANIFEST, PRIOR, Manifest
from ancestral.bundles.onnx_file import IN_MEMORY
from ancestral.bundles.quantised_tensors import quantised_problems
from ancestral.bundles.tensors_file import read_header, read_small
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.text.kinds import check_tokenizer
from ancestral.text.tokenizer import TOKENIZER_FILES


def path_problems(manifest: Manifest) -> list[str]:
    """List names that leave the bundle, files that are too large, and names without a hash."""
    problems = [
        f"{name if name.isprintable() else shown(name)}: expected a plain path inside the bundle"
        for name in manifest.files
        if not is_plain(name)
    ]
    problems += _size_problems(manifest)
    tokenizer = manifest.data.tokenizer_file
    used = sorted(manifest.used) + ([] if tokenizer is None else [tokenizer])
    missing = (name for name in used if name not in manifest.files)
    problems += [f"{name}: used, but not in the files of the manifest" for name in missing]
    return problems


def is_plain(name: str) -> bool:
    """Return whether a name is a path inside the bundle that is valid on every file system."""
    pure = PurePosixPath(name)
    return (
        name == str(pure)
        and name.isprintable()
        and not pure.is_absolute()
        and not {".", "..", IN_MEMORY}.intersection(pure.parts)
        and "\\" not in name
        and all(len(part.encode()) <= limits.FILE_NAME_PART for part in pure.parts)
    )


def _size_problems(manifest: Manifest) -> list[str]:
    """List files that would be read whole and are too large for that."""
    sizes = {name: entry.size for name, entry in manifest.files.items()}
    graphs = {name: size for name, size in sizes.items() if name.endswith(".onnx")}
    allowed = dict.fromkeys(graphs, limits.GRAPH_BYTES)
    allowed |= dict.fromkeys(TOKENIZER_FILES.values(), limits.TOKENIZER_BYTES)
    allowed |= {f"{PRIOR}/{MANIFEST}": limits.MANIFEST_BYTES}
    problems = [
        f"{name}: expected at most {most:,} bytes, got {sizes[name]:,}"
        for name, most in allowed.items()
        if sizes.get(name, 0) > most
    ]
    if sum(graphs.values()) > limits.GRAPHS_BYTES:
        problems.append(f"graphs: expected at most {limits.GRAPHS_BYTES:,} bytes in total")
    return problems


def prior_problems(manifest: Manifest, around: Manifest) -> list[str]:
    """List the ways in which a prior does not fit the bundle around it."""
    latent = around.latent
    assert latent is not None
    if manifest.kind != "autoregressive":
        return [f"kind: expected autoregressive for a prior, got {manifest.kind}"]
    if manifest.data.length != math.prod(latent.shape):
        return [
            f"data: expected events of as many values as latents {list(latent.shape)}, got events "
            f"{list(manifest.data.event_shape)}"
        ]
    return []


def content_problems(path: Path, manifest: Manifest) -> list[str]:
    """List the problems in the content of graphs, tensors and tokenizer; their hashes are right."""
    problems = signature_problems(manifest)
    graphs = [name for name in manifest.files if name.endswith(".onnx")]
    try:
        problems += _tensor_problems(path, manifest)
        left = limits.GRAPHS_MESSAGES
        for name in graphs:
            found, messages = graph_problems((path / name).read_bytes(), name, manifest, left)
            problems += found
            left -= messages
    except OSError as error:
        problems.append(f"a file cannot be read ({error})")
    return problems + _tokenizer_problems(path, manifest.data)


def _tensor_problems(path: Path, manifest: Manifest) -> list[str]:
    """List the problems of the weights' header and of the known answers.

    Raises:
        OSError: a file cannot be read.
    """
    headers, problems = {}, []
    for name in dict.fromkeys((manifest.weights, manifest.known_answers)):
        try:
            headers[name] = read_header(path / name)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    weights = headers.get(manifest.weights)
    if weights is not None and manifest.quantisation is not None:
        problems += quantised_problems(manifest.quantisation, weights)
    header = headers.get(manifest.known_answers)
    if header is not None:
        wrong = shape_problems(header, manifest)
        if not wrong:
            small = read_small(path / manifest.known_answers, header, CHECKED)
            wrong = value_problems(small, manifest)
        problems += [f"{manifest.known_answers}: {problem}" for problem in wrong]
    return problems


def check_text(data: DataSpec, files: Mapping[str, bytes]) -> None:
    """Refuse to write a bundle whose tokenizer is missing or belongs to another model.

    Args:
        data: description of the model's data.
        files: content of the files that the bundle will have, by name.

    Raises:
        InvalidInput: the tokenizer's file is missing, not valid, or has ids beyond the levels.
    """
    kind, name = data.tokenizer, data.tokenizer_file
    if kind is None or name is None:
        return
    if name not in files:
        raise InvalidInput(
            f"files: expected {name}, the file of tokenizer {kind!r}, got {sorted(files)}"
        )
    check_tokenizer(kind, files[name], data.levels)


def _tokenizer_problems(path: Path, data: DataSpec) -> list[str]:
    """List the problems of the tokenizer, for example ids that are not values of the model."""
    name = data.tokenizer_file
    try:
        check_text(data, {} if name is None else {name: (path / name).read_bytes()})
    except (InvalidInput, OSError) as error:
        return [str(error)]
    return []
