"""A CUDA stream, and CUDA graphs captured on it: many launches at the cost of one."""

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

STEPS = 16
"""Steps of a graph; the rest of a run is launched by graphs of one step. The number is even, so
that two sets of buffers that take turns are in their first order again after a graph."""


def launches(steps: int) -> list[int]:
    """Return the number of steps of each graph to launch, in order."""
    return [STEPS] * (steps // STEPS) + [1] * (steps % STEPS)


class CudaGraphs:
    """CUDA graphs that share memory, as one runs at a time; each is captured on first use.

    Inside a graph, no library allocates memory and nothing waits for the host. During a capture,
    other threads may do what it cannot contain, for example allocate.
    """

    _capturing: ClassVar[AbstractContextManager[Any]] = threading.RLock()
    """One capture at a time in a process: PyTorch begins each with a synchronisation of the device,
    which CUDA forbids during another capture."""

    def __init__(self, device: str, stream: torch.cuda.Stream | None = None) -> None:
        """Create an empty set of graphs.

        Args:
            device: "cuda:N".
            stream: stream to capture on; None means one of PyTorch's own.
        """
        self._device, self._stream = device, stream
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def launch(
        self,
        key: Hashable,
        work: Callable[[], None],
        warm_up: Callable[[], None] | None = None,
    ) -> None:
        """Replay the graph of a key on the current stream.

        Args:
            key: key of the work.
            work: work to capture if there is no graph of this key yet.
            warm_up: run before the capture, to compile and load what a capture may not.
        """
        if key not in self._graphs:
            with self._capturing, torch.cuda.device(self._device):
                if warm_up is not None:
                    _in_side_stream(warm_up)
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


def _in_side_stream(work: Callable[[], None]) -> None:
    """Run work in another stream, ordered between earlier and later work of the current one."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


class CudaLane:
    """The stream of a GPU in which a backend works, with memory and CUDA graphs.

    Work that a library and PyTorch enqueue in the stream is done in order.

    Attributes:
        device: name of the device in PyTorch.
    """

    def __init__(self, device: str) -> None:
        """Create the stream; PyTorch then begins to use the GPU."""
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
        """Make PyTorch enqueue in this lane, for one thread at a time.

        Work enqueued while another thread captures a graph of the lane would go into that graph.
        """
        with self._turn, torch.cuda.stream(self._stream):
            yield

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return uninitialised memory; its address is a multiple of 256."""
        # PyTorch's allocator gives multiples of 512.
        return torch.empty(tuple(shape), dtype=dtype, device=self.device)

    def free(self) -> int:
        """Return the free bytes of the device."""
        return torch.cuda.mem_get_info(self.device)[0]

    def graphs(self) -> CudaGraphs:
        """Return an empty set of CUDA graphs on this stream."""
        return CudaGraphs(self.device, self._stream)
