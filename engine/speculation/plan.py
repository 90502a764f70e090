"""What a user's `speculate` argument means for a model and its settings."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from ancestral.arrays import shown
from ancestral.engine import step_graph
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.block_choice import BlockChoice, Fixed
from ancestral.engine.speculation.block_costs import block_costs
from ancestral.engine.speculation.jacobi import Jacobi
from ancestral.engine.speculation.ngram import Ngram
from ancestral.engine.speculation.proposer import Proposer, Row
from ancestral.engine.speculation.report import Speculated
from ancestral.engine.speculation.speculated_row import Choice, SpeculatedRow
from ancestral.engine.speculation.whole_event import WholeEvents
from ancestral.errors import InvalidInput
from ancestral.sampling import Sampling
from ancestral.scalars import whole


@dataclass(frozen=True, slots=True)
class Speculation:
    """A proposer, and the size of the blocks.

    Attributes:
        proposer: what proposes values; "auto" chooses what suits the model.
        block: positions of each block; None chooses each by its measured cost and by how often
            proposals were right.
    """

    proposer: Proposer | Literal["auto"]
    block: int | None = None


Speculate = Literal["auto"] | Proposer | Speculation | WholeEvents | None
"""How a row is drawn: step by step, by a proposer that suits the model, or by a given one; or whole
events at the same time, in `sample` only."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked `speculate` argument.

    Attributes:
        proposer: what proposes values; None draws step by step.
        remark: why there is no proposer; None if there is one.
        block: positions of each block; None chooses.
        whole: whether all positions of an event are drawn at the same time.
    """

    proposer: Proposer | None
    remark: str | None = None
    block: int | None = None
    whole: bool = False

    @contextmanager
    def row(self, runner: Runner, graph: str, row: Row) -> Iterator[SpeculatedRow]:
        """Begin a row with the proposer, and return its loop."""
        assert self.proposer is not None
        report = Speculated(self.proposer.name)
        choice: Choice
        if self.block is None:
            choice = BlockChoice(block_costs(runner, graph), self.proposer.seconds())
        else:
            choice = Fixed(self.block)
        with ExitStack() as held:
            proposals = None
            try:
                proposals = held.enter_context(self.proposer.begin(row))
            except Exception as error:  # noqa: BLE001 - a proposer may be the user's own code
                report.remark = f"the proposer was left off: {type(error).__name__}: {error}"
            yield SpeculatedRow(row.observed, row.data.levels, proposals, choice, report)


def plan_of(
    runner: Runner,
    speculate: object,
    sampling: Sampling,
    graph: str,
    rows: int,
    *,
    whole_events: bool = False,
) -> Plan | None:
    """Return what `speculate` means here; None if nothing was asked for.

    Args:
        runner: the engine.
        speculate: the user's argument.
        sampling: temperature, filters, bias and penalties of the rows.
        graph: name of the step graph that draws them.
        rows: number of rows that are drawn together.
        whole_events: whether the caller can draw whole events.

    Raises:
        InvalidInput: it is not a `Speculate`, the block is not a positive integer, the proposer
            does not fit the model, or it was given and the model cannot run blocks.
    """
    if speculate is None:
        return None
    if isinstance(speculate, WholeEvents):
        return _whole(runner, sampling, graph, whole_events=whole_events)
    block = None
    if isinstance(speculate, Speculation):
        if speculate.block is not None:
            block = whole("block", speculate.block, 1)
        speculate = speculate.proposer
    reason = unsuited(runner, graph, sampling)
    if isinstance(speculate, str) and speculate == "auto":
        if reason is None and rows > 1:
            reason = f"{rows} rows are drawn faster by steps of all rows"
        if reason is not None:
            return Plan(None, reason)
        chosen: Proposer = Jacobi() if len(runner.data.event_shape) > 1 else Ngram()
        return Plan(chosen, block=block)
    if not isinstance(speculate, Proposer):
        raise InvalidInput(
            f"speculate: expected None, 'auto', a Proposer, a Speculation or WholeEvents, got "
            f"{shown(speculate)}"
        )
    if reason is not None:
        raise InvalidInput(f"speculate: {reason}; leave it out, or pass 'auto'")
    speculate.check(runner)
    return Plan(speculate, block=block)


def _whole(runner: Runner, sampling: Sampling, graph: str, *, whole_events: bool) -> Plan:
    """Return the plan of whole events.

    Raises:
        InvalidInput: the caller, or the settings, do not allow it.
    """
    if not whole_events:
        raise InvalidInput("speculate: whole events are drawn by `sample` only; leave it out")
    if graph != "step" or not sampling.unfiltered:
        raise InvalidInput(
            "speculate: whole events are drawn without temperature, filters, bias and logprobs; "
            "leave those out"
        )
    runner.session("redraw")
    return Plan(None, whole=True)


def unsuited(runner: Runner, graph: str, sampling: Sampling) -> str | None:
    """Return why rows cannot be drawn in blocks of proposals; None if they can.

    Args:
        runner: the engine.
        graph: name of the step graph that draws them.
        sampling: their temperature, filters, bias and penalties.
    """
    signature = runner.session(graph).signature
    if not step_graph.takes_blocks(signature):
        return "the model takes one position a step"
    if not step_graph.rewinds(signature, runner.data.length):
        return "the state of the model cannot go back to an earlier position"
    if sampling.penalised:
        return "penalties depend on the values before a position, which proposals may differ from"
    return None
