"""`ancestral reconstruct`: events beside what is left of them behind the latents."""

from typing import Annotated

import typer

from ancestral.cli.options import Backend, BundlePath, Device, EventsFile, MeansFile, Threads
from ancestral.cli.output import say
from ancestral.errors import InvalidInput


def reconstruct(
    bundle: BundlePath,
    file: EventsFile,
    out: MeansFile,
    n: Annotated[
        int, typer.Option("-n", help="Events of a picture at most; an .npz holds all.")
    ] = 16,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Write E[x | z] at the mean of q(z | x), or at the codes, of each event.

    A picture shows the events in its upper row, below each its reconstruction.
    """
    import numpy as np

    from ancestral.cli.arrays import pick, read_arrays
    from ancestral.cli.means_file import check_means_target, is_picture, of_all, write_means
    from ancestral.engine import LatentEngine

    if n < 1:
        raise InvalidInput(f"-n: expected an integer >= 1, got {n}")
    check_means_target(out, keep=(bundle, file))
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_means_target(out, engine)
    x = pick(file, read_arrays(file), ("x",))
    mean = engine.reconstruct(x[:n] if is_picture(out) and x.ndim else x)
    events = x[: len(mean)].reshape(mean.shape)
    both = np.concatenate([events, mean])
    write_means(out, {"x": events, "x_mean": mean}, both, len(mean), engine)
    drawn = of_all(len(mean), len(x), "events")
    say(f"{drawn}, {engine.backend.name} on {engine.backend.device} -> {out}")
