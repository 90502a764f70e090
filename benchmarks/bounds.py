"""Log-weights, bounds and decoding of a variational autoencoder, compared with PyTorch eager.

    python -m benchmarks.bounds                     append rows to results/vae-mlp.jsonl
    python -m benchmarks.bounds --results DIR --rounds 2

Both sides use the same weights, events and noise. Their log-weights are compared before a row is
written, and rounds alternate between them. The floor is the time of only the decoder's two matrix
products, in PyTorch. The last line is a JSON summary. Exit status 1: parity failed.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ancestral.bound import Reduction
from ancestral.engine import LatentEngine
from ancestral.engine.budget import CACHED, fitting
from ancestral.engine.timing import interleaved
from ancestral.export.bundle import export_bundle
from ancestral.train.models.vae import VAE
from benchmarks.cases import Case, model
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, CaseRow, Rounds

BATCH, K = 64, 64
LEAST_RATIO = 1.5
"""Target for the log-weights: PyTorch eager's time over ours."""
EAGER = "PyTorch eager"


MLP = Case(
    "vae-mlp",
    "VAE with MLPs 784-400-20-400-784, Bernoulli; 64 events, k = 64 latents per event",
    {"widths": (400,), "latent": 20, "likelihood": "bernoulli"},
    "vae",
    levels=2,
)


class Engines:
    """A model in PyTorch and on the engine, with the events and the noise that both use."""

    def __init__(self, case: Case, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        made = model(case)
        assert isinstance(made, VAE)
        self.model = made
        export_bundle(made, folder / case.name)
        self.engine = LatentEngine.load(folder / case.name, threads=threads)
        rng = np.random.default_rng(0)
        self.x = rng.integers(0, case.levels, (BATCH, case.length))
        self.noise = rng.standard_normal((BATCH, K, made.config.latent)).astype(np.float32)

    def log_weights(self) -> list[np.ndarray]:
        """Run the encoder, then the three terms of 64 x 64 pairs, in pieces as in `bound`."""
        rows = fitting(fitting(CACHED, self.engine.decoded_size), K)
        encoded = self.engine.encode(self.x)
        session = self.engine.session("log_weights")
        parts = []
        for i in range(0, BATCH, rows):
            part = slice(i, i + rows)
            q = {name: encoded[name][part] for name in ("mean", "log_scale")}
            parts.append(session.run({"x": self.x[part], **q, "noise": self.noise[part]}))
        return [np.concatenate([part[name] for part in parts]) for name in parts[0]]

    def eager_log_weights(self, noise: Tensor) -> list[np.ndarray]:
        """Compute the same in PyTorch, all pairs in one call."""
        x = torch.from_numpy(self.x)
        return [term.numpy() for term in self.model.log_weights(x, self.model.encode(x), noise)]

    def eager_bound(self) -> None:
        """Compute the bound as `LatentEngine.bound` does, with PyTorch's own noise."""
        reduction = Reduction(BATCH)
        reduction.add(*self.eager_log_weights(torch.randn(self.noise.shape)))
        reduction.bound(None)

    def floor(self) -> None:
        """Run only the decoder's matrix products of 64 x 64 latents."""
        hidden = torch.empty(BATCH * K, self.model.config.widths[-1])
        inputs = (torch.from_numpy(self.noise).flatten(0, 1), hidden)
        for layer, into in zip(self.model.decoder.layers[::2], inputs, strict=True):
            torch.mm(into, layer.weight.T)


def rounds_of(
    ours: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[Rounds, Rounds]:
    """Return the milliseconds of each side in alternating rounds, after two uncounted runs of each.

    An uncounted run precedes each timed run, so that the other side's threads go to sleep and its
    own wake up.
    """
    _, mine, _, theirs = interleaved([ours, ours, other, other], rounds, warm_ups=1)
    return tuple(s * 1e3 for s in mine), tuple(s * 1e3 for s in theirs)


@torch.no_grad()
def measure(case: Case, recorder: Recorder, folder: Path) -> list[CaseRow]:
    """Measure a case, with a row for each quantity; the bundle is written to the folder."""
    both = Engines(case, folder, recorder.threads)
    model, engine, z = both.model, both.engine, both.noise[:, 0]
    eager = partial(both.eager_log_weights, torch.from_numpy(both.noise))
    apart = max(np.abs(a - b).max() for a, b in zip(both.log_weights(), eager(), strict=True))
    parity = replace(Parity.of(engine.verify()), sample_nats=float(apart))
    least = Bound("eager / ours", ">=", LEAST_RATIO)
    rows = []
    for quantity, ours, other, name, bound in (
        (f"log weights, k = {K}", both.log_weights, eager, EAGER, least),
        (f"bound, k = {K}", lambda: engine.bound(both.x, k=K), both.eager_bound, EAGER, None),
        (
            "decode",
            lambda: engine.decode(z),
            lambda: model.observation.mean(model.decode(torch.from_numpy(z))).numpy(),
            EAGER,
            None,
        ),
        (f"floor of log weights, k = {K}", both.log_weights, both.floor, "only the GEMM", None),
    ):
        mine, theirs = rounds_of(ours, other, recorder.rounds)
        baseline = (name, theirs)
        rows.append(
            recorder.add(case, (quantity, "ms"), BATCH, mine, parity, baseline, bound, warm_ups=2)
        )
    return rows


def main() -> None:
    """Measure, and print a summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(MLP, recorder, Path(folder))
    print(json.dumps({row.quantity: row.ratio for row in rows}))


if __name__ == "__main__":
    main()
