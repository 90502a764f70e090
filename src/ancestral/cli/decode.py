"""`ancestral decode`: events from latents of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli.options import Backend, BundlePath, Device, MeansFile, Threads
from ancestral.cli.output import say


def decode(
    bundle: BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".npz with latents z, or mean, or codes; or .npy with latents. What `ancestral "
            "encode` and `ancestral sample` write is read.",
        ),
    ],
    out: MeansFile,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Write E[x | z] of latents; an .npz holds the parameters of p(x | z) too."""
    from ancestral.cli.arrays import pick, read_arrays
    from ancestral.cli.present.means_file import check_means_target, write_means
    from ancestral.engine import LatentEngine

    check_means_target(out, keep=(bundle, file))
    z = pick(file, read_arrays(file), ("z", "mean", "codes"))
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_means_target(out, engine)
    parameters, mean = engine.decode(z)
    write_means(out, {"x_mean": mean, "parameters": parameters}, mean, None, engine)
    say(f"{len(mean)} latents, {engine.backend.name} on {engine.backend.device} -> {out}")
