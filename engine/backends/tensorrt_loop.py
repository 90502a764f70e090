"""The decode loop on a plan: fixed addresses that take turns, and many steps in one CUDA graph.

A library reads and writes in its own order, so that an input and an output share memory only where
it says that it appends in place; each other carried pair has two buffers, which a step reads and
writes the one into the other, and the next step the other way. Two contexts stand ready, one for
each way: between two steps nothing is set.
"""

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import STEPS, Graphs
from ancestral.engine.backends.host_arrays import to_device, to_host
from ancestral.engine.budget import rows_in_block
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.engine.backends.tensorrt_session import TensorRtSession


class TensorRtBinding:
    """The tensors of a loop at fixed addresses, and the graphs that were captured over them."""

    def __init__(self, session: "TensorRtSession", sizes: Mapping[str, int]) -> None:
        """Allocate, and run each way once; carried tensors start at their initial values.

        Raises:
            PlanError: no plan takes as many rows.
        """
        self._session, self._lane, self._sizes = session, session.lane, dict(sizes)
        plan, profile = session.plan(sizes)
        self._turn = 0
        with self._lane.active():
            self._buffers = self._allocated(plan.in_place)
            self._contexts = (
                plan.context(profile, loop=True),
                plan.context(profile, loop=True),
            )
            self._warm_up()
            capturable = all(context.capturable for context in self._contexts)
        self._graphs: Graphs | None = None
        if capturable:
            self._graphs = self._lane.graphs()
        else:
            warnings.warn(
                f"graph {plan.record.key.graph!r}: {plan.library.name} says that its steps cannot "
                f"be captured in a CUDA graph: each is launched by itself, and takes longer",
                RuntimeWarning,
                stacklevel=3,
            )

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        distinct = {each.data_ptr(): each for pair in self._buffers.values() for each in pair}
        return sum(each.nbytes for each in distinct.values())

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        target = self._tensor(name)[slice(None) if rows is None else rows]
        spec = self._session.signature.input(name)
        if array.shape != target.shape or array.dtype != spec.host:
            raise InvalidInput(
                f"{name}: expected {spec.host} {tuple(target.shape)}, "
                f"got {array.dtype} {array.shape}"
            )
        with self._lane.active():
            target.copy_(to_device(array, spec, "cpu"))

    def read(self, name: str) -> Array:
        with self._lane.active():
            return to_host(self._tensor(name), self._session.signature.input(name))

    def draw_from(self, noise: Noise) -> None:
        self.write("u", noise.uniforms(*self._tensor("u").shape))

    def gather(self, rows: Array) -> None:
        with self._lane.active():
            index = torch.tensor(rows, device=self._lane.device)
            for pair in self._session.signature.carried:
                tensor = self._tensor(pair.input)
                tensor.copy_(tensor[index])

    def run(self, steps: int = 1, *, block: int = 1) -> None:
        with self._lane.active():
            if block > 1:
                self._run_block(steps, block)
                return
            if self._turn == 1 and steps >= STEPS:
                # Graphs of many steps are captured from the first turn alone.
                self._launch(1)
                steps -= 1
            for _ in range(steps // STEPS):
                self._launch(STEPS)
            for _ in range(steps % STEPS):
                self._launch(1)

    def _launch(self, steps: int) -> None:
        """So many steps, by one graph where they can be captured."""
        turn = self._turn

        def work() -> None:
            for step in range(steps):
                self._contexts[(turn + step) % 2].run()

        if self._graphs is None:
            work()
        else:
            self._graphs.launch((turn, steps), work)
        self._turn = (turn + steps) % 2

    def _run_block(self, steps: int, block: int) -> None:
        """Rows in turns, so that the logits of a block take bounded memory.

        Copies of them: where a row begins is no address that the library takes.
        """
        session, rows = self._session, self._sizes["b"]
        sizes = {**self._sizes, "s": block}
        most = min(rows_in_block(block, session.levels), session.most_rows(block))
        for _ in range(steps):
            for start in range(0, rows, most):
                part = slice(start, min(start + most, rows))
                some = {**sizes, "b": part.stop - part.start}
                outputs = session.execute(self._copies(part, some), some)
                for pair in session.signature.carried:
                    self._tensor(pair.input)[part].copy_(outputs[pair.output])

    def _copies(self, rows: slice, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Every input of a block: of some rows."""
        copies = {}
        for spec in self._session.signature.inputs:
            tensor = self._lane.empty(spec.shape(sizes), getattr(torch, spec.dtype))
            if spec.name == "offsets":
                copies[spec.name] = tensor.copy_(torch.arange(sizes["s"]))
            else:
                copies[spec.name] = tensor.copy_(self._tensor(spec.name)[rows])
        return copies

    def _allocated(self, in_place: frozenset[str]) -> dict[str, tuple[Tensor, Tensor]]:
        """What a step reads and writes by its input's name: two buffers that take turns, or one."""
        signature = self._session.signature
        twice = {pair.input for pair in signature.carried} - in_place
        buffers = {}
        for spec in signature.inputs:
            shape, dtype = spec.shape(self._sizes), getattr(torch, spec.dtype)
            first = self._lane.empty(shape, dtype).zero_()
            second = self._lane.empty(shape, dtype) if spec.name in twice else first
            buffers[spec.name] = (first, second)
        return buffers

    def _warm_up(self) -> None:
        """Run each way once: until then a library allocates and compiles, which no capture may.

        Rows are at the end of an event: at the first position a model without a start symbol would
        append before the first slot of its cache.
        """
        _, length = self._session.signature.input("u").shape(self._sizes)
        self._buffers["position"][0].fill_(length)
        for turn, context in enumerate(self._contexts):
            context.shape(self._sizes)
            context.bind(self._addresses(turn))
            context.run()
        self._begin()

    def _begin(self) -> None:
        """Carried tensors at their initial values, whatever was left there."""
        for pair in self._session.signature.carried:
            for tensor in self._buffers[pair.input]:
                tensor.fill_(pair.initial)

    def _addresses(self, turn: int) -> dict[str, Tensor]:
        """Inputs and outputs of a step in that turn."""
        named = {name: pair[turn] for name, pair in self._buffers.items()}
        for pair in self._session.signature.carried:
            named[pair.output] = self._buffers[pair.input][1 - turn]
        return named

    def _tensor(self, name: str) -> Tensor:
        if name not in self._buffers or name == "offsets":
            known = sorted(set(self._buffers) - {"offsets"})
            raise InvalidInput(f"tensor: expected one of {known}, got {name!r}")
        return self._buffers[name][self._turn]
