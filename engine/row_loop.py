"""The loop over rows that come and go: inputs of one row, its prompt, and a wider graph for all."""

import numpy as np

from ancestral import step_tensors as names
from ancestral.engine import step_graph
from ancestral.engine.session import Binding, Session
from ancestral.engine.step_loop import LoopResult, Start, read_log_p, read_values
from ancestral.sampling import UNFILTERED
from ancestral.signature import GraphSignature


def take(signature: GraphSignature, binding: Binding, row: int, start: Start) -> None:
    """Write the inputs of one row, whatever the row held before.

    Slots of a cache that the row has not written are masked, and a state is reset at the first
    position. Only NaN would pass a mask, so a row that holds any gets its initial cache.

    Args:
        signature: signature of the step graph.
        binding: its binding.
        row: row to write.
        start: the inputs of a loop of one row; `noise` is required.
    """
    some, observed = slice(row, row + 1), start.observed
    assert start.noise is not None
    if np.isnan(read_log_p(binding)[row]).any():
        _clean(signature, binding, some)
    given = dict(start.given)
    given[names.U] = start.noise.uniforms(*observed.shape)
    given[names.OBSERVED], given[names.VALUES] = observed, np.maximum(observed, 0)
    for name in (names.LOG_P, names.LOG_Q) if start.tempered else (names.LOG_P,):
        given[name] = np.zeros(observed.shape, np.float32)
    for name, array in given.items():
        binding.write(name, array, some)


def _clean(signature: GraphSignature, binding: Binding, rows: slice) -> None:
    """Set the cache of some rows to its initial values."""
    for pair in signature.carried:
        spec = signature.input(pair.input)
        if pair.input not in names.STATE:
            shape = spec.shape({"b": rows.stop - rows.start})
            with np.errstate(over="ignore"):
                binding.write(pair.input, np.full(shape, pair.initial, spec.host), rows)


def run_rows(binding: Binding, steps: int, rows: slice | None) -> None:
    """Run `steps` steps of some consecutive rows, or of all."""
    binding.run(steps, rows=rows)


def prefill(
    binding: Binding, row: int, position: int, block: int, filling: Session | None = None
) -> None:
    """Run `block` observed positions of one row, from a position; no other row changes.

    Args:
        binding: binding of a step graph.
        row: row to run.
        position: its first position.
        block: number of positions.
        filling: session that fills the cache without predictions; None for the step graph.
    """
    some = slice(row, row + 1)
    if filling is not None:
        binding.fill(filling, position, block, some)
        return
    binding.write(names.POSITION, np.full(1, position, np.int64), some)
    binding.run(block=block, rows=some)


def move(old: Binding, new: Binding, signature: GraphSignature) -> None:
    """Continue the rows of a step graph's binding, of this signature, on one of a wider graph.

    Without a temperature, what was drawn has the same log-probability under the model and the
    distribution that it was drawn from.
    """
    for spec in signature.inputs:
        if spec.name != names.OFFSETS:
            new.write(spec.name, old.read(spec.name))
    new.write(names.LOG_Q, read_drawn(old, signature).log_q)


def clear_settings(signature: GraphSignature, binding: Binding, rows: int, levels: int) -> None:
    """Let all rows of a step graph draw from the model's own distribution."""
    for name, array in step_graph.settings(signature, UNFILTERED, rows, levels).items():
        binding.write(name, array)


def read_drawn(binding: Binding, signature: GraphSignature) -> LoopResult:
    """Return the values and log-probabilities of every row so far, each [b, t]."""
    log_p = read_log_p(binding)
    if names.takes_temperature(signature):
        return LoopResult(read_values(binding), log_p, binding.read(names.LOG_Q))
    log_q = np.where(binding.read(names.OBSERVED) >= 0, np.float32(0), log_p)
    return LoopResult(read_values(binding), log_p, log_q)
