"""This project, in its own environment: bundle and engine on onnxruntime, measured like a peer."""

from pathlib import Path

import numpy as np

from ancestral.engine import AutoregressiveEngine
from ancestral.sampling import Sampling
from benchmarks.peers.worker import SEED, Array, Settings, main


class Ours:
    """An engine, through the methods that users call."""

    engine: AutoregressiveEngine

    def load(self, folder: Path, threads: int) -> None:
        """Open the bundle on onnxruntime."""
        self.engine = AutoregressiveEngine.load(folder, backend="onnxruntime", threads=threads)

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        """Draw after the prompts; the engine puts the start token before each text itself.

        Like the peers, it computes no log-probabilities of the prompts.
        """
        sampling = Sampling(settings.temperature, top_p=settings.top_p)
        found = self.engine.generate(
            list(prompt[:, 1:]), new, seed=SEED, sampling=sampling, prompt_log_p=False
        )
        return np.stack([each.tokens for each in found])

    def log_p(self, tokens: Array) -> Array:
        """Return the log-probabilities by the parallel graph; the event is filled with zeros."""
        values, n = np.zeros((1, self.engine.data.length), np.int64), len(tokens) - 1
        values[0, :n] = tokens[1:]
        return self.engine.position_log_prob(values)[0, :n]


def convert(weights: Path, folder: Path) -> None:
    """Export the folder of transformers."""
    from ancestral.export.bundle import export_bundle
    from ancestral.train.open_checkpoint import open_checkpoint

    model = open_checkpoint(weights).model
    graphs = ("log_prob", "prefill", "step", "step_filtered")
    export_bundle(model, folder, graphs=graphs, own=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Ours(), ("onnxruntime", "numpy"), convert)
