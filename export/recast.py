"""Convert a float32 bundle to 16 bits, without tracing a model and without its checkpoint.

The bundle's graphs are cast and its weights rounded. The known answers are computed again from the
model that the bundle describes, with the rounded weights.
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
    """Convert a float32 bundle to a 16-bit type, writing the new one completely or not at all.

    The result has the same bytes as an export of the model with `dtype`.

    Args:
        bundle: directory of a float32 bundle; it is not changed.
        out: directory of the new bundle.
        dtype: "float16" or "bfloat16".
        overwrite: whether to replace an existing bundle.
        progress: called with a short text before each stage, for example "graph step".

    Returns:
        Absolute path of the new bundle.

    Raises:
        BundleError: `bundle` is missing, altered or damaged.
        InvalidInput: `bundle` is not in float32, or its model is of a class of your own; `dtype`
            is not a 16-bit type, or cannot hold the weights; or `out` exists and may not be
            replaced.
        ExportError: a graph breaks a rule.
        OSError: the bundle could not be written; a bundle at `out` is unchanged.
    """
    out = Path(out).resolve()
    opened = Bundle.open(bundle)
    if dtype not in {"float16", "bfloat16"}:
        raise InvalidInput(f"dtype: expected float16 or bfloat16 for a bundle, got {dtype!r}")
    check_source(opened)
    check_target(out, overwrite)
    with placed(out, overwrite=overwrite) as work, opened.reading(*opened.manifest.files):
        _write(opened, work, dtype, progress)
    return out


def check_source(bundle: Bundle) -> None:
    """Check that a bundle can be converted.

    Raises:
        InvalidInput: the bundle is not in float32, is quantised, or its model is of the user's own
            class.
    """
    manifest = bundle.manifest
    if manifest.quantisation is not None:
        raise InvalidInput(
            f"{bundle.path}: expected a float32 bundle, got one with weights in "
            f"{manifest.quantisation.weights}; use the float32 bundle that it was made from"
        )
    if manifest.dtype != "float32":
        raise InvalidInput(
            f"{bundle.path}: expected a float32 bundle, got {manifest.dtype}, whose weights are "
            f"already rounded; use the float32 bundle that it was made from"
        )
    family = manifest.components["model"].family
    if family not in FAMILIES:
        raise InvalidInput(
            f"{bundle.path}: expected a family of {list(FAMILIES)}, got {family!r}, a model of "
            f"your own class, which cannot be built from a bundle; call export_bundle(model, out, "
            f"dtype=...)"
        )


def _write(bundle: Bundle, work: Path, dtype: FloatDtype, progress: Progress) -> None:
    """Write the converted bundle, after that of its prior if it has one."""
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
    """Yield the graphs of a bundle as an export of the rounded model would make them.

    Args:
        bundle: float32 bundle.
        numbers: sorted numbers of its small weights, before rounding.
        dtype: type of the new bundle.
        progress: called with a short text before each graph.
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
    """Round the constants that hold only numbers of small weights."""
    for name, value in graph.initializers.items():
        tensor = value.const_value
        if tensor is None or name.startswith(PREFIX) or not is_rearranged(tensor.numpy(), numbers):
            continue
        array = torch.from_numpy(tensor.numpy().copy()).to(DTYPES[dtype]).float().numpy()
        value.const_value = onnx_ir.tensor(array, name=name)
