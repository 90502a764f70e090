"""The plans of one graph on a GPU: which one runs, with which of its profiles."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import CudaLane
from ancestral.engine.backends.tensorrt_library import Library
from ancestral.engine.backends.tensorrt_plan import Context, LoadedPlan
from ancestral.plans.choice import PlanChoice
from ancestral.plans.record import PlanRecord
from ancestral.plans.store import PlanStore
from ancestral.signature import GraphSignature

_ALL = 2**30
"""More rows than any plan takes."""


@dataclass(frozen=True, slots=True)
class GraphPlans:
    """The plans of a graph; each is loaded when sizes that it serves are first run.

    Attributes:
        signature: signature of the graph.
        choice: choice among its plans.
        store: store that holds them.
        library: library that made them.
        lane: lane in which they run.
        loaded: loaded plans by their digests.
    """

    signature: GraphSignature
    choice: PlanChoice
    store: PlanStore
    library: Library
    lane: CudaLane
    loaded: dict[str, LoadedPlan] = field(default_factory=dict)
    _contexts: dict[tuple[str, int], Context] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Load the plan of the largest sizes.

        Raises:
            PlanError: no plan serves this graph here.
        """
        self._load(self.choice.widest())

    @property
    def axes(self) -> tuple[str, ...]:
        """Named axes of the graph's inputs."""
        named = (a for spec in self.signature.inputs for a in spec.axes if isinstance(a, str))
        return tuple(dict.fromkeys(named))

    def plan(self, sizes: Mapping[str, int]) -> tuple[LoadedPlan, int]:
        """Return the plan that runs at these sizes, loaded, and the index of its profile.

        Raises:
            PlanError: no plan serves these sizes, or it does not load.
        """
        record, profile = self.choice.serving(sizes)
        return self._load(record), profile

    def most_rows(self, block: int = 1) -> int:
        """Return how many rows of a loop a plan takes in one run, at blocks of `block` positions.

        Raises:
            PlanError: no plan takes such blocks.
        """
        others = {"s": block} if "s" in self.axes else {}
        return self.choice.pieces({"b": _ALL, **others}, ("b",))["b"]

    def execute(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Enqueue one run over tensors in the lane, which must be active, and return the outputs.

        Caches that the library appends to are written in place.

        Raises:
            PlanError: no plan serves these sizes, or the library cannot run it.
        """
        plan, profile = self.plan(sizes)
        key = (plan.record.key.digest, profile)
        if key not in self._contexts:
            self._contexts[key] = plan.context(profile, loop=False)
        outputs = {
            pair.output: tensors[pair.input]
            for pair in self.signature.carried
            if pair.input in plan.in_place
        }
        for spec in self.signature.outputs:
            if spec.name not in outputs:
                dtype = getattr(torch, spec.dtype)
                outputs[spec.name] = self.lane.empty(spec.shape(sizes), dtype)
        context = self._contexts[key]
        context.shape(sizes)
        context.bind({**tensors, **outputs})
        context.run()
        return outputs

    def _load(self, record: PlanRecord) -> LoadedPlan:
        """Return a plan on the GPU, loaded on first use."""
        digest = record.key.digest
        with self.lane.active():
            if digest not in self.loaded:
                plan = self.store.read(record)
                self.loaded[digest] = LoadedPlan(
                    self.library, record, plan, self.signature, self.lane
                )
            return self.loaded[digest]
