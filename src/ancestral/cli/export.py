"""`ancestral export`: a trained checkpoint becomes a bundle, and is verified."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli.installed import installed_backends, require
from ancestral.cli.options import Threads
from ancestral.cli.output import say, show
from ancestral.cli.verify import parity_reports, parity_table, report_failures
from ancestral.errors import InvalidInput


class Dtype(StrEnum):
    """What weights and cache can be exported as."""

    FLOAT32 = "float32"


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder that `ancestral train` wrote.")
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
    dtype: Annotated[Dtype, typer.Option(help="Of weights and cache.")] = Dtype.FLOAT32,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that is there.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Verify on every backend installed here.")
    ] = True,
    threads: Threads = None,
) -> None:
    """Export a checkpoint to ONNX graphs with known answers, and verify; exit 1 if that fails."""
    require("export", ("torch", "onnx", "onnxscript"), "export")
    import numpy as np

    from ancestral.export.bundle import export_bundle
    from ancestral.train.checkpoint import load_checkpoint
    from ancestral.train.models.transformer import Transformer

    model, saved = load_checkpoint(checkpoint)
    if length is not None:
        if not isinstance(model, Transformer):
            raise InvalidInput("--length: only a Transformer's cache can be made shorter")
        model = model.shortened(length)
    prior = saved.config.log_prior
    export_bundle(
        model,
        out,
        label_prior=None if prior is None else np.exp(prior).tolist(),
        overwrite=overwrite,
        progress=lambda line: say(f"exporting: {line}"),
    )
    say(f"exported in {dtype} -> {out}")
    if not verify:
        return
    reports = parity_reports(out, installed_backends(), threads=threads)
    show(parity_table(reports))
    if not report_failures(reports):
        say(f"{out} does not keep the probabilities of {checkpoint}: do not use it there")
        raise typer.Exit(1)
