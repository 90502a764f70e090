"""`ancestral decode`: events from latents of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, place, say


def decode(
    bundle: options.BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".npz with latents z, or mean, or codes; or .npy with latents. What `ancestral "
            "encode` and `ancestral sample` write is read.",
        ),
    ],
    out: options.MeansFile,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Write E[x | z] of latents; an .npz holds the parameters of p(x | z) too."""
    from ancestral.cli.present.events_file import check_means_file, load_for_means, write_means
    from ancestral.files.array_file import ArrayFile

    check_means_file(out, bundle, file)
    z = ArrayFile.open(file).pick("z", "mean", "codes")
    engine = load_for_means(bundle, out, backend, device, threads)
    parameters, mean = engine.decode(z)
    write_means(out, {"x_mean": mean, "parameters": parameters}, None, engine)
    say(f"{len(mean)} latents, {place(engine)}{arrow(out)}")
