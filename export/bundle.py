"""Export a model: checked first, then written whole or not at all."""

import copy
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ancestral.bundle import MANIFEST, PRIOR
from ancestral.errors import ExportError, InvalidInput
from ancestral.export.content import Progress, write_autoregressive, write_latent
from ancestral.train.causality import check_causality
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.graphs import GraphName, graphs_of
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.vae import VAE
from ancestral.train.models.vqvae import VQVAE


def export_bundle(
    model: Model,
    out: str | Path,
    *,
    prior: AutoregressiveModel | None = None,
    label_prior: Sequence[float] | None = None,
    graphs: Sequence[GraphName] | None = None,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Path:
    """Export a model; the bundle appears whole or not at all.

    Args:
        model: of this project or of your own class; it is not changed.
        out: the bundle's directory.
        prior: of a model over codes: the autoregressive model of these codes.
        label_prior: p(y) for y = 0 .. num_classes - 1, of an autoregressive model or such a prior;
            even where it is not given.
        graphs: which graphs of an autoregressive model to export; all that it can have where None.
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
    _check_prior(model, prior)
    autoregressive = model if isinstance(model, AutoregressiveModel) else prior
    chosen: Sequence[GraphName] = ()
    classes: tuple[float, ...] | None = None
    if autoregressive is not None:
        chosen = _check_autoregressive(autoregressive, graphs)
        classes = _prior(label_prior, autoregressive.data.num_classes)
        autoregressive = copy.deepcopy(autoregressive).cpu().eval()
        progress("causality")
        _check_causality(autoregressive)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    work.chmod(0o777 & ~_umask())
    try:
        if isinstance(model, AutoregressiveModel):
            assert autoregressive is not None
            write_autoregressive(autoregressive, work, classes, chosen, progress)
        else:
            if autoregressive is not None:
                progress("prior")
                write_autoregressive(autoregressive, work / PRIOR, classes, chosen, progress)
            write_latent(_resolved(model), work, progress)
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def _check_autoregressive(
    model: AutoregressiveModel, graphs: Sequence[GraphName] | None
) -> Sequence[GraphName]:
    """The graphs that are to be exported.

    Raises:
        InvalidInput: events that are too short, or graphs that the model cannot have.
    """
    if model.data.length < 3:
        raise InvalidInput(f"model: events of 3 positions or more, got {model.data.length}")
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


def _resolved(model: LatentVariableModel) -> LatentVariableModel:
    """A copy whose prior needs no encoder."""
    own = copy.deepcopy(model).cpu().eval()
    return own.resolved() if isinstance(own, VAE) else own


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
        known = set(_files_of(out))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{out}: its {MANIFEST} is no bundle's, so nothing is replaced"
        ) from error
    files = (file for file in out.rglob("*") if not file.is_dir())
    foreign = sorted(str(name) for file in files if str(name := file.relative_to(out)) not in known)
    if foreign:
        raise InvalidInput(f"{out}: holds files that are no part of the bundle: {foreign}")


def _files_of(bundle: Path) -> Iterator[str]:
    """The files that belong to a bundle and to its prior's, by their paths in it."""
    values = json.loads((bundle / MANIFEST).read_bytes())
    yield from (MANIFEST, *values["files"], values["weights"], values["known_answers"])
    if (bundle / PRIOR / MANIFEST).is_file():
        yield from (f"{PRIOR}/{name}" for name in _files_of(bundle / PRIOR))


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
