"""A peer of a few lines, for tests: independent values from a fixed distribution.

Environment variables say how it behaves: TOY_LOGITS, its distribution; TOY_DRAWS, the distribution
that it really draws from; TOY_SECONDS, how long a draw takes on one thread; TOY_LOG, a file to
which it adds a line for each draw; TOY_FAULT, "error" or "exit" in every draw. One of its threads
spins all the time, like the idle threads of a runtime.
"""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.peers.worker import Array, Settings, log_p_of, main


class Toy:
    """Values that do not depend on each other."""

    def __init__(self) -> None:
        self.logits = np.array(json.loads(os.environ["TOY_LOGITS"]))
        self.drawn = np.array(json.loads(os.environ.get("TOY_DRAWS", os.environ["TOY_LOGITS"])))
        self.threads = 0
        threading.Thread(target=self._spin, daemon=True).start()

    def _spin(self) -> None:
        while True:
            pass

    def load(self, folder: Path, threads: int) -> None:
        print(f"loads {folder}")  # must not reach the runner
        self.threads = threads

    def draw(self, prompt: Array, new: int, settings: Settings) -> Array:
        if os.environ.get("TOY_FAULT") == "error":
            raise RuntimeError("no memory")
        if os.environ.get("TOY_FAULT") == "exit":
            print("Error: lost the device", flush=True)
            os._exit(3)
        with open(os.environ["TOY_LOG"], "a") as log:
            log.write(f"{os.environ['TOY_NAME']} {self.threads} {new}\n")
        # Two threads are slower, as for small models.
        time.sleep(float(os.environ["TOY_SECONDS"]) * self.threads)
        p = np.exp(self.drawn / settings.temperature)
        shape = (len(prompt), new)
        return np.random.default_rng(0).choice(len(p), shape, p=p / p.sum())

    def log_p(self, tokens: Array) -> Array:
        return log_p_of(np.tile(self.logits, (len(tokens) - 1, 1)), tokens[1:])


def convert(weights: Path, folder: Path) -> None:
    """Nothing is converted."""


if __name__ == "__main__":
    main(Toy(), ("numpy",), convert)
