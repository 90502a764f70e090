"""Quantise the weights of a float32 bundle, without its checkpoint.

The model that the bundle describes is quantised and traced again. The known answers are computed in
float64 from the numbers that the codes stand for.
"""

from collections.abc import Callable
from pathlib import Path

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.cost import Cost
from ancestral.bundles.manifest import MANIFEST, PRIOR, ignored_fields
from ancestral.bundles.manifest_file import read_manifest
from ancestral.bundles.quantisation import Quantisation
from ancestral.export.bundle_writer import Extras, write_bundle, write_manifest
from ancestral.export.graphs import operators_read_once
from ancestral.export.place import check_target, placed
from ancestral.export.programs import Progress, export_graphs
from ancestral.export.recast import check_source
from ancestral.train.models.families import Model
from ancestral.train.quantisation.quantise import Rounding, quantise, round_nearest
from ancestral.train.stored_model import bundled_model

Plan = Callable[[Model], Quantisation]
"""A function that returns what to quantise in a model, and how."""
Measure = Callable[[Path], Cost]
"""A function that measures what the bundle in a folder loses against its source."""


def quantise_bundle(
    bundle: str | Path,
    out: str | Path,
    plan: Plan,
    *,
    rounding: Rounding = round_nearest,
    measure: Measure | None = None,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Quantise the weights of a float32 bundle, writing the new one completely or not at all.

    The prior of a VQ-VAE stays as it is.

    Args:
        bundle: directory of a float32 bundle; it is not changed.
        out: directory of the new bundle.
        plan: function that returns what to quantise in the bundle's model, for example
            `lambda model: planned(model, "int8")`.
        rounding: rule that rounds each weight.
        measure: function that is called with the folder of the finished bundle, before it has its
            name. What it returns is stored in the manifest; if it raises, no bundle is written.
        overwrite: whether to replace an existing bundle.
        progress: called with a short text before each stage, for example "graph step".

    Returns:
        Absolute path of the new bundle.

    Raises:
        BundleError: `bundle` is missing, altered or damaged.
        InvalidInput: `bundle` is not in float32, is already quantised, or its model is of a class
            of your own; the plan does not suit the model; a weight has numbers that are not
            finite; or `out` exists and may not be replaced.
        ExportError: a graph could not be made or breaks a rule.
        OSError: the bundle could not be written; a bundle at `out` is unchanged.
    """
    out = Path(out).resolve()
    opened = Bundle.open(bundle)
    check_source(opened)
    check_target(out, overwrite)
    with opened.reading(*opened.manifest.files):
        model: Model = bundled_model(opened)
        chosen = plan(model)
        quantise(model, chosen, rounding, lambda name: progress(f"weight {name}"))
        with placed(out, overwrite=overwrite) as work, operators_read_once():
            if opened.manifest.has_prior:
                _copy(opened.prior(), work / PRIOR)
            _write(opened, model, chosen, work, progress)
            if measure is not None:
                progress("cost")
                _add(measure(work), work)
    return out


def _write(
    bundle: Bundle, model: Model, plan: Quantisation, work: Path, progress: Progress
) -> None:
    manifest = bundle.manifest
    graphs = export_graphs(model, list(manifest.graphs), progress)
    further = {name: bundle.read(name) for name in manifest.files if name not in manifest.used}
    extras = Extras(further, ignored_fields(manifest.written_by), plan)
    write_bundle(model, work, manifest.label_prior, "float32", graphs, progress, extras)


def _add(cost: Cost, folder: Path) -> None:
    write_manifest(read_manifest(folder).model_copy(update={"cost": cost}), folder)


def _copy(prior: Bundle, folder: Path) -> None:
    for name in (MANIFEST, *prior.manifest.files):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((prior.path / name).read_bytes())
