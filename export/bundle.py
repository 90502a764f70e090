"""Export a model as a bundle: check the model, then write it completely or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from ancestral.arrays import reals
from ancestral.bundles.manifest import MANIFEST, PRIOR, check_label_prior, noted
from ancestral.bundles.soundness import check_text, is_plain
from ancestral.errors import ExportError, InvalidInput
from ancestral.export.bundle_writer import KNOWN_ANSWERS, WEIGHTS, Extras, write_bundle
from ancestral.export.graphs import operators_read_once
from ancestral.export.model_state import ready
from ancestral.export.own.agreement import check_agreement
from ancestral.export.own.contract import check_contract, check_declared
from ancestral.export.own.latent_contract import check_latent_contract
from ancestral.export.place import check_target, placed
from ancestral.export.programs import Progress, export_graphs
from ancestral.signature import FloatDtype
from ancestral.train.causality import check_causality
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model, is_house_model
from ancestral.train.models.graphs import GraphName, graphs_of
from ancestral.train.models.latent_graphs import latent_graphs_of
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.vqvae import VQVAE


def export_bundle(  # noqa: PLR0913 - the options of an export
    model: Model,
    out: str | Path,
    *,
    prior: AutoregressiveModel | None = None,
    label_prior: Sequence[float] | None = None,
    graphs: Sequence[GraphName] | None = None,
    dtype: FloatDtype = "float32",
    files: Mapping[str, bytes] = MappingProxyType({}),
    own: bool = False,
    ignored_fields: Sequence[str] = (),
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Export a model as a bundle, which is written completely or not at all.

    The export needs memory for the model, and about as much again as its largest weight takes in
    float64.

    Args:
        model: a model of this project or of your own class. It is changed only if `own` is true.
        out: directory of the new bundle.
        prior: autoregressive model of the codes; required if `model.prior` is None, as for a
            `VQVAE`, and refused otherwise.
        label_prior: p(y) of the labels y, shape [num_classes], with sum 1. Default: uniform.
            Unused without labels.
        graphs: names of the graphs to export, of an autoregressive model or prior. Default: all
            that it supports. All graphs of a latent variable model are exported.
        dtype: type of weights, activations and floating-point caches. The last projection,
            softmax, sums and draws are float32 in every type. The known answers are computed from
            the rounded weights.
        files: further files to store in the bundle, name to content: {"tokenizer.json": ...}.
        own: whether the export may change `model`, which ends up on the CPU, in evaluation mode
            and with rounded weights. Otherwise the model stays as it is, and the export shares its
            memory, except for weights that it has to convert.
        ignored_fields: names of the fields of config.json that were ignored when the model was
            read; the manifest records them.
        overwrite: whether to replace an existing bundle.
        progress: called with a short text before each stage, for example "graph step".

    Returns:
        Absolute path of the bundle.

    Raises:
        InvalidInput: a graph, `dtype`, prior, label prior or file name is not valid for this
            model; the type cannot hold the weights; the names of the ignored fields are too long;
            or `out` exists and may not be replaced.
        ExportError: the model's conditionals depend on future values, or a graph could not be made
            or breaks a rule.
        OSError: the bundle could not be written; a bundle at `out` is unchanged.
    """
    out = Path(out).resolve()
    _check_arguments(model, prior, dtype, files)
    noted(ignored_fields)
    check_target(out, overwrite)
    parts: list[tuple[Model, str, Extras]] = [(model, "", Extras(files, ignored_fields))]
    if prior is not None:
        parts.insert(0, (prior, PRIOR, Extras()))
    classes = [_prior(label_prior, each.data.num_classes) for each, _, _ in parts]
    found = [_prepared(each, graphs, dtype, own, progress) for each, _, _ in parts]
    with placed(out, overwrite=overwrite) as work, operators_read_once():
        for i, (each, names) in enumerate(found):
            _, folder, extras = parts[i]
            if folder:
                progress("prior")
            made = export_graphs(each, names, progress)
            write_bundle(each, work / folder, classes[i], dtype, made, progress, extras)
    return out


def _check_arguments(
    model: Model, prior: AutoregressiveModel | None, dtype: str, files: Mapping[str, bytes]
) -> None:
    """Check all arguments that can be checked before the model is prepared.

    Raises:
        InvalidInput: the type is unknown, or file names, prior or data do not suit the model.
        ExportError: the model's declarations break the contract.
    """
    dtypes = get_args(FloatDtype)
    if dtype not in dtypes:
        raise InvalidInput(f"dtype: expected one of {list(dtypes)}, got {dtype!r}")
    _check_files(files)
    _check_prior(model, prior)
    for each in (model, prior):
        if each is not None:
            check_declared(each)
    check_text(model.data, files)


