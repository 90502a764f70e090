"""The file of a training state, from which an interrupted run continues."""

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
"""Least number of seconds of training per second spent on saving, between evaluations."""
_MOST_SHOWN = 8
"""Number of differences between two runs that an error lists."""


def save_state(path: Path, state: TrainingState, identity: dict[str, Any]) -> None:
    """Write a training state to a file, atomically.

    Args:
        path: path of the file.
        state: state between two steps.
        identity: plain values that identify the run; `load_state` needs the same ones.

    Raises:
        OSError: the file cannot be written; the old one is kept.
    """
    content = content_of(state, identity)

    def write(file: BinaryIO) -> None:
        write_sealed(file, _KIND, lambda inner: torch.save(content, cast(IO[bytes], inner)))

    write_atomically(path, write)


def load_state(
    path: Path, state: TrainingState, identity: dict[str, Any], config: TrainingConfig
) -> None:
    """Restore a fresh state, and torch's global generator, from a file.

    Nothing in the file is executed, and everything is checked before anything is used.

    Args:
        path: path of the file.
        state: fresh state of the same run.
        identity: the values passed to `save_state`.
        config: training settings of the run, which determine the steps of the evaluations.

    Raises:
        CheckpointError: the file cannot be read, memory is too small, or the file is damaged, of
            another run, or not a training state.
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
            f"{path}: the training state cannot be read ({_line(error)}); keep the file, and try "
            f"again with more memory or when the disk is available"
        ) from error
    except (pickle.UnpicklingError, *BROKEN) as error:
        raise CheckpointError(
            f"{path}: not a valid training state ({_line(error)}); delete it to start again"
        ) from error
    state.step, state.seconds = content["step"], content["seconds"]
    state.loss = content["loss"].detach().clone()
    state.best = {name: tensor.detach().clone() for name, tensor in content["best"].items()}
    state.history = [Evaluation(*values) for values in content["history"]]


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """Return the content of the file; its hash is checked before anything is unpacked."""
    with open_regular(path) as file:
        check_sealed(file, _KIND)
        # weights_only: tensors and plain values; nothing in the file is executed.
        content = torch.load(file, map_location=device, weights_only=True)
    if not isinstance(content, dict):
        raise InvalidInput(f"content: expected a dict, got {type(content).__name__}")
    return content


def _line(error: Exception) -> str:
    """Return the first line of an error."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _check_identity(path: Path, expected: dict[str, Any], got: dict[str, Any]) -> None:
    different = list(_differences(expected, got))
    if different:
        more = len(different) - _MOST_SHOWN
        words = [*different[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]
        raise CheckpointError(
            f"{path}: the state belongs to another run ({'; '.join(words)}); train into another "
            f"folder, or start again with --overwrite instead of --resume"
        )


def _differences(
    expected: dict[str, Any], got: dict[str, Any], place: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield the fields in which two runs differ, down to single values."""
    for name in sorted(expected.keys() | got.keys()):
        ours, theirs, where = expected.get(name), got.get(name), (*place, name)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            yield from _differences(ours, theirs, where)
        elif ours != theirs:
            yield f"{'.'.join(where)}: this run has {shown(ours)}, the file has {shown(theirs)}"


class StateFile:
    """The file of a run's state, written at evaluations and, between them, at intervals.

    The result of a run does not depend on when its state is written.
    """

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the clock; nothing is written yet.

        Args:
            path: path of the file.
            identity: the values passed to `save_state`.
            every: seconds between two saved states; longer if saving takes more than a tenth of the
                time.
            clock: function that returns the time in seconds.
        """
        self.path = path
        self._identity, self._every, self._clock = identity, every, clock
        self._due = clock() + every

    def save(self, state: TrainingState) -> None:
        """Write the state now.

        Raises:
            OSError: the file cannot be written.
        """
        begun = self._clock()
        save_state(self.path, state, self._identity)
        ended = self._clock()
        pause = max(self._every, _SHARE * (ended - begun)) if self._every else 0.0
        self._due = ended + pause

    @property
    def due(self) -> bool:
        """Whether the next state is due."""
        return self._clock() >= self._due
