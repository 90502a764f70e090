"""`ancestral train`: a recipe on data, and how good the result is on held-out events."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.installed import require
from ancestral.cli.output import say, show
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.train.recipes import Recipe


def train(  # noqa: PLR0913 - the options of a command
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder of the checkpoint.")
    ],
    recipe: Annotated[
        str, typer.Option(help="demo, digits, images-28, text or tiny.", metavar="NAME")
    ] = "digits",
    model: Annotated[
        str,
        typer.Option(
            help="transformer, gru, lstm, wavenet, pixelcnn, table; mixture: a Transformer with a "
            "logistic mixture.",
            metavar="FAMILY",
        ),
    ] = "transformer",
    ordering: Annotated[
        str, typer.Option(help="raster, column or random:SEED.", metavar="ORDER")
    ] = "raster",
    label_dropout: Annotated[
        float,
        typer.Option(
            help="Withhold so many of the labels, for one model of p(x) and of p(x | y).",
            metavar="RATE",
        ),
    ] = 0.0,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="digits, idx:FOLDER (MNIST's files), npz:FILE (x, and y where there are labels) "
            "or text:FILE. Default: the recipe's own.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Instead of the recipe's.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order of the data and dropout.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that stands in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that stands in the folder.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(
            help="CPU threads of PyTorch; a resumed run needs the same number to end in the same "
            "bits.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model, save its checkpoint, and evaluate it on the test part beside baselines."""
    require("train", ("torch", "sklearn", "matplotlib"), "train")
    import torch

    from ancestral.cli.evaluation import evaluation_table
    from ancestral.cli.source import load_source
    from ancestral.train.progress import ProgressBar
    from ancestral.train.training import train as run

    chosen = _recipe(recipe, model, steps, label_dropout)
    _check_folder(out, resume, overwrite)
    if threads is not None:
        if threads < 1:
            raise InvalidInput(f"--threads: expected an integer >= 1, got {threads}")
        torch.set_num_threads(threads)
    events = load_source(chosen.source if data is None else data, chosen.name)
    if ordering != "raster":
        events = events.ordered(ordering)
    try:
        with ProgressBar(f"{chosen.name}, seed {seed}", chosen.training.steps) as bar:
            result = run(chosen, events, out, seed=seed, resume=resume, device=device, progress=bar)
    except KeyboardInterrupt:
        say(f"interrupted: run again with --resume to go on from what stands in {out}")
        raise
    summary = result.summary
    say(
        f"{summary.steps} steps in {summary.seconds:.0f} s, best on validation at step "
        f"{summary.best_step} -> {out}"
    )
    show(evaluation_table(result.model, events))


def _recipe(name: str, model: str, steps: int | None, label_dropout: float) -> "Recipe":
    from dataclasses import replace

    from ancestral.train.recipes import MODELS, recipe

    if model not in MODELS:
        raise InvalidInput(f"--model: expected one of {', '.join(MODELS)}, got {model!r}")
    chosen = recipe(name, model)
    if steps is not None:
        chosen = replace(chosen, training=replace(chosen.training, steps=steps))
    if label_dropout:
        chosen = replace(
            chosen,
            model=replace(chosen.model, label_optional=True),
            training=replace(chosen.training, label_dropout=label_dropout),
        )
    return chosen


def _check_folder(out: Path, resume: bool, overwrite: bool) -> None:
    """A run that stands in the folder is lost only where that was asked for."""
    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out: expected a folder or a new path, got a file: {out}")
    there = [name for name in ("config.json", "state.pt") if (out / name).exists()]
    if there and not (resume or overwrite):
        raise InvalidInput(
            f"--out: {out} holds {' and '.join(there)} of another run: pass --resume to go on with "
            f"it, --overwrite to replace it, or another folder"
        )
