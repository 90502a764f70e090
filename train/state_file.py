"""The file of a training state: how a run survives its process."""

import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch

from ancestral.arrays import shown
from ancestral.errors import CheckpointError, InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.files.input_file import open_regular
from ancestral.files.sealed import check_sealed, write_sealed
from ancestral.train.config import TrainingConfig
from ancestral.train.hugging_face.tensor_files import BROKEN
from ancestral.train.state import Evaluation, TrainingState
from ancestral.train.state_content import check_content, check_fields, content_of

_KIND = "ancestral training state 1"
"""First line of the file."""
_SHARE = 9.0
"""Seconds of training, at least, for each second of writing states between evaluations."""
_MOST_SHOWN = 8
"""Differences between two runs that an error names."""


def save_state(path: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write the state whole or not at all.

    Args:
        path: of the file.
        state: between two steps.
        identity: of the run: plain values that a later `load_state` must name again.

    Raises:
        OSError: it could not be written; the old file stays.
    """
    content = content_of(state, identity)

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
        config: of the run, which says at which steps there were evaluations.

    Raises:
        CheckpointError: the file cannot be read, also for want of memory, was altered, is of
            another run, or holds what no run writes.
    """
    try:
        content = _read(path, state.loss.device)
        check_fields(content, content_of(state, identity))
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
    except (pickle.UnpicklingError, *BROKEN) as error:
        raise CheckpointError(
            f"{path}: expected the state of a training run, got: {_line(error)}; delete it to "
            f"begin again"
        ) from error
    state.step, state.seconds = content["step"], content["seconds"]
    state.loss = content["loss"].detach().clone()
    state.best = {name: tensor.detach().clone() for name, tensor in content["best"].items()}
    state.history = [Evaluation(*values) for values in content["history"]]


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """The content of the file, its hash checked before anything is unpacked."""
    with open_regular(path) as file:
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
    """The file of a run's state, written at evaluations and, between them, after some time.

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
