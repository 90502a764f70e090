"""Training by teacher forcing: each value is predicted from the true values before it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from ancestral.errors import InvalidInput, TrainingError
from ancestral.train.bounds import active_units, bound, log_likelihood
from ancestral.train.checkpoint import save_checkpoint
from ancestral.train.checkpoint_config import Summary
from ancestral.train.config import Recipe
from ancestral.train.data.dataset import Dataset
from ancestral.train.evaluation import fit_table, mean_bits, model_log_prob
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.models.table import TableConfig
from ancestral.train.models.vqvae import VQVAE
from ancestral.train.optimisation import average_rate, learning_rate, loss, update_average
from ancestral.train.progress import write_curves
from ancestral.train.state import Batch, Evaluation, TrainingState, begin
from ancestral.train.state_file import StateFile, load_state
from ancestral.units import bits_per_dim, bits_unit

STATE = "state.pt"
SAVE_EVERY = 60.0
"""Seconds between two saved states, between evaluations."""
_DRAWS = 8
"""Importance samples per validation bound."""

Progress = Callable[[int, Evaluation | None], None]
"""Called after each step with the number of steps taken and the evaluation, or None."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a finished training run.

    Attributes:
        path: folder of the checkpoint.
        model: model with the averaged weights of the best evaluation, in evaluation mode.
        summary: summary of the run, as stored in the checkpoint.
        history: all evaluations, in order; empty for a table.
    """

    path: Path
    model: Model
    summary: Summary
    history: tuple[Evaluation, ...]


def train(  # noqa: PLR0913 - the options of a training run
    recipe: Recipe,
    data: Dataset,
    out: str | Path,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str = "cpu",
    progress: Progress = lambda step, evaluation: None,
    save_every: float = SAVE_EVERY,
) -> TrainingResult:
    """Train a model and write its checkpoint, history.json, curves.png and state.pt.

    state.pt is written at every evaluation, and every minute between evaluations. A run that was
    interrupted at any moment continues from it with `resume`. On the CPU with the same number of
    threads, the result has the same bits as an uninterrupted run, whenever states were written.
    Without a state.pt, `resume` starts at step 0. A table is counted in one pass: there is no
    history, curve or state.

    Torch's global generator is seeded, and restored afterwards.

    Args:
        recipe: model and training settings.
        data: data set. The weights are fitted to its training part, and its validation part decides
            which weights are kept. The test part is not used.
        out: folder of the checkpoint.
        seed: seed of the weights, of the order of the data and of dropout.
        resume: whether to continue the run whose state is in the folder.
        device: "cpu", "cuda" or for example "cuda:1".
        progress: function called after each step. An exception from it ends the run; after a
            KeyboardInterrupt the state is saved first.
        save_every: seconds between two saved states, between evaluations; 0 saves at every step.

    Raises:
        InvalidInput: the device is not available, or the recipe does not fit the data.
        CheckpointError: the saved state is damaged, or belongs to another run.
        TrainingError: the gradient is not finite.
        OSError: a file cannot be written.
    """
    if isinstance(recipe.model, TableConfig):
        return _count(recipe, recipe.model, data, Path(out), seed)
    where, out = _device(device), Path(out)
    run = {"seed": seed, "data": data.fingerprint(), "device": where.type}
    identity = asdict(recipe) | run
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        state = begin(recipe, data, seed, where)
        if resume and (out / STATE).exists():
            load_state(out / STATE, state, identity, recipe.training)
        _run(state, recipe, data, StateFile(out / STATE, identity, save_every), progress)
    state.average.load_state_dict(state.best)
    best, last = state.best_evaluation, state.history[-1]
    summary = _saved(recipe, data, seed, out, state.average, best, last)
    write_curves(out, state.history, f"{recipe.name}, seed {seed}", bits_unit(data.spec.tokenizer))
    return TrainingResult(out, state.average, summary, tuple(state.history))


def _count(
    recipe: Recipe, config: TableConfig, data: Dataset, out: Path, seed: int
) -> TrainingResult:
    """Fit a table, which has a closed form: there are no steps, no curves and nothing to resume."""
    begun = time.monotonic()
    table = fit_table(config, data)
    train_bits, validation_bits = (
        mean_bits(model_log_prob(table), part, data.spec.event_shape)
        for part in (data.train, data.validation)
    )
    found = Evaluation(1, time.monotonic() - begun, train_bits, validation_bits)
    summary = _saved(recipe, data, seed, out, table, found, found)
    return TrainingResult(out, table, summary, ())


def _saved(
    recipe: Recipe,
    data: Dataset,
    seed: int,
    out: Path,
    model: Model,
    best: Evaluation,
    last: Evaluation,
) -> Summary:
    """Write the checkpoint of a run, with its best and its last evaluation in the summary."""
    prior = data.label_log_prior()
    summary = Summary(
        recipe=recipe.name,
        seed=seed,
        steps=last.step,
        best_step=best.step,
        validation_bits=best.validation_bits,
        train_bits=best.train_bits,
        seconds=last.seconds,
    )
    save_checkpoint(
        out,
        model,
        split=data.split,
        source=data.source,
        training=asdict(recipe.training),
        summary=summary,
        log_prior=None if prior is None else tuple(prior.tolist()),
    )
    return summary


def _run(
    state: TrainingState, recipe: Recipe, data: Dataset, file: StateFile, progress: Progress
) -> None:
    """Train, evaluate and save states until the budget or the patience is used up."""
    config = recipe.training
    before, start = state.seconds, time.monotonic()
    while state.step < config.steps and not _exhausted(state, config.patience):
        _step(state, recipe)
        state.seconds = before + time.monotonic() - start
        evaluation = None
        if state.step % config.evaluate_every == 0 or state.step == config.steps:
            evaluation = _evaluate(state, data)
        if evaluation is not None or file.due:
            file.save(state)
        try:
            progress(state.step, evaluation)
        except KeyboardInterrupt:
            file.save(state)
            raise


def _step(state: TrainingState, recipe: Recipe) -> None:
    """Update the weights and their average once."""
    config, device = recipe.training, state.loss.device
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(config, state.step)
    read, x, label = state.batches.draw()
    read, x = read.to(device), x.to(device)
    state.model.train()
    batch = Batch(read, x, None if label is None else label.to(device))
    objective = loss(state.model, batch, config, state.step)
    state.optimiser.zero_grad(set_to_none=True)
    # The mean over values, not over events: the clip and the rate then suit events of any length.
    (objective / state.model.data.length).backward()
    try:
        clip_grad_norm_(state.model.parameters(), config.clip, error_if_nonfinite=True)
    except RuntimeError as error:
        raise TrainingError(
            f"step {state.step + 1}: gradients are infinite or NaN, training has diverged; lower "
            f"the learning rate, or check the data for extreme values"
        ) from error
    state.optimiser.step()
    update_average(state.average, state.model, average_rate(config, state.step))
    state.loss += objective.detach()
    state.step += 1


def _evaluate(state: TrainingState, data: Dataset) -> Evaluation:
    """Evaluate the averaged weights on validation; keep them if they are the best so far."""
    shape = data.spec.event_shape
    since = state.step - (state.history[-1].step if state.history else 0)
    train_bits = float(bits_per_dim(-state.loss.item() / since, shape))
    validation = _on_validation(state.average, data)
    evaluation = Evaluation(state.step, state.seconds, train_bits, **validation)
    state.loss.zero_()
    state.history.append(evaluation)
    if state.best_evaluation is evaluation:
        state.best = {name: w.clone() for name, w in state.average.state_dict().items()}
    return evaluation


def _on_validation(model: Model, data: Dataset) -> dict[str, Any]:
    """Return the validation fields of an evaluation: the loss in bits/dim, and its terms."""
    shape, part = data.spec.event_shape, data.validation
    match model:
        case AutoregressiveModel():
            return {"validation_bits": mean_bits(model_log_prob(model), part, shape)}
        case VQVAE():
            nats, kl = float(log_likelihood(model, part.x).mean()), None
            bits = float(bits_per_dim(nats, shape))
        case _:
            found = bound(model, part.x, _DRAWS)
            nats, kl = float(found.reconstruction.mean()), float(found.kl.mean())
            bits = float(bits_per_dim(found.elbo, shape).mean())
    active = active_units(model, part.x)
    return {"validation_bits": bits, "reconstruction": nats, "kl": kl, "active": active}


def _exhausted(state: TrainingState, patience: int | None) -> bool:
    """Return whether the last `patience` evaluations brought no improvement."""
    if patience is None or not state.history:
        return False
    return len(state.history) - 1 - state.history.index(state.best_evaluation) >= patience


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(
            f"device: expected cpu, got {name!r}; PyTorch finds no CUDA GPU on this machine"
        )
    return device
