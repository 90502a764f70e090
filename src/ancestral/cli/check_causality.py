"""`ancestral check-causality`: check that a model's predictions do not see later values."""

from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli.checkpoint_folder import CheckpointOptions
from ancestral.cli.installed import require
from ancestral.cli.options import Json
from ancestral.cli.output import json_text, put
from ancestral.errors import InvalidInput


def check_causality(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="Folder of a checkpoint, as for `ancestral export`."
        ),
    ],
    positions: Annotated[
        int | None,
        typer.Option(
            rich_help_panel="Checks",
            metavar="N",
            help="Maximum number of positions to test. Default: 64, fewer for a large model.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check that predictions do not depend on later values.

    Changes the values from a position on, and takes derivatives with respect to them: the
    predictions up to that position must not change. The exit code is 1 if they do.
    `ancestral export` runs the same test, and refuses a model that fails it.
    """
    require("check-causality", ("torch",), "train")
    from ancestral.train.causality import check_causality as check
    from ancestral.train.models.autoregressive import AutoregressiveModel

    model = CheckpointOptions().open(checkpoint).model
    if not isinstance(model, AutoregressiveModel):
        raise InvalidInput(
            f"{checkpoint}: expected an autoregressive model, got a {type(model).__name__}, which "
            f"does not predict values from earlier ones; the prior of a VQ-VAE is in its subfolder "
            f"prior"
        )
    report = check(model, most=positions)
    if json:
        put(json_text({"checkpoint": str(checkpoint), **report.to_json()}))
    else:
        put(report.sentence)
    if not report.passed:
        raise typer.Exit(1)
