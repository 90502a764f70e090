"""Checkpoint folders named on the command line, with their options."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ancestral.cli.output import say
from ancestral.decimals import decimal, decimals
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

if TYPE_CHECKING:
    from ancestral.train.open_checkpoint import OpenedCheckpoint


@dataclass(frozen=True, slots=True)
class CheckpointOptions:
    """Options of a checkpoint folder, as typed; None for the default of the checkpoint.

    Attributes:
        length: positions of an event.
        size: pixels of the images: "64", or "48x64" for height 48 and width 64.
        pixel_scale: sigma of p(x | z).
        start: id of the token before each text, or "none".
        ignore_field: unknown fields of config.json that do not change what the model computes.
    """

    length: int | None = None
    size: str | None = None
    pixel_scale: float | None = None
    start: str | None = None
    ignore_field: tuple[str, ...] | None = None

    def refuse(self, folder: Path) -> None:
        """Check that no option is given, for a folder that is not a checkpoint.

        Raises:
            InvalidInput: an option was given.
        """
        for field in fields(self):
            if getattr(self, field.name) is not None:
                option = _option(field.name)
                raise InvalidInput(
                    f"{option}: only used with a checkpoint, got the bundle {folder}; leave it out"
                )

    def open(self, folder: Path) -> "OpenedCheckpoint":
        """Open the checkpoint of a folder, and print the notes about what was read.

        Raises:
            CheckpointError: as in `open_checkpoint`.
            InvalidInput: as in `open_checkpoint`, with the name of the option.
        """
        from ancestral.train.open_checkpoint import open_checkpoint

        size, start = _sides(self.size), _start(self.start)
        try:
            opened = open_checkpoint(
                folder,
                length=self.length,
                size=size,
                pixel_scale=self.pixel_scale,
                start=start,
                ignore_field=self.ignore_field or (),
            )
        except InvalidInput as error:
            name, colon, problem = str(error).partition(":")
            known = name in (field.name for field in fields(self))
            raise InvalidInput(f"{_option(name) if known else name}{colon}{problem}") from error
        for line in opened.notes:
            say(line)
        return opened


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _start(written: str | None) -> int | Literal["auto", "none"]:
    if written is None:
        return "auto"
    if written.lower() == "none":
        return "none"
    number = decimal(written)
    if number is None:
        raise InvalidInput(f"--start: expected a token id or none, got {quoted(written)}")
    return number


def _sides(written: str | None) -> tuple[int, int] | None:
    """Return height and width, given a side or HEIGHTxWIDTH."""
    if written is None:
        return None
    sides = decimals("--size", written.lower(), "a side like 64, or 48x64", (1, 2), "x")
    return sides[0], sides[-1]
