"""The decode loop on our kernels: static buffers, and many steps in one CUDA graph.

A step is some thirty kernels of one to a few microseconds each; to launch them one by one would
take the host longer than the GPU needs to run them. A graph of STEPS steps is launched in 10 to 20
microseconds, so that the launch is under 5% of the steps where one takes 25 microseconds or more.
Inside a graph nothing is allocated and nothing waits for the host.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import STEPS, CudaGraphs
from ancestral.engine.backends.host_arrays import filled, to_host
from ancestral.engine.budget import rows_in_block
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.philox import seed_key
from ancestral.signature import Update
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.models.graphs import Step
from ancestral.triton_kernels.interpreter import turn
from ancestral.triton_kernels.operators import table
from ancestral.triton_kernels.overridable import Kernels, Seeds
from ancestral.triton_kernels.sample_token.kernel import LARGEST

if TYPE_CHECKING:
    from ancestral.engine.backends.triton_session import TritonSession


class TritonBinding:
    """The tensors of a loop at fixed addresses, and the graphs that were captured over them."""

    def __init__(self, session: "TritonSession", sizes: Mapping[str, int]) -> None:
        """Allocate; carried tensors start at their initial values."""
        assert isinstance(session.program, Step)
        self._session, self._program = session, session.program
        self._rows = sizes["b"]
        initial = {pair.input: pair.initial for pair in session.signature.carried}
        self._state: dict[str, Tensor] = {
            spec.name: filled(
                spec.shape(sizes), initial.get(spec.name, 0), session.stored(spec), session.device
            )
            for spec in session.signature.inputs
            if spec.name != "offsets"
        }
        self._seeds = Seeds(
            torch.zeros(3, dtype=torch.int64, device=session.device),
            torch.zeros(self._rows, dtype=torch.int64, device=session.device),
        )
        self._seeded = False
        self._graphs = CudaGraphs(session.device)

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        target = self._tensor(name)[slice(None) if rows is None else rows]
        host = self._session.signature.input(name).host
        if array.shape != target.shape or array.dtype != host:
            raise InvalidInput(
                f"{name}: expected {host} {tuple(target.shape)}, got {array.dtype} {array.shape}"
            )
        target.copy_(torch.tensor(array))
        if name == "u":
            self._seeded = False

    def read(self, name: str) -> Array:
        return to_host(self._tensor(name), self._session.signature.input(name))

    def gather(self, rows: Array) -> None:
        index = torch.tensor(rows, device=self._session.device)
        for pair in self._session.signature.carried:
            tensor = self._tensor(pair.input)
            tensor.copy_(tensor[index])

    def draw_from(self, noise: Noise) -> None:
        """By seeds, where the kernel that draws makes its uniforms; else by u."""
        model = self._program.model
        categorical = self._program.filters or isinstance(model.likelihood, Categorical)
        if categorical and model.data.levels <= LARGEST:
            noise.check(self._rows)
            self._seeds.key.copy_(torch.tensor([*seed_key(noise.seed), noise.stream]))
            self._seeds.index.copy_(torch.from_numpy(noise.indices(self._rows)))
            self._seeded = True
        else:
            self.write("u", noise.uniforms(*self._tensor("u").shape))

    def run(self, steps: int = 1, *, block: int = 1) -> None:
        if block > 1:
            self._run_block(steps, block)
        elif self._session.device == "cpu":
            for _ in range(steps):
                self._step(slice(None), 1)
        else:
            for _ in range(steps // STEPS):
                self._launch(STEPS)
            for _ in range(steps % STEPS):
                self._launch(1)

    def _run_block(self, steps: int, block: int) -> None:
        """Rows in turns, so that the logits of a block take bounded memory."""
        rows = rows_in_block(block, self._program.model.data.levels)
        for _ in range(steps):
            for start in range(0, self._rows, rows):
                self._step(slice(start, start + rows), block)

    def _step(self, rows: slice, block: int) -> None:
        """One run of the program over some rows, whose state it leaves in the same memory."""
        seeds = None
        if self._seeded:
            seeds = Seeds(self._seeds.key, self._seeds.index[rows])
        kernels = Kernels(table(seeds, batch_invariant=self._session.batch_invariant))
        state = {name: tensor[rows] for name, tensor in self._state.items()}
        if self._program.model.takes_blocks:
            state["offsets"] = torch.arange(block, device=self._session.device)
        signature = self._session.signature
        with torch.no_grad(), turn(self._session.device), kernels:
            outputs = self._program(*(state[spec.name] for spec in signature.inputs))
        named = dict(zip((spec.name for spec in signature.outputs), outputs, strict=True))
        for pair in signature.carried:
            old, new = state[pair.input], named[pair.output]
            if new.data_ptr() != old.data_ptr():
                old.copy_(new)

    def _launch(self, steps: int) -> None:
        """The graph of so many steps."""

        def work() -> None:
            for _ in range(steps):
                self._step(slice(None), 1)

        self._graphs.launch((self._seeded, steps), work, self.idle_step)

    def idle_step(self) -> None:
        """A step that changes nothing of what is drawn, whenever it is run.

        All rows are put at the end, where a step repeats itself: what it writes there, each row
        writes again before it reads it. What has no slot for each position is put back after it.
        """
        model = self._program.model
        slots = {
            entry.name
            for entry in model.cache_spec
            if entry.update is Update.APPEND and entry.axes[entry.axis] == model.data.length
        }
        carried = {pair.input for pair in self._session.signature.carried}
        kept = {name: self._state[name].clone() for name in carried - slots}
        self._state["position"].fill_(model.data.length)
        self._step(slice(None), 1)
        for name, tensor in kept.items():
            self._state[name].copy_(tensor)

    def _tensor(self, name: str) -> Tensor:
        if name not in self._state:
            raise InvalidInput(f"tensor: expected one of {sorted(self._state)}, got {name!r}")
        return self._state[name]
