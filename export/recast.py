"""A bundle in float32 becomes one of 16 bits: no model is traced, no checkpoint is needed.

The graphs are cast as they stand in the bundle, the weights are rounded, and the known answers are
made anew, from the model that the bundle describes with its weights rounded.
"""

from pathlib import Path

import numpy as np
import onnx_ir
import torch
from numpy.typing import NDArray

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.manifest import PRIOR, ignored_fields
from ancestral.errors import InvalidInput
from ancestral.export.bundle_writer import Extras, write_bundle
from ancestral.export.operators import FORMS
from ancestral.export.passes.sixteen_bits import is_rearranged
from ancestral.export.passes.tied_embedding import multiply_as_exported
from ancestral.export.place import check_target, placed
from ancestral.export.programs import Graphs, Progress
from ancestral.export.weights import PREFIX, small_numbers
from ancestral.signature import FloatDtype
from ancestral.train.models.families import FAMILIES, Model
from ancestral.train.models.precision import DTYPES, narrowed_tensors, round_in_place
from ancestral.train.stored_model import bundled_model


def recast(
    bundle: str | Path,
    out: str | Path,
    dtype: FloatDtype,
    *,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Write a bundle in another type; it appears whole or not at all.

    Args:
        bundle: one in float32; it stays as it is.
        out: the new bundle's directory.
        dtype: float16 or bfloat16.
        overwrite: replace a bundle that is there.
        progress: told each thing that is about to be done.

    Raises:
        BundleError: the bundle is not sound.
        InvalidInput: it is not in float32, or of a user's own model; the type is another, or does
            not hold the weights; or there is something else at `out`.
        ExportError: a graph breaks a rule.
        OSError: the bundle could not be written; what was there before stays.
    """
    out = Path(out).resolve()
    opened = Bundle.open(bundle)
    if dtype not in {"float16", "bfloat16"}:
        raise InvalidInput(f"dtype: expected float16 or bfloat16 of a bundle, got {dtype!r}")
    _check_source(opened)
    check_target(out, overwrite)
    with placed(out, overwrite=overwrite) as work, opened.reading(*opened.manifest.files):
        _write(opened, work, dtype, progress)
    return out


def _check_source(bundle: Bundle) -> None:
    """Refuse a bundle that another cannot be made from.

    Raises:
        InvalidInput: it is one.
    """
    manifest = bundle.manifest
    if manifest.dtype != "float32":
        raise InvalidInput(
            f"{bundle.path}: expected a bundle in float32, got one in {manifest.dtype}, whose "
            f"weights are rounded already: take the one that it was made from"
        )
    family = manifest.components["model"].family
    if family not in FAMILIES:
        raise InvalidInput(
            f"{bundle.path}: expected a family of {tuple(FAMILIES)}, got {family!r}, a model of "
            f"your own, which a bundle cannot build: export_bundle(model, out, dtype=...)"
        )


def _write(bundle: Bundle, work: Path, dtype: FloatDtype, progress: Progress) -> None:
    """The bundle, and that of its prior before it."""
    manifest = bundle.manifest
    if manifest.has_prior:
        progress("prior")
        _write(bundle.prior(), work / PRIOR, dtype, progress)
    model: Model = bundled_model(bundle)
    numbers = small_numbers(tensor for _, tensor in narrowed_tensors(model))
    model = round_in_place(model, DTYPES[dtype])
    graphs = _stored(bundle, numbers, dtype, progress)
    further = {name: bundle.read(name) for name in manifest.files if name not in manifest.used}
    extras = Extras(further, ignored_fields(manifest.written_by))
    write_bundle(model, work, manifest.label_prior, dtype, graphs, progress, extras)


def _stored(
    bundle: Bundle, numbers: NDArray[np.float32], dtype: FloatDtype, progress: Progress
) -> Graphs:
    """The graphs of a bundle, as they would be exported of the rounded model.

    Args:
        bundle: in float32.
        numbers: of its small weights, before they were rounded.
        dtype: of the new bundle.
        progress: told each graph.
    """
    for name, entry in bundle.manifest.graphs.items():
        progress(f"graph {name}")
        files = {form: entry.files[form] for form in FORMS if form in entry.files}
        forms = {form: onnx_ir.load(bundle.file(file)) for form, file in files.items()}
        for form, graph in forms.items():
            if form == "onnxruntime":
                multiply_as_exported(graph)
            _round_folded(graph.graph, numbers, dtype)
        yield name, entry.signature, forms


def _round_folded(graph: onnx_ir.Graph, numbers: NDArray[np.float32], dtype: FloatDtype) -> None:
    """Round the constants that are rearranged weights."""
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or name.startswith(PREFIX) or not is_rearranged(tensor.numpy(), numbers):
            continue
        array = torch.from_numpy(tensor.numpy().copy()).to(DTYPES[dtype]).float().numpy()
        value.const_value = onnx_ir.tensor(array, name=name)
