"""Write a bundle: weights once, graphs that point into them, known answers, the manifest last."""

import copy
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import onnx_ir
from safetensors.numpy import save

import ancestral
from ancestral.bundle import MANIFEST
from ancestral.errors import ExportError, InvalidInput
from ancestral.export.graphs import export_graph, export_parallel
from ancestral.export.known_answers import known_answers
from ancestral.export.lint import lint
from ancestral.export.operators import Form
from ancestral.export.tied import multiply_in_place
from ancestral.export.weights import point_into, to_bytes, weights_file
from ancestral.files import write_atomically
from ancestral.manifest import (
    FORMAT_VERSION,
    Component,
    FileEntry,
    GraphEntry,
    Manifest,
    seal,
)
from ancestral.train.causality import check_causality
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import family_of, model_config
from ancestral.train.models.graphs import PARALLEL, GraphName, build, graphs_of

WEIGHTS = "graphs/weights.safetensors"
"""Beside the graphs: a runtime refuses external data outside the folder of the ONNX file."""
KNOWN_ANSWERS = "known_answers.safetensors"

Progress = Callable[[str], None]


def export_bundle(
    model: AutoregressiveModel,
    out: str | Path,
    *,
    label_prior: Sequence[float] | None = None,
    graphs: Sequence[GraphName] | None = None,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Export a model; the bundle appears whole or not at all.

    Args:
        model: of this project or of your own class; it is not changed.
        out: the bundle's directory.
        label_prior: p(y) for y = 0 .. num_classes - 1; even where it is not given.
        graphs: which graphs to export; all that the model can have where None.
        overwrite: replace a bundle that is there.
        progress: told each thing that is about to be done.

    Raises:
        InvalidInput: there is something else at `out`, or an unknown graph is asked for.
        ExportError: the model's conditionals see the future, or a graph could not be made or breaks
            a rule.
        OSError: the bundle could not be written; what was there before stays.
    """
    out = Path(out).resolve()
    _check_target(out, overwrite)
    _check_model(model)
    graphs = graphs_of(model) if graphs is None else graphs
    unknown = sorted(set(graphs) - set(graphs_of(model)))
    if unknown or not graphs:
        raise InvalidInput(f"graphs: expected some of {list(graphs_of(model))}, got {list(graphs)}")
    model = copy.deepcopy(model).cpu().eval()
    progress("causality")
    _check_causality(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    work.chmod(0o777 & ~_umask())
    try:
        _write(model, work, label_prior, graphs, progress)
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _write(
    model: AutoregressiveModel,
    folder: Path,
    label_prior: Sequence[float] | None,
    graphs: Sequence[GraphName],
    progress: Progress,
) -> None:
    files: dict[str, FileEntry] = {}

    def write(name: str, data: bytes) -> None:
        write_atomically(folder / name, data)
        files[name] = FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    progress("weights")
    weights = weights_file(model)
    write(WEIGHTS, weights.content)
    entries: dict[str, GraphEntry] = {}
    for name, forms in _graphs(model, graphs, progress):
        signature = build(name, model).signature
        names: dict[str, str] = {}
        for form, graph in forms.items():
            problems = lint(graph, form, signature)
            if problems:
                raise ExportError(f"graph {name} in form {form}:\n  " + "\n  ".join(problems))
            point_into(graph.graph, weights.slots, Path(WEIGHTS).name)
            if form == "onnxruntime":
                multiply_in_place(graph.graph)
            suffix = "" if form == "portable" else f".{form}"
            names[form] = f"graphs/{name}{suffix}.onnx"
            write(names[form], to_bytes(graph))
        entries[name] = GraphEntry(signature=signature, files=names)
    progress("known answers")
    write(KNOWN_ANSWERS, save(known_answers(model)))
    manifest = Manifest(
        version=FORMAT_VERSION,
        kind="autoregressive",
        dtype="float32",
        data=model.data,
        label_prior=_prior(label_prior, model.data.num_classes),
        label_optional=model.label_optional,
        first_position=1 if model.first_position else 0,
        components={
            "model": Component(
                family=family_of(model),
                config=model_config(model),
                parameters=sum(p.numel() for p in model.parameters()),
            )
        },
        graphs=entries,
        weights=WEIGHTS,
        known_answers=KNOWN_ANSWERS,
        files=files,
        written_by=_versions(),
    )
    values = manifest.model_dump(mode="json")
    values["sha256"] = seal(values)
    write_atomically(folder / MANIFEST, json.dumps(values, indent=1).encode())


def _graphs(
    model: AutoregressiveModel, names: Sequence[GraphName], progress: Progress
) -> Iterator[tuple[GraphName, dict[Form, onnx_ir.Model]]]:
    """Each graph in its forms; those that share a pass are traced together."""
    together = [name for name in names if name in PARALLEL]
    if together:
        progress(f"graphs {', '.join(together)}")
        parallel = export_parallel(model)
        yield from ((name, parallel[name]) for name in together)
    for name in names:
        if name not in PARALLEL:
            progress(f"graph {name}")
            yield name, export_graph(build(name, model))


def _check_model(model: AutoregressiveModel) -> None:
    if not isinstance(model, AutoregressiveModel):
        raise InvalidInput(f"model: expected an AutoregressiveModel, got {type(model).__name__}")
    if model.data.length < 3:
        raise InvalidInput(f"model: events of 3 positions or more, got {model.data.length}")


def _check_causality(model: AutoregressiveModel) -> None:
    """Refuse a model whose log-probabilities would be of nothing that can be sampled.

    Raises:
        ExportError: an output of its parallel form sees its own value or a later one.
    """
    report = check_causality(model)
    if not report.passed:
        raise ExportError(
            f"the model sees the future: {report.sentence}. Expected predict(x, label)[:, t] to be "
            f"of x[:, :t] alone: shift what it is fed by one position, or mask what comes later"
        )


def _check_target(out: Path, overwrite: bool) -> None:
    """Nothing but a bundle of ours is ever replaced.

    Raises:
        InvalidInput: there is something at that path that may not be replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise InvalidInput(f"{out}: expected a new path or a bundle, got something else there")
    if not overwrite:
        raise InvalidInput(f"{out}: there is a bundle already; pass --overwrite to replace it")
    try:
        values = json.loads((out / MANIFEST).read_bytes())
        known = {MANIFEST, *values["files"], values["weights"], values["known_answers"]}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{out}: its {MANIFEST} is no bundle's, so nothing is replaced"
        ) from error
    files = (file for file in out.rglob("*") if not file.is_dir())
    foreign = sorted(str(name) for file in files if str(name := file.relative_to(out)) not in known)
    if foreign:
        raise InvalidInput(f"{out}: holds files that are no part of the bundle: {foreign}")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _swap(work: Path, out: Path) -> None:
    """Put the finished folder at its name; the one that was there goes last."""
    if not out.exists():
        work.rename(out)
        return
    old = work.with_name(work.name + ".old")
    out.rename(old)
    try:
        work.rename(out)
    except BaseException:
        if not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _prior(prior: Sequence[float] | None, num_classes: int | None) -> tuple[float, ...] | None:
    if num_classes is None:
        return None
    if prior is None:
        return (1.0 / num_classes,) * num_classes
    if len(prior) != num_classes or min(prior) < 0 or abs(sum(prior) - 1) > 1e-6:
        raise InvalidInput(f"label_prior: expected {num_classes} probabilities, got {prior}")
    return tuple(float(p) for p in prior)


def _versions() -> dict[str, str]:
    packages = ("torch", "onnx", "onnxscript", "safetensors", "numpy")
    return {
        "ancestral": ancestral.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
