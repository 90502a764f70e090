"""Log-weights, bounds and decoding of a variational autoencoder, beside PyTorch eager.

    python -m benchmarks.bounds                     rows to results/vae-mlp.jsonl
    python -m benchmarks.bounds --results DIR --rounds 2

Both sides have the same weights, events and noise, and their log-weights are compared before a row
is written; rounds alternate between them. The floor is the time of the decoder's two matrix
products alone, in PyTorch. The last line is a JSON summary; exit status 1: parity failed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from ancestral.bound import Reduction
from ancestral.dataspec import DataSpec
from ancestral.engine import LatentEngine
from ancestral.export.bundle import export_bundle
from ancestral.train.models.vae import VAE, VAEConfig
from benchmarks.machine import this_machine
from benchmarks.rows import RESULTS, Parity, Row, commit, paired_ratio
from benchmarks.run import Run

BATCH, K = 64, 64
LEAST_RATIO = 1.5
"""Of PyTorch eager's time over ours, for log-weights."""
EAGER = "PyTorch eager"


@dataclass(frozen=True, slots=True)
class LatentCase:
    """A model with random weights.

    Attributes:
        name: of the rows' file.
        about: in words.
        config: shape of the network.
        data: its events.
    """

    name: str
    about: str
    config: VAEConfig
    data: DataSpec


MLP = LatentCase(
    "vae-mlp",
    "VAE of perceptrons 784-400-20-400-784, Bernoulli; 64 events, k = 64 latents of each",
    VAEConfig(widths=(400,), latent=20, likelihood="bernoulli"),
    DataSpec(name="binary", event_shape=(28, 28), levels=2),
)
LATENT_CASES = {MLP.name: MLP}


class Sides:
    """The same work on both sides."""

    def __init__(self, case: LatentCase, folder: Path, threads: int) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(threads)
        self.model = VAE(case.config, case.data).eval()
        export_bundle(self.model, folder / case.name)
        self.engine = LatentEngine.load(folder / case.name, threads=threads)
        rng = np.random.default_rng(0)
        self.x = rng.integers(0, case.data.levels, (BATCH, case.data.length))
        self.noise = rng.standard_normal((BATCH, K, case.config.latent)).astype(np.float32)
        self.z = self.noise[:, 0]
        self._x, self._noise = torch.from_numpy(self.x), torch.from_numpy(self.noise)

    def parity(self) -> Parity:
        """Of the known answers, and of both sides' log-weights here."""
        report = self.engine.verify()
        ours = self.log_weights()
        eager = self.eager_log_weights()
        apart = max(float(np.abs(a - b).max()) for a, b in zip(ours, eager, strict=True))
        return Parity(
            verified=report.passed,
            max_abs_nats=report.max_abs_nats,
            limit_nats=report.limit_nats,
            near_ties=report.near_ties,
            unexplained=report.unexplained,
            sample_nats=apart,
        )

    def log_weights(self) -> list[np.ndarray]:
        """Encoder, then the three terms of 64 x 64 pairs, in the pieces that `bound` takes."""
        rows = max(1, self.pairs // K)
        encoded = self.engine.encode(self.x)
        session = self.engine.session("log_weights")
        parts = []
        for i in range(0, BATCH, rows):
            part = slice(i, i + rows)
            q = {name: encoded[name][part] for name in ("mean", "log_scale")}
            parts.append(session.run({"x": self.x[part], **q, "noise": self.noise[part]}))
        return [np.concatenate([part[name] for part in parts]) for name in parts[0]]

    @property
    def pairs(self) -> int:
        """Pairs of an event and a latent that the engine takes at a time."""
        from ancestral.engine import bounds

        return bounds.pairs(self.engine)

    @torch.no_grad()
    def eager_log_weights(self) -> list[np.ndarray]:
        """The same in PyTorch, all pairs at once."""
        terms = self.model.log_weights(self._x, self.model.encode(self._x), self._noise)
        return [term.numpy() for term in terms]

    def bound(self) -> None:
        """A user's call: noise, encoder, log-weights, reduction."""
        self.engine.bound(self.x, k=K)

    @torch.no_grad()
    def eager_bound(self) -> None:
        """The same with PyTorch's own noise."""
        noise = torch.randn(self._noise.shape)
        terms = self.model.log_weights(self._x, self.model.encode(self._x), noise)
        reduction = Reduction(BATCH)
        reduction.add(*(term.numpy() for term in terms))
        reduction.bound(None)

    def decode(self) -> None:
        """64 images from 64 latents."""
        self.engine.decode(self.z)

    @torch.no_grad()
    def eager_decode(self) -> None:
        """The same in PyTorch."""
        parameters = self.model.decode(torch.from_numpy(self.z))
        self.model.observation.mean(parameters).numpy()

    @torch.no_grad()
    def floor(self) -> None:
        """The decoder's matrix products of 64 x 64 latents, nothing else."""
        hidden = torch.empty(BATCH * K, self.model.config.widths[-1])
        for layer, into in zip(
            self.model.decoder.layers[::2], (self._noise.flatten(0, 1), hidden), strict=True
        ):
            torch.mm(into, layer.weight.T)


def timed(action: Callable[[], object]) -> float:
    """Milliseconds of one run, after one that is not counted.

    The first lets the other side's threads fall asleep, and its own wake up.
    """
    action()
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1e3


def rounds_of(
    ours: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of each side, in turn, after two runs of each that are not counted."""
    for action in (ours, other) * 2:
        action()
    pairs = [(timed(ours), timed(other)) for _ in range(rounds)]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def measure(case: LatentCase, run: Run) -> list[Row]:
    """A row for each quantity."""
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(case, Path(folder), run.threads)
        parity = sides.parity()
        rows = []
        for quantity, ours, other, name in (
            (f"log weights, k = {K}", sides.log_weights, sides.eager_log_weights, EAGER),
            (f"bound, k = {K}", sides.bound, sides.eager_bound, EAGER),
            ("decode", sides.decode, sides.eager_decode, EAGER),
            (f"floor of log weights, k = {K}", sides.log_weights, sides.floor, "GEMM alone"),
        ):
            mine, theirs = rounds_of(ours, other, run.rounds)
            ratio = paired_ratio(mine, theirs)
            row = run.row(
                case, quantity, "ms", BATCH, mine, parity,
                baseline=name, baseline_rounds=theirs, ratio=ratio, warm_ups=2,
            )  # fmt: skip
            if quantity.startswith("log weights"):
                target = f"eager / ours >= {LEAST_RATIO}"
                row = replace(row, target=target, met=ratio >= LEAST_RATIO)
            rows.append(run.append(row))
    return rows


def main(words: list[str] | None = None) -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    run = Run(
        machine=this_machine(),
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        load_average=os.getloadavg()[0],
        threads=options.threads,
        rounds=options.rounds,
        loads=0,
        results=options.results,
    )
    rows = [row for case in LATENT_CASES.values() for row in measure(case, run)]
    print(json.dumps({row.quantity: row.ratio for row in rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
