"""The baseline: a per-step loop as a competent user of ONNX Runtime writes it.

One graph is bound once. Tokens, positions and lengths are in buffers that are updated in place,
caches are appended in place, and logits go to a buffer on the host, where numpy draws the next
value by inverse CDF. Log-probabilities are computed only on request: such a loop normally has none,
so in the timed rounds it does less than the engine.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

SEARCH_FROM = 2048
"""Number of values from which a binary search per row is faster than one comparison of all."""


class PlainLoop:
    """The graph in one session, with buffers for one batch size."""

    def __init__(self, file: Path, rows: int, threads: int | None = None) -> None:
        """Load the graph and bind its buffers.

        Args:
            file: graph written by `export_plain`.
            rows: batch size.
            threads: threads of ONNX Runtime; None for its own choice.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self.session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.start_token = int(self.session.get_modelmeta().custom_metadata_map["start_token"])
        self.rows = rows
        self._caches = {
            entry.name: np.zeros((rows, *entry.shape[1:]), np.float32)
            for entry in self.session.get_inputs()[4:]
        }
        self.levels = self.session.get_outputs()[0].shape[1]
        self.logits = np.zeros((rows, self.levels), np.float32)
        self._weights = np.zeros_like(self.logits)
        self._cumulative = np.zeros_like(self.logits)
        self.seqlens = np.zeros(rows, np.int32)
        self.total = np.zeros((), np.int32)
        self.tokens, self.slots, self._step = self._bind(1)

    def _bind(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Any]:
        """Return tokens, slots and a binding for a block of positions."""
        tokens = np.zeros((self.rows, block), np.int64)
        slots = np.zeros((self.rows, block), np.int64)
        binding = self.session.io_binding()
        arrays = (tokens, slots, self.seqlens, self.total)
        for name, array in zip(("tokens", "slots", "seqlens", "total"), arrays, strict=True):
            _bind(binding.bind_input, name, array)
        _bind(binding.bind_output, "logits", self.logits)
        for name, array in self._caches.items():
            _bind(binding.bind_input, name, array)
            _bind(binding.bind_output, f"{name}_next", array)
        return tokens, slots, binding

    def prefill(self, values: NDArray[np.int64]) -> None:
        """Consume the start token and all but the last of the given values [b, s]: s positions."""
        block = values.shape[1]
        tokens, slots, binding = self._bind(block)
        tokens[:, 0] = self.start_token
        tokens[:, 1:] = values[:, :-1]
        slots[:] = np.arange(block)
        self.seqlens[:] = block - 1
        self.total[...] = block
        self.session.run_with_iobinding(binding)

    def decode(
        self,
        values: NDArray[np.int64],
        u: NDArray[np.float32],
        first: int,
        log_p: NDArray[np.float32] | None = None,
    ) -> None:
        """Draw the positions from `first` on, into values [b, T].

        Args:
            values: [b, T], with the values before `first`.
            u: uniforms [b, T].
            first: first position to draw; the positions before it are prefilled.
            log_p: output for log-probabilities [b, T] of the drawn values, in nats.
        """
        tokens, slots, seqlens, total = self.tokens, self.slots, self.seqlens, self.total
        run, binding = self.session.run_with_iobinding, self._step
        tokens[:, 0] = values[:, first - 1] if first else self.start_token
        for t in range(first, values.shape[1]):
            slots.fill(t)
            seqlens.fill(t)
            total.fill(t + 1)
            run(binding)
            drawn = self._draw(u[:, t])
            tokens[:, 0] = drawn
            values[:, t] = drawn
            if log_p is not None:
                log_p[:, t] = self._log_p(drawn)

    def _draw(self, u: NDArray[np.float32]) -> Any:
        """Return the first value of each row whose cumulative weight reaches u times the total."""
        logits, w, c = self.logits, self._weights, self._cumulative
        if self.rows == 1:
            row, weights, sums = logits[0], w[0], c[0]
            np.subtract(row, row.max(), out=weights)
            np.exp(weights, out=weights)
            np.cumsum(weights, out=sums)
            return sums.searchsorted(u[0] * sums[-1])
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=w)
        np.exp(w, out=w)
        np.cumsum(w, axis=1, out=c)
        target = u * c[:, -1]
        if self.levels < SEARCH_FROM:
            return (c >= target[:, None]).argmax(axis=1)
        return [row.searchsorted(x) for row, x in zip(c, target, strict=True)]

    def _log_p(self, drawn: Any) -> NDArray[np.float32]:
        weights = self._weights[np.arange(self.rows), drawn].astype(np.float64)
        total = self._weights.sum(axis=1, dtype=np.float64)
        return np.log(weights / total).astype(np.float32)


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
