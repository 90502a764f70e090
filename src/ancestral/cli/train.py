"""`ancestral train`: train a recipe on data, and evaluate the model on held-out events."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.installed import require
from ancestral.cli.options import backend_option, input_option, output_option
from ancestral.cli.output import check_place, check_utf8, say, show
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

if TYPE_CHECKING:
    from ancestral.train.config import Recipe


_model = partial(typer.Option, rich_help_panel="Model")
_training = partial(typer.Option, rich_help_panel="Training")


def train(  # noqa: PLR0913 - the options of a command
    out: Annotated[
        Path, output_option("-o", "--out", metavar="FOLDER", help="Folder for the checkpoint.")
    ],
    recipe: Annotated[
        str,
        _model(
            metavar="NAME",
            help="demo, digits, images-28-small, text-small or tiny; images-28 or text for a GPU. "
            "A full name, for example digits-vae or images-28-small-vae, includes the model.",
        ),
    ] = "digits",
    model: Annotated[
        str,
        _model(
            metavar="FAMILY",
            help="transformer, gru, lstm, wavenet, pixelcnn, table, mixture (Transformer with a "
            "logistic mixture), vae, or vq (VQ-VAE with a Transformer over its codes, saved in "
            "the subfolder prior).",
        ),
    ] = "transformer",
    ordering: Annotated[
        str,
        _model(
            metavar="ORDER",
            help="Order of the values: raster, column or random:SEED. Autoregressive models only.",
        ),
    ] = "raster",
    label_dropout: Annotated[
        float,
        _training(
            metavar="RATE",
            help="Fraction of the labels to withhold, so that one model learns both p(x) and "
            "p(x | y).",
        ),
    ] = 0.0,
    data: Annotated[
        str | None,
        input_option(
            metavar="SOURCE",
            help="digits, python (the sources of Python's standard library), idx:FOLDER (MNIST's "
            "files), npz:FILE (x, and optionally labels y) or text:FILE. Default: the recipe's "
            "own, if it has one.",
            show_default=False,
        ),
    ] = None,
    binarise: Annotated[
        bool,
        input_option(
            "--binarise",
            help="Replace each value by 1 with probability level / (levels - 1), else by 0: drawn "
            "again at each training step, once for validation and test. A latent variable model "
            "then has a Bernoulli p(x | z).",
        ),
    ] = False,
    steps: Annotated[
        int | None,
        _training(
            metavar="N",
            help="Number of training steps; a prior gets as many. Default: the recipe's.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        _training(
            metavar="N",
            help="Number of events per step, also for a prior. Default: the recipe's.",
        ),
    ] = None,
    width: Annotated[
        int | None,
        _model(
            metavar="N",
            help="Number of features at each position; for convolutions, at the first scale. A "
            "prior keeps its own. Default: the recipe's.",
        ),
    ] = None,
    layers: Annotated[
        int | None,
        _model(
            metavar="N",
            help="Number of layers. A prior keeps its own. Default: the recipe's.",
        ),
    ] = None,
    seed: Annotated[
        int,
        _training(metavar="N", help="Seed of the weights, the order of the data and dropout."),
    ] = 0,
    resume: Annotated[
        bool, _training("--resume", help="Continue the run in the --out folder.")
    ] = False,
    overwrite: Annotated[
        bool, output_option("--overwrite", help="Replace the run in the --out folder.")
    ] = False,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate/--no-evaluate",
            rich_help_panel="Checks",
            help="Evaluate the model and baselines on the test part at the end; takes at most "
            "about 10 minutes.",
        ),
    ] = True,
    device: Annotated[str, backend_option(metavar="DEVICE", help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[
        int | None,
        backend_option(
            metavar="N",
            help="CPU threads of PyTorch. A resumed run needs the same number to give the same "
            "bits. Default: PyTorch's own.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a model on images, text or other data.

    Saves a checkpoint and prints how good the model is on the test part, next to baselines. For a
    latent variable model log p(x) is only bounded; the table says which numbers are bounds.
    """
    _check_numbers(seed, steps=steps, batch_size=batch_size, width=width, layers=layers)
    require("train", ("torch", "sklearn", "matplotlib"), "train")
    import torch

    from ancestral.cli.source import load_source
    from ancestral.cli.stages import Run, train_stages
    from ancestral.scalars import check_threads
    from ancestral.train.training import STATE

    chosen = _trained(_resized(_recipe(recipe, model), width, layers), steps, batch_size)
    chosen = _for_events(chosen, binarise, label_dropout, ordering)
    _check_folder(out, chosen, resume or overwrite)
    if threads is not None:
        torch.set_num_threads(check_threads(threads, "--threads"))
    events = load_source(chosen.source if data is None else data, chosen.name)
    if binarise and events.spec.tokenizer is not None:
        raise InvalidInput("--binarise: expected images or other amounts, got text; leave it out")
    if binarise:
        events = events.binarised()
    if ordering != "raster":
        events = events.ordered(ordering)
    try:
        results = train_stages(chosen, events, out, Run(seed, resume, device, evaluate))
    except KeyboardInterrupt:
        again = f"the state is saved in {out}; continue with --resume"
        saved = (out / STATE).exists()
        say(f"interrupted: {again if saved else f'no state was saved in {out} yet'}")
        raise
    if results is not None:
        show(results)


