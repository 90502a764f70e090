"""`ancestral export`: a trained checkpoint becomes a bundle, and is verified."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.installed import backends_for, require
from ancestral.cli.options import Threads
from ancestral.cli.output import say, show
from ancestral.cli.parity_table import parity_table, prior_tables
from ancestral.cli.verify import parity_reports, report_failures
from ancestral.errors import CheckpointError, InvalidInput

if TYPE_CHECKING:
    from ancestral.signature import FloatDtype
    from ancestral.train.models.autoregressive import AutoregressiveModel
    from ancestral.train.models.families import Model


class Dtype(StrEnum):
    """What weights, activations and caches can be exported as."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def export(  # noqa: PLR0913 - the options of a command
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Folder that `ancestral train` wrote; or that of a diffusers AutoencoderKL; or a "
            "bundle in float32, which becomes one of 16 bits.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="BUNDLE", help="Folder of the bundle.")
    ],
    length: Annotated[
        int | None,
        typer.Option(
            help="Positions of an event, and so of the cache, for sequences shorter than the "
            "model was trained on.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Pixels of the images, of a diffusers model: a side, or HEIGHTxWIDTH.",
            metavar="SIDE",
            show_default=False,
        ),
    ] = None,
    pixel_scale: Annotated[
        float | None,
        typer.Option(
            help="Of a diffusers model: sigma of the Gaussian p(x | z), where levels span [-1, 1]. "
            "Default: 1.",
            metavar="SIGMA",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        Dtype,
        typer.Option(
            help="Of weights, activations and caches; the last projection, the softmax, sums and "
            "draws are float32 in each."
        ),
    ] = Dtype.FLOAT32,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is there.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Verify on every backend installed here.")
    ] = True,
    threads: Threads = None,
) -> None:
    """Export a checkpoint to ONNX graphs with known answers, and verify; exit 1 if that fails.

    The prior over codes of a VQ-VAE goes along.
    """
    require("export", ("torch", "onnx", "onnxscript"), "export")
    from ancestral.bundle import MANIFEST
    from ancestral.export.bundle import export_bundle
    from ancestral.export.recast import recast

    def progress(line: str) -> None:
        say(f"exporting: {line}")

    kind: FloatDtype = dtype.value
    if (checkpoint / MANIFEST).is_file():
        _check_options(checkpoint, {"length": length, "size": size, "pixel-scale": pixel_scale})
        recast(checkpoint, out, kind, overwrite=overwrite, progress=progress)
    else:
        model, options = _model(checkpoint, size, pixel_scale)
        if length is not None:
            model = _shortened(model, length)
        export_bundle(model, out, dtype=kind, overwrite=overwrite, progress=progress, **options)
    say(f"exported in {dtype} -> {out}")
    if not verify:
        return
    reports = parity_reports(out, backends_for(out), threads=threads)
    show(parity_table(reports), *prior_tables(reports))
    if not report_failures(reports):
        say(f"{out} does not keep the probabilities of {checkpoint}: do not use it there")
        raise typer.Exit(1)


def _check_options(folder: Path, given: dict[str, Any]) -> None:
    """Refuse options that are not for such a folder.

    Raises:
        InvalidInput: one was given.
    """
    for name, value in given.items():
        if value is not None:
            raise InvalidInput(f"--{name}: expected a checkpoint beside it, got {folder}, a bundle")


def _model(
    folder: Path, size: str | None, pixel_scale: float | None
) -> tuple["Model", dict[str, Any]]:
    """The model of a folder, and what else its export is of."""
    from ancestral.train.diffusers_folder import is_diffusers

    if is_diffusers(folder):
        return _from_diffusers(folder, size, pixel_scale), {}
    if size is not None or pixel_scale is not None:
        name = "--pixel-scale" if size is None else "--size"
        raise InvalidInput(f"{name}: expected a diffusers folder beside it, got {folder}")
    return _from_checkpoint(folder)


def _from_checkpoint(checkpoint: Path) -> tuple["Model", dict[str, Any]]:
    """A model, and what else its export is of: p(y), and the prior over codes."""
    import numpy as np

    from ancestral.train.checkpoint import load_checkpoint
    from ancestral.train.models.vqvae import VQVAE

    model, saved = load_checkpoint(checkpoint)
    options: dict[str, Any] = {}
    if isinstance(model, VQVAE):
        options["prior"], saved = _prior(checkpoint)
    log_prior = saved.config.log_prior
    options["label_prior"] = None if log_prior is None else np.exp(log_prior).tolist()
    return model, options


def _prior(checkpoint: Path) -> tuple["AutoregressiveModel", Any]:
    """The prior over the codes of a VQ-VAE, and what stands beside its weights."""
    from ancestral.train.checkpoint import CONFIG, load_checkpoint
    from ancestral.train.codes import PRIOR
    from ancestral.train.models.autoregressive import AutoregressiveModel

    folder = checkpoint / PRIOR
    if not (folder / CONFIG).exists():
        raise CheckpointError(
            f"{folder}: expected the checkpoint of the prior over codes, got none: train it with "
            f"the command that trained {checkpoint} and --resume"
        )
    prior, saved = load_checkpoint(folder)
    if not isinstance(prior, AutoregressiveModel):
        raise CheckpointError(
            f"{folder}: expected an autoregressive model of codes, got {type(prior).__name__}"
        )
    return prior, saved


def _from_diffusers(folder: Path, size: str | None, pixel_scale: float | None) -> "Model":
    from ancestral.train.diffusers_folder import load_diffusers

    if size is None:
        raise InvalidInput(
            f"--size: expected the side of the images in pixels, or HEIGHTxWIDTH, for {folder} is "
            f"of diffusers and takes images of any size: --size 64, say"
        )
    sides = [part.strip() for part in size.lower().split("x")]
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        raise InvalidInput(f"--size: expected a side like 64, or 48x64, got {size!r}")
    height, width = int(sides[0]), int(sides[-1])
    scale = 1.0 if pixel_scale is None else pixel_scale
    return load_diffusers(folder, (height, width), scale)


def _shortened(model: "Model", length: int) -> "Model":
    from ancestral.train.models.transformer import Transformer

    if not isinstance(model, Transformer):
        raise InvalidInput(
            f"--length: only a Transformer's cache can be made shorter, got a "
            f"{type(model).__name__}: leave it out"
        )
    return model.shortened(length)
