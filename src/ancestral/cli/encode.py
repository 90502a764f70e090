"""`ancestral encode`: the posterior q(z | x) of events of one's own."""

from pathlib import Path
from typing import Annotated

from ancestral.cli import options
from ancestral.cli.output import arrow, check_target, place, say


def encode(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: options.EventsFile,
    out: Annotated[
        Path,
        options.npz_option(
            help="mean and log_scale, or factor, of q(z | x), with kl where KL(q || p) has a "
            "closed form; or codes."
        ),
    ],
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Write the parameters of q(z | x) of each event, or its codes; `ancestral decode` reads them.

    Where p(x | z) is a density, a level stands for the middle of its interval.
    """
    from ancestral.cli.events import Events
    from ancestral.engine import LatentEngine
    from ancestral.files.array_file import write_arrays

    check_target(out, (".npz",), keep=(bundle, file))
    events = Events.read(file, binarise, levels)
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    found = engine.encode(events.of_model(engine.data))
    write_arrays(out, found)
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in found.items())
    kl = f"; mean KL {found['kl'].mean():.4f} nats" if "kl" in found else ""
    say(f"{shapes}{kl}, {place(engine)}{arrow(out)}")
