"""`ancestral train`: a recipe on data, and how good the result is on held-out events."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.installed import require
from ancestral.cli.output import check_place, check_utf8, say, show
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.train.config import Recipe


def _number(help_text: str) -> Any:
    """An option with a number in place of the recipe's."""
    return typer.Option(help=help_text, max=2**31 - 1, show_default=False)


def train(  # noqa: PLR0913 - the options of a command
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Folder of the checkpoint.")
    ],
    recipe: Annotated[
        str,
        typer.Option(
            help="demo, digits, images-28-small, text-small or tiny; for a GPU images-28 or text. "
            "--model chooses the variant, as does a full name: digits-vae, images-28-small-vae, "
            "digits-gru and so on.",
            metavar="NAME",
        ),
    ] = "digits",
    model: Annotated[
        str,
        typer.Option(
            help="transformer, gru, lstm, wavenet, pixelcnn, table; mixture: a Transformer with a "
            "logistic mixture; vae: a variational autoencoder; vq: a VQ-VAE, then a Transformer "
            "over its codes, in the folder prior of the checkpoint.",
            metavar="FAMILY",
        ),
    ] = "transformer",
    ordering: Annotated[
        str,
        typer.Option(
            help="raster, column or random:SEED; of autoregressive models.", metavar="ORDER"
        ),
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
    binarise: Annotated[
        bool,
        typer.Option(
            "--binarise",
            help="Make each value 0 or 1, the latter with probability level / (levels - 1): drawn "
            "anew at each training step, once for the other parts. p(x | z) is then Bernoulli.",
        ),
    ] = False,
    steps: Annotated[int | None, _number("Instead of the recipe's; of a prior's too.")] = None,
    width: Annotated[
        int | None,
        _number(
            "Width of the features, instead of the recipe's; of convolutions at the first scale. "
            "A prior keeps its own."
        ),
    ] = None,
    layers: Annotated[
        int | None, _number("Number of layers, instead of the recipe's. A prior keeps its own.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of weights, order of the data and dropout.", min=0, max=2**63 - 1)
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that stands in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that stands in the folder.")
    ] = False,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate",
            help="Evaluate the test part at the end, beside baselines; at most about 10 minutes.",
        ),
    ] = True,
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
    """Train a model, save its checkpoint, and evaluate it on the test part beside baselines.

    Of a latent variable model log p(x) is only bounded: the table says what is a bound.
    """
    require("train", ("torch", "sklearn", "matplotlib"), "train")
    import torch

    from ancestral.cli.source import load_source
    from ancestral.cli.stages import Run, train_stages
    from ancestral.scalars import check_threads
    from ancestral.train.training import STATE

    chosen = _with_steps(_resized(_recipe(recipe, model), width, layers), steps)
    chosen = _for_events(chosen, binarise, label_dropout, ordering)
    _check_folder(out, chosen, resume or overwrite)
    if threads is not None:
        torch.set_num_threads(check_threads(threads, "--threads"))
    events = load_source(chosen.source if data is None else data, chosen.name)
    if binarise and events.spec.tokenizer is not None:
        raise InvalidInput("--binarise: expected images or other magnitudes, got text: leave it")
    if binarise:
        events = events.binarised()
    if ordering != "raster":
        events = events.ordered(ordering)
    try:
        results = train_stages(chosen, events, out, Run(seed, resume, device, evaluate))
    except KeyboardInterrupt:
        again = f"run again with --resume to go on from the state in {out}"
        saved = (out / STATE).exists()
        say(f"interrupted: {again if saved else f'no state was saved in {out} yet'}")
        raise
    if results is not None:
        show(results)


def _recipe(name: str, model: str) -> "Recipe":
    from ancestral.train.recipes import MODELS, recipe

    if model not in MODELS:
        raise InvalidInput(f"--model: expected one of {', '.join(MODELS)}, got {model!r}")
    return recipe(name, model)


def _with_steps(chosen: "Recipe", steps: int | None) -> "Recipe":
    """A recipe whose training, and its prior's, takes so many steps."""
    if steps is None:
        return chosen
    prior = None if chosen.prior is None else _with_steps(chosen.prior, steps)
    return replace(chosen, training=replace(chosen.training, steps=steps), prior=prior)


def _resized(chosen: "Recipe", width: int | None, layers: int | None) -> "Recipe":
    from ancestral.train.resize import with_layers, with_width

    model, option = chosen.model, ""
    try:
        if layers is not None:
            option = f"--layers {layers}"
            model = with_layers(model, layers)
        if width is not None:
            option = f"--width {width}"
            model = with_width(model, width)
    except InvalidInput as error:
        raise InvalidInput(f"{option}, recipe {chosen.name}: {error}") from error
    return replace(chosen, model=model)


def _for_events(chosen: "Recipe", binarise: bool, label_dropout: float, ordering: str) -> "Recipe":
    """A recipe for events that are binarised, lose labels, or are drawn in another order."""
    from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
    from ancestral.train.models.configuration import LatentConfig

    model = chosen.model
    if not isinstance(model, LatentConfig):
        if not label_dropout:
            return chosen
        training = replace(chosen.training, label_dropout=label_dropout)
        return replace(chosen, model=replace(model, label_optional=True), training=training)
    if label_dropout:
        raise InvalidInput(
            f"--label-dropout: {chosen.name} is a latent variable model, which sees no labels; "
            f"those of a prior over codes are never withheld: leave it out"
        )
    if ordering != "raster":
        raise InvalidInput(
            f"--ordering: {chosen.name} is a latent variable model, which draws all values of an "
            f"event at once, and codes row after row: expected raster, got {ordering!r}"
        )
    if not binarise or isinstance(model, AutoencoderKLConfig):
        return chosen
    return replace(chosen, model=replace(model, likelihood="bernoulli"))


def _check_folder(out: Path, chosen: "Recipe", allowed: bool) -> None:
    """A run that stands in the folder is lost only where that was asked for."""
    from ancestral.train.checkpoint import PRIOR

    if out.exists() and not out.is_dir():
        raise InvalidInput(f"--out: expected a folder or a new path, got a file: {out}")
    check_place(out)
    check_utf8(out, "--out")
    names = ["config.json", "state.pt"]
    if chosen.prior is not None:
        names += [f"{PRIOR}/{name}" for name in names]
    there = [name for name in names if (out / name).exists()]
    if there and not allowed:
        raise InvalidInput(
            f"--out: {out} holds {' and '.join(there)} of another run: pass --resume to go on with "
            f"it, --overwrite to replace it, or another folder"
        )
