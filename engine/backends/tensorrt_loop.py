"""The decode loop on a plan: fixed addresses that take turns, and many steps in one CUDA graph.

A library reads and writes in its own order, so an input and an output share memory only if the
library reports that it appends in place. Each other carried pair has two buffers: a step reads the
first and writes the second, and the next step the other way round. There is a context for each
direction, so nothing is set between two steps.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import STEPS, CudaGraphs, launches
from ancestral.engine.backends.tensor_binding import TensorBinding, initial_tensors
from ancestral.engine.backends.tensorrt_plans import GraphPlans
from ancestral.engine.budget import rows_in_block
from ancestral.engine.session import turns
from ancestral.signature import TensorSpec
from ancestral.step_tensors import OFFSETS, POSITION, U


class TensorRtBinding(TensorBinding):
    """The tensors of a loop at fixed addresses, and the graphs that were captured over them."""

    def __init__(self, plans: GraphPlans, levels: int, sizes: Mapping[str, int]) -> None:
        """Allocate, and run each direction once; carried tensors start at their initial values.

        Args:
            plans: plans of the graph.
            levels: number of levels of the events.
            sizes: sizes of the graph's named axes.

        Raises:
            PlanError: no plan takes so many rows.
        """
        self._plans, self._lane, self._levels, self._sizes = plans, plans.lane, levels, sizes
        plan, profile = plans.plan(sizes)
        self._turn = 0
        with self._lane.active():
            self._buffers = self._allocated(plan.in_place)
            self._offsets = {
                spec.name: self._empty(spec, sizes).zero_()
                for spec in plans.signature.given
                if spec.name == OFFSETS
            }
            super().__init__(plans.signature, self._buffers[0], self._lane.active)
            self._contexts = tuple(plan.context(profile, loop=True) for _ in self._buffers)
            self._warm_up()
            capturable = all(context.capturable for context in self._contexts)
        self._graphs: CudaGraphs | None = None
        if capturable:
            self._graphs = self._lane.graphs()
        else:
            warnings.warn(
                f"graph {plan.record.key.graph!r}: {plan.library.name} reports that its steps "
                f"cannot be captured in a CUDA graph; each is launched separately and takes longer",
                RuntimeWarning,
                stacklevel=3,
            )

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        distinct = {
            each.data_ptr(): each
            for turn in (*self._buffers, self._offsets)
            for each in turn.values()
        }
        return sum(each.nbytes for each in distinct.values())

    def run(self, steps: int = 1, *, block: int = 1, rows: slice | None = None) -> None:
        with self._lane.active():
            if block > 1 or rows is not None:
                self._run_block(steps, block, slice(0, self._sizes["b"]) if rows is None else rows)
                return
            if self._turn == 1 and steps >= STEPS:
                # Graphs of many steps are captured from the first turn only.
                self._launch(1)
                steps -= 1
            for count in launches(steps):
                self._launch(count)

    def _launch(self, steps: int) -> None:
        """Run `steps` steps, by one graph if they can be captured."""
        turn = self._turn

        def work() -> None:
            for step in range(steps):
                self._contexts[(turn + step) % 2].run()

        if self._graphs is None:
            work()
        else:
            self._graphs.launch((turn, steps), work)
        self._turn = (turn + steps) % 2
        self._tensors = self._buffers[self._turn]

    def _run_block(self, steps: int, block: int, rows: slice) -> None:
        """Run a block for few rows at a time, so that its logits take bounded memory.

        The rows are copied, because the library may not accept the address where a row begins.
        """
        most = min(rows_in_block(block, self._levels), self._plans.most_rows(block))
        for _ in range(steps):
            for some in turns(rows, most):
                sizes = {**self._sizes, "s": block, "b": some.stop - some.start}
                outputs = self._plans.execute(self._copies(some, sizes), sizes)
                for pair in self._signature.carried:
                    self._tensors[pair.input][some].copy_(outputs[pair.output])

    def _copies(self, rows: slice, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Return a copy of every input of a block for some rows."""
        copies = {}
        for spec in self._signature.inputs:
            offsets = spec.name == OFFSETS
            tensor = torch.arange(sizes["s"]) if offsets else self._tensors[spec.name][rows]
            copies[spec.name] = self._empty(spec, sizes).copy_(tensor)
        return copies

    def _allocated(self, in_place: frozenset[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the inputs of a step in each turn; it writes into those of the other turn.

        A carried tensor has two buffers that take turns, unless it is appended to in place.
        """
        signature, sizes = self._plans.signature, self._sizes

        def make(spec: TensorSpec, initial: float) -> Tensor:
            return self._empty(spec, sizes).fill_(initial)

        first = initial_tensors(signature, make)
        twice = (pair.input for pair in signature.carried if pair.input not in in_place)
        second = {name: self._empty(signature.input(name), sizes) for name in twice}
        return first, first | second

    def _empty(self, spec: TensorSpec, sizes: Mapping[str, int]) -> Tensor:
        return self._lane.empty(spec.shape(sizes), getattr(torch, spec.dtype))

    def _warm_up(self) -> None:
        """Run each direction once: a first run allocates and compiles, which a capture may not.

        Rows are put at the end of an event; at the first position, a model without a start symbol
        would append before the first slot of its cache.
        """
        self._tensors[POSITION].fill_(self._tensors[U].shape[1])
        for turn, context in enumerate(self._contexts):
            context.shape(self._sizes)
            context.bind(self._addresses(turn))
            context.run()
        self._begin()

    def _begin(self) -> None:
        """Reset carried tensors to their initial values."""
        for pair in self._signature.carried:
            for tensors in self._buffers:
                tensors[pair.input].fill_(pair.initial)

    def _addresses(self, turn: int) -> dict[str, Tensor]:
        """Return the inputs and outputs of a step in a turn, by name."""
        written = self._buffers[1 - turn]
        outputs = {pair.output: written[pair.input] for pair in self._signature.carried}
        return self._buffers[turn] | self._offsets | outputs