def _prepared(
    model: Model,
    graphs: Sequence[GraphName] | None,
    dtype: FloatDtype,
    own: bool,
    progress: Progress,
) -> tuple[Model, Sequence[str]]:
    """Return the model, ready for export and checked, and the names of its graphs.

    Raises:
        InvalidInput: the model does not support a graph, or its events are too short.
        ExportError: the model breaks its contract, or has a tensor that a bundle cannot hold.
    """
    if isinstance(model, AutoregressiveModel):
        chosen = _check_autoregressive(model, graphs)
        sequences = ready(model, dtype, own)
        progress("causality")
        _check_laws(sequences)
        return sequences, chosen
    latent = ready(model, dtype, own)
    if not is_house_model(latent):
        check_latent_contract(latent)
    return latent, latent_graphs_of(latent)


def _check_files(files: Mapping[str, bytes]) -> None:
    """Check that a bundle can hold the further files.

    Raises:
        InvalidInput: a name is a path, or every bundle has a file or folder of that name.
    """
    taken = {MANIFEST, KNOWN_ANSWERS, PRIOR, str(Path(WEIGHTS).parent)}
    for name in files:
        plain = is_plain(name) and "/" not in name and not name.startswith(".")
        if not plain or name.casefold() in taken:
            raise InvalidInput(
                f"files: expected file names without a folder or a leading dot, other than "
                f"{sorted(taken)}, got {name!r}"
            )


def _check_autoregressive(
    model: AutoregressiveModel, graphs: Sequence[GraphName] | None
) -> Sequence[GraphName]:
    """Return the names of the graphs to export.

    Raises:
        InvalidInput: the events are too short, or the model does not support a graph.
    """
    if model.data.length < 3:
        raise InvalidInput(
            f"model: expected events of at least 3 values, got event shape "
            f"{list(model.data.event_shape)}; shorter events can be trained and evaluated, but not "
            f"exported"
        )
    graphs = graphs_of(model) if graphs is None else graphs
    unknown = sorted(set(graphs) - set(graphs_of(model)))
    if unknown or not graphs:
        raise InvalidInput(f"graphs: expected some of {list(graphs_of(model))}, got {list(graphs)}")
    return graphs


def _check_prior(model: Model, prior: AutoregressiveModel | None) -> None:
    """Check that a prior is given if, and only if, the model needs one, and that it fits.

    Raises:
        InvalidInput: the prior is missing, not needed, or a model of other events than the codes.
    """
    if not isinstance(model, AutoregressiveModel | LatentVariableModel):
        raise InvalidInput(
            f"model: expected an AutoregressiveModel or a LatentVariableModel, "
            f"got {type(model).__name__}"
        )
    needs = isinstance(model, LatentVariableModel) and model.prior is None
    if needs != (prior is not None):
        name = type(model).__name__
        raise InvalidInput(
            f"prior: {name} needs an autoregressive model of its codes; pass prior=..."
            if prior is None
            else f"prior: expected None for {name}, got {type(prior).__name__}"
        )
    if isinstance(model, VQVAE) and prior is not None:
        expected, got = model.code_data, prior.data
        if (expected.event_shape, expected.levels) != (got.event_shape, got.levels):
            raise InvalidInput(
                f"prior: expected a model of the codes, event shape {expected.event_shape} with "
                f"{expected.levels} levels, got {got.event_shape} with {got.levels}"
            )


def _check_laws(model: AutoregressiveModel) -> None:
    """Check that a model is causal and, if it is of the user's own class, keeps its contract.

    This project's families are checked against the contract by the tests. Causality is checked for
    every model: log-probabilities that depend on future values belong to no distribution that can
    be sampled.

    Raises:
        ExportError: the model is not causal, or breaks the contract.
    """
    own = not is_house_model(model)
    if own:
        check_contract(model)
    report = check_causality(model)
    if not report.passed:
        raise ExportError(
            f"the model sees the future: {report.sentence}; shift the input of predict by one "
            f"position, or mask later values, so that predict(x, label)[:, t] depends only on "
            f"x[:, :t]"
        )
    if own:
        check_agreement(model)


def _prior(prior: Sequence[float] | None, num_classes: int | None) -> tuple[float, ...] | None:
    if num_classes is None:
        return None
    if prior is None:
        return (1.0 / num_classes,) * num_classes
    probabilities = reals("label_prior", prior)
    if probabilities.ndim != 1:
        raise InvalidInput(f"label_prior: expected {num_classes} probabilities, got {prior}")
    found = tuple(probabilities.tolist())
    check_label_prior(found, num_classes)
    return found
