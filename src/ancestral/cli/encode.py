"""`ancestral encode`: the posterior q(z | x) of events of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli.options import (
    Backend,
    Binarise,
    BundlePath,
    Device,
    EventsFile,
    Levels,
    Threads,
)
from ancestral.cli.output import check_target, say


def encode(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    file: EventsFile,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.npz",
            help="mean and log_scale, or factor, of q(z | x), with kl where KL(q || p) has a "
            "closed form; or codes.",
        ),
    ],
    binarise: Binarise = False,
    levels: Levels = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Write the parameters of q(z | x) of each event, or its codes; `ancestral decode` reads them.

    Where p(x | z) is a density, a level stands for the middle of its interval.
    """
    from ancestral.cli.arrays import pick, read_arrays, write_arrays
    from ancestral.cli.events import Binarising, model_events
    from ancestral.engine import LatentEngine

    check_target(out, (".npz",), keep=(bundle, file))
    binarising = Binarising(binarise, levels)
    x = pick(file, read_arrays(file), ("x",))
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    found = engine.encode(model_events(file, x, engine.data, binarising))
    write_arrays(out, found)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
    kl = f"; mean KL {found['kl'].mean():.4f} nats" if "kl" in found else ""
    say(f"{shapes}{kl}, {engine.backend.name} on {engine.backend.device} -> {out}")
