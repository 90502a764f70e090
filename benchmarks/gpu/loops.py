"""Our loops of a model: built, verified once, and compared with float64 where they are timed."""

import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.bundles.manifest import MANIFEST
from ancestral.engine import AutoregressiveEngine
from ancestral.engine.backends.triton import TritonBinding, TritonSession
from ancestral.engine.comparison import Limits
from ancestral.engine.noise import Noise
from ancestral.engine.session import Binding, Session
from ancestral.engine.step_graph import settings
from ancestral.engine.step_loop import LoopResult, Start, draw
from ancestral.parity import tolerance
from ancestral.sampling import UNFILTERED
from ancestral.step_tensors import POSITION
from ancestral.train.models.graphs import GraphName, build
from ancestral.train.models.transformer import Transformer
from benchmarks.gpu.clock import Side
from benchmarks.gpu.models import Stepped, made
from benchmarks.gpu.part import name_of
from benchmarks.parity import Parity

COMPARED = 16
"""Number of rows that are compared with float64, evenly spread over the batch."""


@dataclass(slots=True)
class Loops:
    """The loops of one model on one device; each is built when it is first needed.

    Attributes:
        stepped: the model and its sizes.
        device: device of the loops.
        bundles: folder of the bundles, in which the model's may be missing.
        compile_seconds: estimated seconds to compile the next baseline.
    """

    stepped: Stepped
    device: torch.device
    bundles: Path
    compile_seconds: float = 40.0
    _models: dict[torch.dtype, Transformer] = field(default_factory=dict)
    _verified: dict[torch.dtype, tuple[bool | None, int]] = field(default_factory=dict)

    @property
    def bundle(self) -> Path | None:
        """The folder of the bundle; None if it is missing."""
        folder = self.bundles / self.stepped.name
        return folder if (folder / MANIFEST).is_file() else None

    def model(self, dtype: torch.dtype) -> Transformer:
        """Return the model on the device, in evaluation mode."""
        if dtype not in self._models:
            self._models[dtype] = made(self.stepped).to(self.device, dtype).eval()
        return self._models[dtype]

    def session(self, graph: GraphName, dtype: torch.dtype, invariant: bool) -> Session:
        """Return a session of one graph of the model on our kernels."""
        program = build(graph, self.model(dtype)).eval()
        return TritonSession(program, program.signature, str(self.device), dtype, invariant)

    def bind(self, rows: int, dtype: torch.dtype, *, invariant: bool = False) -> TritonBinding:
        """Return a loop for a batch size."""
        bound = self.session("step", dtype, invariant).bind({"b": rows, "s": 1})
        assert isinstance(bound, TritonBinding)
        return bound

    def verified(self, dtype: torch.dtype) -> tuple[bool | None, int]:
        """Return whether `Engine.verify` passed (None: no bundle), and its unexplained draws."""
        if dtype not in self._verified:
            if self.bundle is None:
                return None, 0
            engine = AutoregressiveEngine.load(
                self.bundle, backend="triton", device=str(self.device), dtype=name_of(dtype)
            )
            report = engine.verify()
            reported = f"{report.max_abs_nats:.2e} of {report.limit_nats:.2e} nats"
            failures = f", FAILED: {'; '.join(report.failures)}" if report.failures else ""
            name = f"{self.stepped.name}, {name_of(dtype)}"
            print(f"{name}: Engine.verify: {reported}{failures}", flush=True)
            self._verified[dtype] = (report.passed, report.unexplained)
        return self._verified[dtype]

    def pass_over(self, binding: TritonBinding, rows: int) -> LoopResult:
        """Draw whole events, row i with the noise of sample i."""
        case = self.stepped.case
        free = np.full((rows, case.length), -1, np.int64)
        signature = self.session("step", torch.float32, invariant=False).signature
        given = settings(signature, UNFILTERED, rows, case.levels)
        return draw(binding, Start(free, given, prefill=False, noise=Noise(0, 0)))

    def parity(self, drawn: LoopResult, dtype: torch.dtype) -> Parity:
        """Compare log p of drawn events, along the steps and of the parallel graph, with float64.

        The limit is that of the table in ancestral.parity; it depends on the error of PyTorch's own
        float32 on the same events.
        """
        chosen = np.unique(np.linspace(0, len(drawn.values) - 1, COMPARED).astype(np.int64))
        x, along = drawn.values[chosen], drawn.log_p[chosen]
        exact, own = self.reference(x)
        answers = {"x": x, "own_log_prob": own, "own_kl": 0.0, "own_cdf": 0.0}
        answers |= {"at": np.ones(1), "is_sample": np.ones(1)}
        entry = tolerance("triton", name_of(dtype))
        limit = Limits.of(entry, {name: np.asarray(each) for name, each in answers.items()}).nats
        session = self.session("log_prob", dtype, False)
        parallel = np.concatenate([session.run({"x": each[None]})["log_prob"] for each in x])
        worst = max(worst_nats(along, exact), worst_nats(parallel, exact))
        verified, unexplained = self.verified(dtype)
        return Parity(
            reference=f"PyTorch in float64, {len(x)} of {len(drawn.values)} rows",
            max_abs_nats=worst,
            limit_nats=limit,
            unexplained=unexplained,
            verified=verified,
        )

    def reference(self, x: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
        """Return log p [n, t] in float64, and the error of PyTorch's own float32 in nats."""
        single = self.model(torch.float32)
        double = copy.deepcopy(single).double()
        events = torch.from_numpy(x).to(self.device)

        def by_row(model: Transformer) -> Tensor:
            return torch.cat([model.position_log_prob(each[None], None) for each in events])

        with torch.no_grad():
            exact, near = by_row(double).cpu().numpy(), by_row(single).cpu().numpy()
        return exact, float(np.abs((near - exact).sum(axis=1)).max())


def worst_nats(log_p: NDArray[np.floating], exact: NDArray[np.float64]) -> float:
    """Return the largest difference of an event or of a position in nats; infinite for NaN."""
    delta = log_p.astype(np.float64) - exact
    worst = max(np.abs(delta).max(), np.abs(delta.sum(axis=1)).max())
    return float(worst) if np.isfinite(worst) else np.inf


def stretch(name: str, binding: Binding, rows: int, start: int, steps: int) -> Side:
    """Return a side: steps from one position of all rows, which is written before the timing."""
    rewind = partial(binding.write, POSITION, np.full(rows, start, np.int64))
    return Side(name, partial(binding.run, steps), steps, rewind)


def windows(length: int, count: int, steps: int) -> list[int]:
    """Return the first positions of `count` stretches, each in the middle of its part of an event.

    >>> windows(1024, 2, 64)
    [224, 736]
    """
    return [int((i + 0.5) / count * length - steps / 2) for i in range(count)]
