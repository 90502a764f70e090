"""Export a model: checked first, then written whole or not at all."""

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


def export_bundle(  # noqa: PLR0913 - what a user may choose
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
    """Export a model; the bundle appears whole or not at all.

    Extras the model it takes about as much memory as the largest of its weights in float64.

    Args:
        model: of this project or of your own class; it is not changed, unless it is handed over.
        out: the bundle's directory.
        prior: of a model over codes: the autoregressive model of these codes.
        label_prior: p(y) for y = 0 .. num_classes - 1, of an autoregressive model or such a prior;
            even where it is not given.
        graphs: which graphs of an autoregressive model to export; all that it can have where None.
        dtype: of weights, activations and floating caches; the last projection, the softmax, sums
            and draws are float32 in each. The known answers are of the weights as they are rounded.
        files: further files that the bundle holds, by name: {"tokenizer.json": ...}.
        own: whether the model is handed over: it is on the CPU, in evaluation and rounded
            afterwards. Where it is not, its weights are shared as long as nothing changes them.
        ignored_fields: of the config.json that the model was read from: a note that the bundle
            keeps.
        overwrite: replace a bundle that is there.
        progress: told each thing that is about to be done.

    Raises:
        InvalidInput: a further file has the name of another, or of a folder; names of ignored
            fields are too long; there is something else at `out`; or an unknown graph or type is
            asked for, or one that does not hold the weights.
        ExportError: the model's conditionals see the future, or a graph could not be made or breaks
            a rule.
        OSError: the bundle could not be written; what was there before stays.
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
    """Refuse what no bundle is made of.

    Raises:
        InvalidInput: an unknown type, names of files, a prior, or data that do not suit the model.
        ExportError: what a model declares is not what the contract says.
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
    """A model that is ready for export and keeps its laws, and the names of its graphs.

    Raises:
        InvalidInput: graphs that it cannot have, or events that are too short.
        ExportError: it breaks a law, or holds what a bundle cannot.
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
    """Refuse further files that a bundle cannot hold.

    Raises:
        InvalidInput: a name is a path, or is that of a file or a folder of every bundle.
    """
    taken = {MANIFEST, KNOWN_ANSWERS, PRIOR, str(Path(WEIGHTS).parent)}
    for name in files:
        plain = is_plain(name) and "/" not in name and not name.startswith(".")
        if not plain or name.casefold() in taken:
            raise InvalidInput(
                f"files: expected plain names, none of {sorted(taken)}, got {name!r}: a bundle "
                f"holds further files beside its {MANIFEST}"
            )


def _check_autoregressive(
    model: AutoregressiveModel, graphs: Sequence[GraphName] | None
) -> Sequence[GraphName]:
    """The graphs that are to be exported.

    Raises:
        InvalidInput: events that are too short, or graphs that the model cannot have.
    """
    if model.data.length < 3:
        raise InvalidInput(
            f"model: expected events of at least 3 values, got events "
            f"{list(model.data.event_shape)}: shorter ones are trained and evaluated, not exported"
        )
    graphs = graphs_of(model) if graphs is None else graphs
    unknown = sorted(set(graphs) - set(graphs_of(model)))
    if unknown or not graphs:
        raise InvalidInput(f"graphs: expected some of {list(graphs_of(model))}, got {list(graphs)}")
    return graphs


def _check_prior(model: Model, prior: AutoregressiveModel | None) -> None:
    """Whether a model has the prior that it needs, and none that it has no use for.

    Raises:
        InvalidInput: it has not.
    """
    if not isinstance(model, AutoregressiveModel | LatentVariableModel):
        raise InvalidInput(
            f"model: expected an AutoregressiveModel or a LatentVariableModel, "
            f"got {type(model).__name__}"
        )
    needs = isinstance(model, LatentVariableModel) and model.prior is None
    if needs != (prior is not None):
        raise InvalidInput(
            f"prior: expected {'an autoregressive model of the codes' if needs else 'none'} for "
            f"{type(model).__name__}, got {'none' if prior is None else type(prior).__name__}"
        )
    if isinstance(model, VQVAE) and prior is not None:
        expected, got = model.code_data, prior.data
        if (expected.event_shape, expected.levels) != (got.event_shape, got.levels):
            raise InvalidInput(
                f"prior: expected a model of codes {expected.event_shape} of {expected.levels} "
                f"levels, got one of {got.event_shape} of {got.levels}"
            )


def _check_laws(model: AutoregressiveModel) -> None:
    """Hold a model of one's own to its contract, and every model to causality.

    The families here are held to the contract by the tests. The log-probabilities of a model that
    sees the future would be of nothing that can be sampled.

    Raises:
        ExportError: it breaks one of them.
    """
    own = not is_house_model(model)
    if own:
        check_contract(model)
    report = check_causality(model)
    if not report.passed:
        raise ExportError(
            f"the model sees the future: {report.sentence}. Expected predict(x, label)[:, t] to be "
            f"of x[:, :t] alone: shift what it is fed by one position, or mask what comes later"
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
