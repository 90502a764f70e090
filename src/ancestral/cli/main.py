"""`ancestral`: its commands, and the one place that turns errors into exit codes."""

import contextlib
import errno
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import typer

from ancestral import __version__
from ancestral.cli.commands import BULK, COMMANDS, EXAMPLES
from ancestral.cli.help_page import CommandPage, ProgramPage, with_examples
from ancestral.cli.interrupts import Interrupts
from ancestral.cli.output import put, say
from ancestral.cli.streams import flush_streams, is_broken_pipe, open_streams
from ancestral.errors import AncestralError, ParityError

DONE, CHECK_FAILED, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141
_INTACT = "existing files are intact"


def main() -> None:
    """Run the command line of this process, and end it."""
    interrupts = Interrupts()
    try:
        interrupts.install()
        open_streams()
        code = run(sys.argv[1:], interrupts)
        error = flush_streams()
    except KeyboardInterrupt:
        code, error = INTERRUPTED, None
    # Only cleanup is left: from here Ctrl-C ends the process silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if error is not None and code == DONE:
        code = _code_of(error)
        flush_streams()
    sys.exit(code)


def run(arguments: Sequence[str], interrupts: Interrupts | None = None) -> int:
    """Run one command line.

    Args:
        arguments: the command line without the name of the program.
        interrupts: the process's handler of Ctrl-C; None if the caller handles Ctrl-C.

    Returns:
        The exit code: 0 done, 1 a check failed, 2 bad input, 3 internal error, 130 interrupted,
        141 the reader of the output has gone (as after SIGPIPE).
    """
    return guarded(lambda: application()(args=list(arguments), prog_name="ancestral"), interrupts)


def guarded(action: Callable[[], object], interrupts: Interrupts | None = None) -> int:
    """Run an action, report on standard error what stopped it, and return the exit code."""
    try:
        try:
            action()
        except Exception as error:
            if interrupts is not None and interrupts.seen:
                raise KeyboardInterrupt from error
            raise
    except SystemExit as end:
        # Typer exits with code 1 if a pipe is broken.
        if is_broken_pipe(end.__context__):
            return BROKEN_PIPE
        return end.code if isinstance(end.code, int) else DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - every error becomes an exit code here
        return _code_of(error)
    return DONE


def _code_of(error: Exception) -> int:
    """Report an error and return its exit code; an internal error is reported with traceback."""
    code, sentence = BAD_INPUT, str(error)
    match error:
        case ParityError():
            code = CHECK_FAILED
        case AncestralError():
            pass
        case OSError() if is_broken_pipe(error):
            return BROKEN_PIPE
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            sentence = (
                f"the disk is full ({error.strerror}); free some space and run again; {_INTACT}"
            )
        case OSError():
            sentence = f"{error}; {_INTACT}"
        case MemoryError():
            sentence = (
                f"out of memory; use smaller batches, fewer events or a smaller model; {_INTACT}"
            )
        case _:
            code = INTERNAL_ERROR
            sentence = (
                f"internal error ({type(error).__name__}): this is a bug in ancestral; please "
                f"report it with the lines above and the output of `ancestral doctor`"
            )
            with contextlib.suppress(OSError):
                say("".join(traceback.format_exception(error)))
    # If standard error cannot be written to, only the exit code reports the error.
    with contextlib.suppress(OSError):
        say(f"ancestral: {sentence}")
    return code


def application() -> typer.Typer:
    """Return the command line application, with its commands in groups."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        cls=with_examples(ProgramPage, EXAMPLES),
        epilog="Exit codes: 0 done, 1 a check failed, 2 bad input, 3 internal error, "
        "130 interrupted, 141 broken pipe.",
    )
    app.callback()(_ancestral)
    for group, commands in COMMANDS.items():
        _add(app, commands, group)
    app.add_typer(_bulk(), name="bulk", rich_help_panel="Large jobs")
    return app


def _bulk() -> typer.Typer:
    """Return the application of `ancestral bulk`."""
    examples = tuple(each[0] for each in BULK.values())
    bulk = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        cls=with_examples(ProgramPage, examples),
        help="Sample and score on any number of processes and machines.\n\n"
        "A job is a folder of Parquet parts. Any process may do any part at any time, and each row "
        "is the same whoever computes it.",
    )
    _add(bulk, BULK, None)
    return bulk


def _add(
    app: typer.Typer, commands: Mapping[Callable[..., None], tuple[str, ...]], group: str | None
) -> None:
    """Add commands with their examples to an application, in a group of its help."""
    for command, examples in commands.items():
        name = command.__name__.replace("_", "-")
        page = with_examples(CommandPage, examples)
        app.command(name, rich_help_panel=group, cls=page)(command)


def _print_version(wanted: bool | None) -> None:
    if wanted:
        put(__version__)
        raise typer.Exit


def _ancestral(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = None,
) -> None:
    """Train likelihood models and run them with the same probabilities on every backend.

    `ancestral export` turns a PyTorch checkpoint into a bundle, which the other commands read.
    `ancestral verify` checks that a backend keeps its log-probabilities and its samples.
    """
