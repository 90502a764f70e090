"""Everything that the rest of a training run depends on, and how it survives the process."""

import copy
import pickle
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ancestral.errors import CheckpointError, InvalidInput
from ancestral.files import write_atomically
from ancestral.train.batches import Batches
from ancestral.train.data.dataset import Dataset
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model, build_model
from ancestral.train.recipe import Recipe
from ancestral.train.schedule import optimiser

VERSION = 2


@dataclass(frozen=True, slots=True)
class Look:
    """One look at validation.

    Attributes:
        step: steps taken.
        seconds: of training up to here.
        train_bits: mean bits/dim of the training batches since the last look, dropout and all.
        validation_bits: bits/dim on validation, under the averaged weights: of p(x | y); of the
            ELBO for a variational autoencoder; of p(x | z) alone for a VQ-VAE.
        reconstruction: mean log p(x | z) on validation, in nats; None without latents.
        kl: mean KL(q(z | x) || p(z)) there, in nats; None without one.
        active: latent dimensions in use there, or codes; None without latents.
    """

    step: int
    seconds: float
    train_bits: float
    validation_bits: float
    reconstruction: float | None = None
    kl: float | None = None
    active: int | None = None


@dataclass(slots=True)
class TrainingState:
    """A run between two steps; torch's global generator, which dropout draws from, goes with it.

    Attributes:
        model: the weights that the optimiser moves.
        average: their exponential average, evaluated and kept.
        optimiser: with its moments.
        batches: the order of the data.
        step: steps taken.
        seconds: of training so far.
        loss: sum of the loss, in nats, since the last look; a tensor, so that no step waits for it.
        history: the looks.
        best: the averaged weights of the best look.
    """

    model: Model
    average: Model
    optimiser: torch.optim.AdamW
    batches: Batches
    step: int
    seconds: float
    loss: Tensor
    history: list[Look]
    best: dict[str, Tensor]

    @property
    def best_look(self) -> Look:
        """The first of the lowest validation bits."""
        return min(self.history, key=lambda look: look.validation_bits)


def begin(recipe: Recipe, data: Dataset, seed: int, device: torch.device) -> TrainingState:
    """The state before the first step; seeds torch's global generator.

    Raises:
        InvalidInput: recipe and data do not fit together.
    """
    torch.manual_seed(seed)
    model: Model = build_model(recipe.model, data.spec).to(device)
    config = recipe.training
    optional = isinstance(model, AutoregressiveModel) and model.label_optional
    if config.label_dropout and not optional:
        raise InvalidInput("label_dropout: expected a model with label_optional")
    return TrainingState(
        model=model,
        average=copy.deepcopy(model).eval().requires_grad_(False),
        optimiser=optimiser(model, config),
        batches=Batches(data.train, data.spec, config, seed),
        step=0,
        seconds=0.0,
        loss=torch.zeros((), dtype=torch.float64, device=device),
        history=[],
        best={},
    )


def save_state(path: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write the state whole or not at all.

    Args:
        path: of the file.
        state: between two steps.
        identity: of the run: plain values that a later `load_state` must name again.

    Raises:
        OSError: it could not be written; the old file stays.
    """
    content = {
        "version": VERSION,
        "identity": identity,
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "batches": state.batches.state(),
        "step": state.step,
        "seconds": state.seconds,
        "loss": state.loss,
        "history": [astuple(look) for look in state.history],
        "best": state.best,
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state_all() if state.loss.is_cuda else [],
    }
    write_atomically(path, lambda file: torch.save(content, file))


def load_state(path: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    """Bring a fresh state, and torch's global generator, to where `save_state` took them.

    Raises:
        CheckpointError: the file cannot be read, or is of another run.
    """
    try:
        # weights_only: tensors and plain values; nothing in the file is executed.
        content = torch.load(path, map_location=state.loss.device, weights_only=True)
        if content["version"] != VERSION:
            raise CheckpointError(
                f"{path}: expected state version {VERSION}, got {content['version']!r}; begin again"
            )
        _check_identity(path, identity, content["identity"])
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
        batches = content["batches"]
        state.batches.restore(batches | {k: batches[k].cpu() for k in ("generator", "order")})
        state.step, state.seconds = content["step"], content["seconds"]
        state.loss, state.best = content["loss"], content["best"]
        state.history = [Look(*look) for look in content["history"]]
        torch.set_rng_state(content["random"].cpu())
        if content["random_cuda"]:
            torch.cuda.set_rng_state_all([random.cpu() for random in content["random_cuda"]])
    except (pickle.UnpicklingError, OSError, EOFError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected the state of a training run, got: {error}; delete it to begin again"
        ) from error


def _check_identity(path: Path, expected: dict[str, Any], got: dict[str, Any]) -> None:
    names = sorted(expected.keys() | got.keys())
    different = [
        f"{name}: this run has {expected.get(name)}, the file {got.get(name)}"
        for name in names
        if expected.get(name) != got.get(name)
    ]
    if different:
        raise CheckpointError(
            f"{path}: expected the state of the same run, got another one: {'; '.join(different)}; "
            f"train into another folder, or begin again without --resume"
        )
