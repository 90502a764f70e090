"""`ancestral encode` and `ancestral decode`: events to latents, and latents to events."""

from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, check_target, place, say


def encode(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: options.EventsFile,
    out: Annotated[
        Path,
        options.npz_option(
            help="Write q(z | x): mean and log_scale (or factor), and kl if KL(q || p) has a "
            "closed form; or write codes."
        ),
    ],
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Encode events to latents or codes.

    Writes the parameters of q(z | x) of each event, or its codes; `ancestral decode` reads them. If
    p(x | z) is a density, a level is encoded as the middle of its interval.
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


def decode(
    bundle: options.BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".npz with latents z, mean or codes; or .npy with latents. Accepts files written "
            "by `ancestral encode` and `ancestral sample`.",
        ),
    ],
    out: options.MeansFile,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Decode latents or codes to events.

    Writes the means E[x | z]; an .npz also has the parameters of p(x | z).
    """
    from ancestral.cli.present.events_file import check_means_file, load_for_means, write_means
    from ancestral.files.array_file import ArrayFile

    check_means_file(out, bundle, file)
    z = ArrayFile.open(file).pick("z", "mean", "codes")
    engine = load_for_means(bundle, out, backend, device, threads)
    parameters, mean = engine.decode(z)
    arrays = {"x_mean": mean, "parameters": parameters}
    write_means(out, arrays, None, engine, f"{len(mean)} latents")
