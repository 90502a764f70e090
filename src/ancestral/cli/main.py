"""`ancestral`: the commands, and the one place that turns errors into exit codes."""

import contextlib
import errno
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ancestral import __version__
from ancestral.cli.bench import bench
from ancestral.cli.bound import bound
from ancestral.cli.check_causality import check_causality
from ancestral.cli.classify import classify
from ancestral.cli.compile import compile
from ancestral.cli.doctor import doctor
from ancestral.cli.export import export
from ancestral.cli.info import info
from ancestral.cli.interrupts import Interrupts
from ancestral.cli.latent_pictures import interpolate, latent_grid, reconstruct
from ancestral.cli.latents import decode, encode
from ancestral.cli.log_prob import log_prob
from ancestral.cli.output import put, say
from ancestral.cli.plans import plans
from ancestral.cli.sample import sample
from ancestral.cli.streams import flush_streams, is_broken_pipe, open_streams
from ancestral.cli.train import train
from ancestral.cli.verify import verify
from ancestral.errors import AncestralError, ParityError

DONE, CHECK_FAILED, BAD_INPUT, INTERNAL_ERROR, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141
_WHOLE = "files that were there before are whole"

_COMMANDS: dict[str, dict[Callable[..., None], str]] = {
    "Make a bundle": {
        train: "ancestral train --recipe digits -o runs/digits",
        export: "ancestral export runs/digits -o bundles/digits",
        compile: "ancestral compile bundles/digits --batch 1,16,64",
        plans: "ancestral plans",
    },
    "Use it": {
        sample: "ancestral sample bundles/digits -n 64 --label 3 --seed 0 -o threes.png",
        log_prob: "ancestral log-prob bundles/digits events.npz -o log_prob.npz",
        classify: "ancestral classify bundles/digits events.npz -o classes.npz",
        bound: "ancestral bound bundles/vae events.npz -k 64 -o bound.npz",
        encode: "ancestral encode bundles/vae events.npz -o latents.npz",
        decode: "ancestral decode bundles/vae latents.npz -o means.png",
        reconstruct: "ancestral reconstruct bundles/vae events.npz -n 16 -o pairs.png",
        interpolate: "ancestral interpolate bundles/vae events.npz --steps 8 -o between.png",
        latent_grid: "ancestral latent-grid bundles/vae --side 10 --dimensions 0,1 -o grid.png",
    },
    "Check it": {
        check_causality: "ancestral check-causality runs/digits",
        info: "ancestral info bundles/digits",
        verify: "ancestral verify bundles/digits --json",
        bench: "ancestral bench bundles/digits --batch 1,16,64",
        doctor: "ancestral doctor",
    },
}


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
    # What is left to do is nothing that a user waits for: Ctrl-C ends it without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if error is not None and code == DONE:
        code = _code_of(error)
        flush_streams()
    sys.exit(code)


def run(arguments: Sequence[str], interrupts: Interrupts | None = None) -> int:
    """Run one command line.

    Args:
        arguments: what follows the name of the program.
        interrupts: of the process; None where its caller handles Ctrl-C.

    Returns:
        0 done, 1 a check failed, 2 bad input, 3 an internal error, 130 interrupted, 141 where
        nobody reads the output any more, as of a program that is ended by SIGPIPE.
    """
    return guarded(lambda: application()(args=list(arguments), prog_name="ancestral"), interrupts)


def guarded(action: Callable[[], object], interrupts: Interrupts | None = None) -> int:
    """Do something, say on standard error what stopped it, and return the exit code of that."""
    try:
        try:
            action()
        except Exception as error:
            if interrupts is not None and interrupts.seen:
                raise KeyboardInterrupt from error
            raise
    except SystemExit as end:
        # Typer exits with 1 where a pipe is broken.
        if is_broken_pipe(end.__context__):
            return BROKEN_PIPE
        return end.code if isinstance(end.code, int) else DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last stop: each has its exit code
        return _code_of(error)
    return DONE


def _code_of(error: Exception) -> int:
    """Say what an error means, and return its exit code; a fault of ours is shown whole."""
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
                f"expected space on the disk, got none while writing ({error.strerror}): free some "
                f"and run again; {_WHOLE}"
            )
        case OSError():
            sentence = f"{error}; {_WHOLE}"
        case MemoryError():
            sentence = (
                "expected enough memory, got none: take smaller batches, fewer events or a smaller "
                f"model; {_WHOLE}"
            )
        case _:
            code = INTERNAL_ERROR
            sentence = (
                f"internal error ({type(error).__name__}): this is a fault of ancestral; please "
                f"report it with the lines above and those of `ancestral doctor`"
            )
            with contextlib.suppress(OSError):
                say("".join(traceback.format_exception(error)))
    # Where standard error cannot be written to, the exit code says it.
    with contextlib.suppress(OSError):
        say(f"ancestral: {sentence}")
    return code


def application() -> typer.Typer:
    """The commands, in groups."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done, 1 a check failed, 2 bad input, 3 internal error, "
        "130 interrupted, 141 output that nobody reads.",
    )
    app.callback()(_ancestral)
    for group, commands in _COMMANDS.items():
        for command, example in commands.items():
            name = command.__name__.replace("_", "-")
            app.command(name, rich_help_panel=group, epilog=f"Example: {example}")(command)
    return app


def _print_version(asked: bool | None) -> None:
    if asked:
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
    """A likelihood model keeps its probabilities, from PyTorch to every backend that samples it.

    train and export make a bundle, compile makes TensorRT plans of it; sample, log-prob and
    classify use it, or, where it has latents, sample, bound, encode and decode; verify proves that
    a backend keeps its log-probabilities and samples.
    """
