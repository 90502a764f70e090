"""`ancestral check-causality`: whether the conditionals of a checkpoint see the future."""

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
        Path, typer.Argument(metavar="CHECKPOINT", help="Folder of a model, as for `export`.")
    ],
    positions: Annotated[
        int | None,
        typer.Option(
            help="Positions to test at most. Default: 64, fewer of a large model.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Change values, and take derivatives by them: what was predicted up to there must not notice.

    Exit 1 where it does. `ancestral export` runs the same test, and refuses such a model.
    """
    require("check-causality", ("torch",), "train")
    from ancestral.train.causality import check_causality as check
    from ancestral.train.models.autoregressive import AutoregressiveModel

    model = CheckpointOptions().open(checkpoint).model
    if not isinstance(model, AutoregressiveModel):
        raise InvalidInput(
            f"{checkpoint}: expected an autoregressive model, got a {type(model).__name__}, which "
            f"predicts no value from those before it; the prior of a VQ-VAE stands in its folder "
            f"prior"
        )
    report = check(model, most=positions)
    if json:
        put(json_text({"checkpoint": str(checkpoint), **report.to_json()}))
    else:
        put(report.sentence)
    if not report.passed:
        raise typer.Exit(1)