def _check_numbers(seed: int, **sizes: int | None) -> None:
    """Check the seed, and the numbers that replace the recipe's.

    Raises:
        InvalidInput: the seed is not in 0 .. 2^63 - 1, or another number is 2^31 or more.
    """
    if not 0 <= seed < 2**63:
        raise InvalidInput(f"--seed: expected an integer in 0 .. 2^63 - 1, got {seed}")
    for name, value in sizes.items():
        if value is not None and value >= 2**31:
            name = name.replace("_", "-")
            raise InvalidInput(f"--{name}: expected an integer less than 2^31, got {value}")


def _recipe(name: str, model: str) -> "Recipe":
    from ancestral.train.recipes import MODELS, recipe

    if model not in MODELS:
        raise InvalidInput(f"--model: expected one of {', '.join(MODELS)}, got {quoted(model)}")
    return recipe(name, model)


def _trained(chosen: "Recipe", steps: int | None, batch_size: int | None) -> "Recipe":
    """Return the recipe with these numbers of steps and of events per step, also for its prior."""
    training = chosen.training
    training = training if steps is None else replace(training, steps=steps)
    training = training if batch_size is None else replace(training, batch_size=batch_size)
    prior = None if chosen.prior is None else _trained(chosen.prior, steps, batch_size)
    return replace(chosen, training=training, prior=prior)


def _resized(chosen: "Recipe", width: int | None, layers: int | None) -> "Recipe":
    from ancestral.train.resize import with_layers, with_width

    model, option = chosen.model, f"--layers {layers}"
    try:
        if layers is not None:
            model = with_layers(model, layers)
        if width is not None:
            option = f"--width {width}"
            model = with_width(model, width)
    except InvalidInput as error:
        raise InvalidInput(f"{option}, recipe {chosen.name}: {error}") from error
    return replace(chosen, model=model)


def _for_events(chosen: "Recipe", binarise: bool, label_dropout: float, ordering: str) -> "Recipe":
    """Return the recipe for events that are binarised, without some labels, or reordered."""
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
            f"--label-dropout: {chosen.name} is a latent variable model, which does not use "
            f"labels, and a prior over codes always has them; leave it out"
        )
    if ordering != "raster":
        raise InvalidInput(
            f"--ordering: expected raster, because {chosen.name} is a latent variable model, which "
            f"draws all values of an event together and codes row by row, got {ordering!r}"
        )
    if not binarise or isinstance(model, AutoencoderKLConfig):
        return chosen
    return replace(chosen, model=replace(model, likelihood="bernoulli"))


def _check_folder(out: Path, chosen: "Recipe", allowed: bool) -> None:
    """Check that the folder can be used, and that it has no run unless `allowed`."""
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
            f"--out: {out} has {' and '.join(there)} of another run; pass --resume to continue it, "
            f"--overwrite to replace it, or another folder"
        )
