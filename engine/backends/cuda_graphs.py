"""A stream of a GPU, and graphs of work captured on it: many launches at the cost of one."""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

STEPS = 16
"""Of a graph; what is left of a run is launched by graphs of one step. Even: two sets of buffers
that take turns are then back where they were."""


def launches(steps: int) -> list[int]:
    """The steps of each graph that is launched, in order."""
    return [STEPS] * (steps // STEPS) + [1] * (steps % STEPS)


class CudaGraphs:
    """Graphs that share memory, for one runs at a time; each is captured when first asked for.

    Inside a graph nothing is allocated by its library and nothing waits for the host. Other threads
    may do meanwhile what a capture cannot hold, allocate say.
    """

    _capturing: ClassVar[AbstractContextManager[Any]] = threading.RLock()
    """One capture at a time in a process: PyTorch begins each with a synchronisation of the device,
    which CUDA forbids while another is under way."""

    def __init__(self, device: str, stream: torch.cuda.Stream | None = None) -> None:
        """Capture nothing yet.

        Args:
            device: cuda with an index.
            stream: that work is captured on; one of PyTorch's own where None.
        """
        self._device, self._stream = device, stream
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def launch(
        self,
        key: Hashable,
        work: Callable[[], None],
        warm_up: Callable[[], None] | None = None,
    ) -> None:
        """Replay the graph of a work on the current stream.

        Args:
            key: of the work.
            work: captured where there is no graph of that key yet.
            warm_up: run before it is captured: it compiles and loads what a capture may not.
        """
        if key not in self._graphs:
            with self._capturing, torch.cuda.device(self._device):
                if warm_up is not None:
                    _beside(warm_up)
                self._graphs[key] = self._captured(work)
        self._graphs[key].replay()

    def _captured(self, work: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        pool = next(iter(self._graphs.values())).pool() if self._graphs else None
        with torch.cuda.graph(
            graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            work()
        return graph


def _beside(work: Callable[[], None]) -> None:
    """Do work in a stream of its own, between what was and what will be in the current one."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


class CudaLane:
    """Where a backend works: one stream of a GPU, its memory, and graphs of what is done there.

    What a library and PyTorch enqueue in the stream is done in order.

    Attributes:
        device: as PyTorch names it.
    """

    def __init__(self, device: str) -> None:
        """Make the stream; PyTorch begins to use the GPU."""
        self.device = device
        self._stream = torch.cuda.Stream(device)
        self._turn = threading.RLock()

    @property
    def handle(self) -> int:
        """The stream's handle, for a library that is not PyTorch."""
        found: int = self._stream.cuda_stream
        return found

    @contextmanager
    def active(self) -> Iterator[None]:
        """Within it, PyTorch works in this lane too, and no other thread does.

        What is enqueued while another thread captures a graph of the lane would go into that graph.
        """
        with self._turn, torch.cuda.stream(self._stream):
            yield

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory that nobody has written to; its address is a multiple of 256."""
        # PyTorch's allocator gives multiples of 512.
        return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def free(self) -> int:
        """Bytes of the device that nobody has."""
        return torch.cuda.mem_get_info(self.device)[0]

    def graphs(self) -> CudaGraphs:
        """None captured yet."""
        return CudaGraphs(self.device, self._stream)
