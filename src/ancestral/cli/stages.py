"""The stages of a training run: a model and, if the model has codes, then its prior."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from ancestral.cli.held_out import affordable_draws, affordable_events, drawn
from ancestral.cli.interrupts import noted_interrupt
from ancestral.cli.output import say
from ancestral.cli.present.bound_table import DRAWS, bound_table, code_table
from ancestral.cli.present.evaluation import evaluation_table
from ancestral.progress import progress_bar, stages
from ancestral.train.bounds import encoded
from ancestral.train.checkpoint import PRIOR
from ancestral.train.checkpoint_config import CONFIG
from ancestral.train.config import Recipe
from ancestral.train.data.dataset import Dataset
from ancestral.train.fit import fitted
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.configuration import LatentConfig
from ancestral.train.models.families import Model
from ancestral.train.models.vqvae import VQVAE
from ancestral.train.progress import Pace, in_words, training_bar
from ancestral.train.recipes import for_two_cores
from ancestral.train.state import Evaluation
from ancestral.train.training import STATE, train
from ancestral.units import bits_unit


@dataclass(frozen=True, slots=True)
class Run:
    """Options of all stages.

    Attributes:
        seed: seed of the weights, of the order of the data and of dropout.
        resume: whether to continue the run in the folder.
        device: cpu, cuda or cuda:N.
        evaluate: whether to evaluate the test part at the end.
    """

    seed: int
    resume: bool
    device: str
    evaluate: bool = True


def train_stages(recipe: Recipe, data: Dataset, out: Path, run: Run) -> Table | None:
    """Train a model, and its prior if the recipe has one; return the table of its test part.

    Args:
        recipe: the recipe; a latent variable model is trained without labels, its prior with them.
        data: the data, with labels if there are any.
        out: folder of the checkpoint; the prior's checkpoint is inside it.
        run: options of both stages.

    Returns:
        The table, or None without `run.evaluate`.

    Raises:
        InvalidInput: as in `ancestral.train.training.train`.
        CheckpointError: the run to resume is damaged, or has other settings.
    """
    latent = isinstance(recipe.model, LatentConfig)
    forget = out / PRIOR if recipe.prior is not None and not run.resume else None
    model = _stage(recipe, data.without_labels() if latent else data, out, run, forget)
    prior, codes = None, data
    if recipe.prior is not None:
        assert isinstance(model, VQVAE)
        with stages("codes of the data"):
            codes = encoded(model, data)
        prior = _stage(recipe.prior, codes, out / PRIOR, run)
    if not run.evaluate:
        return None
    with progress_bar("evaluating the test part") as progress:
        # As much of the test part as fits in the time limit.
        if isinstance(model, VQVAE) and isinstance(prior, AutoregressiveModel):
            test = affordable_events(prior, codes).test
            if len(test) < len(codes.test):
                data = replace(data, test=drawn(data.test, len(test)))
            return code_table(model, prior, data, test, codes.label_log_prior(), progress)
        if isinstance(model, AutoregressiveModel):
            return evaluation_table(model, affordable_events(model, data), progress)
        some, k = affordable_draws(model, data, DRAWS)
        return bound_table(model, some, k, progress)


def _stage(recipe: Recipe, data: Dataset, out: Path, run: Run, forget: Path | None = None) -> Model:
    """Train one model; at its first step, remove the prior of the model that it replaces.

    An old prior in the folder of a new model would be taken for the new model's prior.
    """
    recipe, changes = fitted(recipe, data.spec)
    for change in changes:
        say(
            f"{recipe.name}: for events {list(data.spec.event_shape)} of {data.spec.name}, {change}"
        )
    pace = Pace(recipe.training.steps)
    unit = bits_unit(data.spec.tokenizer)
    bar = training_bar(f"{recipe.name}, seed {run.seed}", recipe.training.steps, unit)
    with (
        bar as show,
        noted_interrupt("stopping after this step and saving the state") as interrupted,
    ):

        def progress(step: int, evaluation: Evaluation | None) -> None:
            if step == 1 and forget is not None:
                for name in (CONFIG, STATE):
                    (forget / name).unlink(missing_ok=True)
            show(step, evaluation)
            left = pace(step)
            if left is not None:
                say(_expected(recipe, left, run.device))
            if interrupted():
                raise KeyboardInterrupt

        result = train(
            recipe,
            data,
            out,
            seed=run.seed,
            resume=run.resume,
            device=run.device,
            progress=progress,
        )
        # A run that was finished already, or needs no steps, has shown nothing yet.
        show(result.summary.steps, result.history[-1] if result.history else None)
    summary = result.summary
    say(
        f"{recipe.name}: {summary.steps} steps in {summary.seconds:.0f} s, best on validation at "
        f"step {summary.best_step} -> {out}"
    )
    return result.model


def _expected(recipe: Recipe, seconds: float, device: str) -> str:
    """Return how long the remaining steps will take, and a faster recipe if there is one."""
    cpu = device == "cpu"
    line = f"{recipe.name}: about {in_words(seconds)} on {'this CPU' if cpu else device}"
    small = for_two_cores(recipe.name) if cpu else None
    return line if small is None else f"{line}; it is made for a GPU, use {small} on two cores"
