"""Everything that the rest of a training run depends on, and how it survives the process."""

import copy
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.files.input_file import open_regular
from ancestral.files.sealed import check_sealed, write_sealed
from ancestral.train.batches import Batches
from ancestral.train.config import TrainingConfig
from ancestral.train.data.dataset import Dataset
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model, build_model
from ancestral.train.recipe import Recipe
from ancestral.train.schedule import optimiser
from ancestral.train.state_content import FIELDS, check_content, check_fields

VERSION = 3
_KIND = f"ancestral training state {VERSION}"
"""First line of the file; earlier versions had no hash."""
_SHARE = 9.0
"""Seconds of training, at least, for each second of writing states between looks."""
_MOST_SHOWN = 8
"""Differences between two runs that an error names."""
_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    ArithmeticError,
)
"""What PyTorch raises of a file whose hash fits and whose content does not."""


@dataclass(frozen=True, slots=True)
class Evaluation:
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
    history: list[Evaluation]
    best: dict[str, Tensor]

    @property
    def best_look(self) -> Evaluation:
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

    def write(file: BinaryIO) -> None:
        write_sealed(file, _KIND, lambda inner: torch.save(content, cast(IO[bytes], inner)))

    write_atomically(path, write)


def load_state(
    path: Path, state: TrainingState, identity: dict[str, Any], config: TrainingConfig
) -> None:
    """Bring a fresh state, and torch's global generator, to where `save_state` took them.

    Nothing in the file is executed, and nothing of it is used before all of it was checked.

    Args:
        path: of the file.
        state: fresh.
        identity: as in `save_state`.
        config: of the run, which says at which steps there were looks.

    Raises:
        CheckpointError: the file cannot be read, also for want of memory, was altered, is of
            another run, or holds what no run writes.
    """
    try:
        content = _read(path, state.loss.device)
        check_fields(content, FIELDS)
        _check_identity(path, identity, content["identity"])
        check_content(content, state, config)
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
        state.optimiser.load_state_dict(content["optimiser"])
        batches = content["batches"]
        state.batches.restore(batches | {k: batches[k].cpu() for k in ("generator", "order")})
        torch.set_rng_state(content["random"].cpu())
        if content["random_cuda"]:
            torch.cuda.set_rng_state_all([random.cpu() for random in content["random_cuda"]])
    except CheckpointError:
        raise
    except (OSError, MemoryError, torch.OutOfMemoryError) as error:
        raise CheckpointError(
            f"{path}: the state of the run cannot be read: {_line(error)}; keep the file, and run "
            f"again with more memory or once the disk answers"
        ) from error
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path}: expected the state of a training run, got: {_line(error)}; delete it to "
            f"begin again"
        ) from error
    state.step, state.seconds = content["step"], content["seconds"]
    state.loss = content["loss"].detach().clone()
    state.best = {name: tensor.detach().clone() for name, tensor in content["best"].items()}
    state.history = [Evaluation(*look) for look in content["history"]]


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of the file, its hash checked before anything is unpacked."""
    with open_regular(path) as file:
        if file.read(2) == b"PK":
            raise InvalidInput("a file of an earlier version of ancestral, which kept no hash")
        file.seek(0)
        check_sealed(file, _KIND)
        # weights_only: tensors and plain values; nothing in the file is executed.
        content = torch.load(file, map_location=device, weights_only=True)
    if not isinstance(content, dict):
        raise InvalidInput(f"a {type(content).__name__} instead of its fields")
    return content


def _line(error: Exception) -> str:
    """The first line of an error, which may have many."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _check_identity(path: Path, expected: dict[str, Any], got: dict[str, Any]) -> None:
    different = list(_differences(expected, got))
    if different:
        more = len(different) - _MOST_SHOWN
        words = [*different[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise CheckpointError(
            f"{path}: expected the state of the same run, got another one: {'; '.join(words)}; "
            f"train into another folder, or begin again: --overwrite instead of --resume"
        )


def _differences(
    expected: dict[str, Any], got: dict[str, Any], place: tuple[str, ...] = ()
) -> Iterator[str]:
    """The fields in which two runs differ, down to single values."""
    for name in sorted(expected.keys() | got.keys()):
        ours, theirs, where = expected.get(name), got.get(name), (*place, name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from _differences(ours, theirs, where)
        elif ours != theirs:
            yield f"{'.'.join(where)}: this run has {shown(ours)}, the file {shown(theirs)}"


class StateFile:
    """The file of a run's state, written at looks and, between them, whenever some time has passed.

    What a run computes does not depend on when its state is written.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is written yet.

        Args:
            path: of the file.
            identity: as in `save_state`.
            every: seconds between two states; more where writing takes more than a tenth of them.
            clock: gives the seconds.
        """
        self.path = path
        self._identity, self._every, self._clock = identity, every, clock
        self._due = clock() + every

    def save(self, state: TrainingState) -> None:
        """Write the state now.

        Raises:
            OSError: as `save_state`.
        """
        begun = self._clock()
        save_state(self.path, state, self._identity)
        ended = self._clock()
        pause = max(self._every, _SHARE * (ended - begun)) if self._every else 0.0
        self._due = ended + pause

    @property
    def due(self) -> bool:
        """Whether the time has passed."""
        return self._clock() >= self._due
