"""The rows of a job, computed by an engine in batches of one size."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ancestral.bulk import draws, scores
from ancestral.bulk.data import Data
from ancestral.bulk.events import check_levels
from ancestral.bulk.job import Job
from ancestral.bulk.parts import Part
from ancestral.bulk.prompts import read_prompts
from ancestral.bulk.settings import (
    BoundSettings,
    ClassifySettings,
    EncodeSettings,
    LogProbSettings,
    SampleSettings,
    ScoreSettings,
)
from ancestral.bulk.store import Store
from ancestral.bulk.table import Columns
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from ancestral.errors import InvalidInput


class Computed(Protocol):
    """Rows that are computed when they are asked for."""

    def columns(self, first: int, count: int) -> Columns:
        """Return the columns of the rows first .. first + count - 1."""


Tell = Callable[[int], object]
"""Called after each batch with its number of rows."""


def ignored(rows: int) -> None:
    """Do nothing after a batch."""


def load_engine(job: Job, path: str | None = None) -> Engine:
    """Load the bundle of a job.

    Args:
        job: the job.
        path: folder of the bundle; None for where it was when the job was made.

    Raises:
        InvalidInput: the folder has another bundle now.
        BundleError: the bundle is missing or damaged.
        BackendUnavailable: the backend cannot run here.
    """
    folder, runtime = path or job.bundle.path, job.runtime
    options: dict[str, Any] = {}
    if runtime.dtype is not None:
        options["dtype"] = runtime.dtype
    if runtime.batch_invariant:
        options["batch_invariant"] = True
    engine = Engine.load(Path(folder), runtime.backend, runtime.device, runtime.threads, **options)
    check_bundle(engine, job)
    return engine


def check_bundle(engine: Engine, job: Job) -> None:
    """Check that an engine has the bundle of a job.

    Raises:
        InvalidInput: it has another one.
    """
    found = engine.bundle.manifest.sha256
    if found != job.bundle.sha256:
        raise InvalidInput(
            f"{engine.bundle.path}: expected the bundle {job.bundle.sha256[:12]} of the job, got "
            f"{found[:12]}; restore the bundle, or give another --out"
        )


def computed(
    job: Job, engine: Engine, store: Store, paths: Sequence[str] | None = None
) -> Computed:
    """Return the rows of a job.

    Args:
        job: the job.
        engine: its bundle on its backend.
        store: its folder, which has the prompts.
        paths: files of data; None for where they were when the job was made.

    Raises:
        InvalidInput: the model is not of the kind that the job needs, or the prompts are missing.
    """
    if isinstance(job.settings, SampleSettings):
        return _samples(job.settings, engine, store)
    data = Data(paths or [file.path for file in job.data], job.data)
    return scores.Scores(data, score_of(engine, job.settings))


def score_of(engine: Engine, settings: ScoreSettings) -> scores.Score:
    """Return the function that computes the columns of rows of data.

    Raises:
        InvalidInput: the model is not of the kind that the settings need.
    """
    check_levels(settings.binarise, engine.data)
    match settings:
        case LogProbSettings():
            return scores.log_probs(_autoregressive(engine, "log-prob"), settings)
        case ClassifySettings():
            return scores.classes(_autoregressive(engine, "classify"), settings)
        case BoundSettings():
            return scores.bounds(_latent(engine, "bound"), settings)
        case EncodeSettings():
            return scores.encodings(_latent(engine, "encode"), settings)


def part_columns(rows: Computed, part: Part, job: Job, tell: Tell = ignored) -> Columns:
    """Return the columns of a part, computed in batches of the job's rows.

    A batch of samples is always whole: what is beyond the part is drawn and dropped. So the bits
    of a row do not depend on the number of rows of the job.
    """
    return draws.joined(batches(rows, part.first, part.end, job, tell))


def batches(rows: Computed, first: int, end: int, job: Job, tell: Tell = ignored) -> list[Columns]:
    """Return the columns of rows, batch by batch; the first row is the first of a batch."""
    whole = isinstance(job.settings, SampleSettings)
    found = []
    for begin in range(first, end, job.rows):
        count = min(job.rows, end - begin)
        columns = rows.columns(begin, job.rows if whole else count)
        found.append({name: column[:count] for name, column in columns.items()})
        tell(count)
    return found


def _samples(settings: SampleSettings, engine: Engine, store: Store) -> Computed:
    if isinstance(engine, LatentEngine):
        if settings.prompts is not None:
            raise InvalidInput("--prompts: not used with a latent variable model; leave it out")
        return draws.LatentDraws(engine, settings)
    assert isinstance(engine, AutoregressiveEngine)
    if settings.mean:
        raise InvalidInput("--mean: not used with an autoregressive model; leave it out")
    if settings.prompts is None:
        return draws.EventDraws(engine, settings)
    prompts = read_prompts(store, settings.prompts.sha256)
    return draws.PromptDraws(engine, settings, prompts)


def _autoregressive(engine: Engine, command: str) -> AutoregressiveEngine:
    if not isinstance(engine, AutoregressiveEngine):
        raise InvalidInput(
            f"{engine.bundle.path}: expected an autoregressive bundle for {command}, got a latent "
            f"variable model; use `ancestral bulk bound`"
        )
    return engine


def _latent(engine: Engine, command: str) -> LatentEngine:
    if not isinstance(engine, LatentEngine):
        raise InvalidInput(
            f"{engine.bundle.path}: expected a latent variable model for {command}, got an "
            f"autoregressive bundle; use `ancestral bulk log-prob`"
        )
    return engine
