"""Teacher forcing: raise the log-probability of each value given the true values before it."""

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
"""Seconds between two states that are written between evaluations."""
_DRAWS = 8
"""Importance samples of a bound on validation."""

Progress = Callable[[int, Evaluation | None], None]
"""Called after each step with the number of steps taken and the evaluation, if there was one."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """A finished run.

    Attributes:
        path: folder of the checkpoint.
        model: the averaged weights of the best evaluation, in evaluation mode.
        summary: as in the checkpoint.
        history: the evaluations.
    """

    path: Path
    model: Model
    summary: Summary
    history: tuple[Evaluation, ...]


def train(  # noqa: PLR0913 - what a user may choose
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

    state.pt is written at every evaluation, and every minute between two. A run that was killed at
    any moment goes on from there with `resume` and ends, on the CPU with the same number of
    threads, in the same bits as an unbroken one, whenever states were written. Without a state.pt,
    `resume` begins at step 0. Torch's global generator is seeded, and put back afterwards.

    Args:
        recipe: what to train and how.
        data: its training part is fitted, its validation part decides which weights are kept; the
            test part is not looked at.
        out: folder of the checkpoint.
        seed: of the weights, of the order of the data and of dropout.
        resume: go on with the run that stands in the folder.
        device: "cpu", "cuda" or "cuda:1", say.
        progress: called after each step; what it raises ends the run, and the state is written
            before where that is a KeyboardInterrupt.
        save_every: seconds between two states between evaluations; 0 writes one at each step.

    Raises:
        InvalidInput: the device is not there, or recipe and data do not fit together.
        CheckpointError: the state to go on with is damaged, or of another run.
        TrainingError: the gradient is not finite.
        OSError: a file could not be written.
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
    """A table has a closed form: no steps, no curves, and nothing to resume."""
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
    """Write the checkpoint of a run with its best and its last evaluation."""
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
        training=asdict(recipe.training),
        summary=summary,
        log_prior=None if prior is None else tuple(prior.tolist()),
    )
    return summary


def _run(
    state: TrainingState, recipe: Recipe, data: Dataset, file: StateFile, progress: Progress
) -> None:
    """Steps, evaluations and saved states until the budget or the patience ends."""
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
    """One update of the weights and of their average."""
    config, device = recipe.training, state.loss.device
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(config, state.step)
    read, x, label = state.batches.draw()
    read, x = read.to(device), x.to(device)
    state.model.train()
    batch = Batch(read, x, None if label is None else label.to(device))
    objective = loss(state.model, batch, config, state.step)
    state.optimiser.zero_grad(set_to_none=True)
    # The mean over values, not over events: a clip and a rate then suit events of any length.
    (objective / state.model.data.length).backward()
    try:
        clip_grad_norm_(state.model.parameters(), config.clip, error_if_nonfinite=True)
    except RuntimeError as error:
        raise TrainingError(
            f"step {state.step + 1}: expected finite gradients, got infinity or NaN: training has "
            f"diverged; lower the learning rate, or look for absurd values in the data"
        ) from error
    state.optimiser.step()
    update_average(state.average, state.model, average_rate(config, state.step))
    state.loss += objective.detach()
    state.step += 1


def _evaluate(state: TrainingState, data: Dataset) -> Evaluation:
    """Evaluate the averaged weights on validation; keep them where they are the best so far."""
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
    """Fields of an evaluation: what is minimised, in bits/dim, and of which parts."""
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
    """Whether the last `patience` evaluations brought nothing better."""
    if patience is None or not state.history:
        return False
    return len(state.history) - 1 - state.history.index(state.best_evaluation) >= patience


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {name!r}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device: {name!r} was asked for, but PyTorch finds no CUDA GPU here")
    return device
