"""A simulated GPU stream: host memory aligned as a GPU's, and graphs of enqueued calls."""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import CudaGraphs, CudaLane

ALIGNMENT = 256
POISON = 0xFF
"""The byte that fills new memory: NaN in floats, -1 in integers."""


class Stream:
    """A stream that runs enqueued calls immediately, or records them during a graph's capture."""

    def __init__(self) -> None:
        self.handle = 0x5EED
        self.just_in_time = False
        self.recorded: list[Callable[[], None]] | None = None


class SimulatedGraphs(CudaGraphs):
    """Graphs that are lists of recorded calls."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.graphs: dict[object, list[Callable[[], None]]] = {}
        self.replayed: list[object] = []

    def launch(
        self, key: object, work: Callable[[], None], warm_up: Callable[[], None] | None = None
    ) -> None:
        if key not in self.graphs:
            self.stream.recorded = []
            try:
                work()
                self.graphs[key] = self.stream.recorded
            finally:
                self.stream.recorded = None
        for call in self.graphs[key]:
            call()
        self.replayed.append(key)


class SimulatedLane(CudaLane):
    """Host memory with the alignment of a GPU's, filled with garbage."""

    device = "cpu"

    def __init__(self) -> None:
        self.stream = Stream()
        self.depth = 0
        self.turn = threading.RLock()
        self.made: list[SimulatedGraphs] = []

    @property
    def handle(self) -> int:
        return self.stream.handle

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        with self.turn:
            self.depth += 1
            try:
                yield
            finally:
                self.depth -= 1

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        assert self.depth, "memory of another stream"
        size = int(np.prod(shape)) * dtype.itemsize
        whole = torch.full((size + ALIGNMENT,), POISON, dtype=torch.uint8)
        start = -whole.data_ptr() % ALIGNMENT
        return whole[start : start + size].view(dtype).view(tuple(shape))

    def free(self) -> int:
        return 2**30

    def graphs(self) -> SimulatedGraphs:
        self.made.append(SimulatedGraphs(self.stream))
        return self.made[-1]


def memory_at(address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return the numbers at an address."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    size = int(np.prod(shape)) * kind.itemsize
    raw = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(raw, np.uint8).view(kind).reshape(shape)
