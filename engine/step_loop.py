"""The sampling loop: write the inputs, prefill, launch many steps at a time, read the results.

The features of the engine reach the step graph's tensors only through this file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.bundles.manifest import GraphEntry
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Binding, Part, Session
from ancestral.errors import BundleError, InvalidInput, NotADistribution
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.signature import GraphSignature, Update

STEPS_PER_LAUNCH = 64
"""Between two launches the host may report progress and be interrupted."""
_REPORTED = 8
"""Samples that an error lists at most."""
_WEIGHTS = "the weights may contain NaN, or activations may overflow in this dtype"
_BANS = "use a bias that bans fewer values"

OnSteps = Callable[[int], object]
"""Called after each launch with the number of positions that it completed."""


@dataclass(frozen=True, slots=True)
class Start:
    """The inputs of a loop.

    Attributes:
        observed: observed values, [b, t]; -1 where free.
        given: other inputs of the graph: label [b], settings [b], and u [b, t] without `noise`.
        first_position: first position that is run.
        prefill: run the positions that all rows observe as one block; the graph must take blocks.
        noise: noise that the rows draw with.
        filling: session that prefills without predictions; None for the step graph.
    """

    observed: NDArray[np.int64]
    given: Mapping[str, Array] = field(default_factory=dict)
    first_position: int = 0
    prefill: bool = True
    noise: Noise | None = None
    filling: Session | None = None

    @property
    def tempered(self) -> bool:
        """Whether the graph draws at a temperature, and so keeps log q."""
        return names.TEMPERATURE in self.given


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What a loop leaves.

    Attributes:
        values: observed and drawn values, [b, t].
        log_p: log-probability of each value under the model, in nats, [b, t].
        log_q: log-probability under the distribution drawn from, in nats, [b, t].
    """

    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]


def draw(binding: Binding, start: Start, on_steps: OnSteps = lambda steps: None) -> LoopResult:
    """Draw every unobserved position of a batch, in order.

    Args:
        binding: binding of a step graph with as many rows as `start`.
        start: inputs of the loop.
        on_steps: called after each launch.
    """
    done = begin(binding, start, on_steps)
    advance(binding, start.observed.shape[1] - done, on_steps)
    return result(binding, start)


def begin(binding: Binding, start: Start, on_steps: OnSteps = lambda steps: None) -> int:
    """Write the inputs of a loop, and run the first positions that all rows observe as one block.

    Returns:
        The next position, the same for every row.
    """
    observed, first = start.observed, start.first_position
    if start.noise is not None:
        binding.draw_from(start.noise)
    for name, array in start.given.items():
        binding.write(name, array)
    binding.write(names.OBSERVED, observed)
    binding.write(names.VALUES, np.maximum(observed, 0))
    binding.write(names.POSITION, np.full(len(observed), first, np.int64))
    for name in (names.LOG_P, names.LOG_Q) if start.tempered else (names.LOG_P,):
        binding.write(name, np.zeros(observed.shape, np.float32))
    prefix = int(np.argmin(np.append((observed >= 0).all(axis=0), False)))
    # The block ends before t - 1: there the next position would be clamped to the last one.
    block: int = min(prefix, observed.shape[1] - 1) - first
    if not start.prefill or block <= 1:
        return first
    if start.filling is None:
        binding.run(block=block)
    else:
        binding.fill(start.filling, first, block, slice(0, len(observed)))
        place(binding, np.full(len(observed), first + block, np.int64))
    on_steps(block)
    return first + block


def begin_prompts(
    binding: Binding, start: Start, lengths: NDArray[np.int64], *, rewinds: bool
) -> NDArray[np.int64]:
    """Write the inputs of a loop, and run the block of prompts of different lengths.

    Args:
        binding: binding of a step graph with as many rows as `start`.
        start: inputs of the loop; each row observes its prompt.
        lengths: number of values of each prompt, [b].
        rewinds: whether rows may go back after a block, as `rewinds` returns. The block then runs
            the longest prompt, with padding in the other rows; otherwise the positions that all
            rows observe.

    Returns:
        The next position of each row, [b].
    """
    observed = start.observed
    if not rewinds:
        return np.full(len(observed), begin(binding, start), np.int64)
    filled = observed.copy()
    longest = filled[:, : int(lengths.max())]
    longest[longest < 0] = 0
    done = begin(binding, replace(start, observed=filled))
    position: NDArray[np.int64] = np.clip(lengths, start.first_position, done)
    rewind(binding, position, observed)
    return position


def advance(binding: Binding, steps: int, on_steps: OnSteps = lambda steps: None) -> None:
    """Run `steps` steps, in launches of at most STEPS_PER_LAUNCH."""
    while steps > 0:
        launch = min(STEPS_PER_LAUNCH, steps)
        binding.run(launch)
        on_steps(launch)
        steps -= launch


def rewind(binding: Binding, position: NDArray[np.int64], observed: NDArray[np.int64]) -> None:
    """Set the position of each row, [b], and the values that it observes from there on, [b, t]."""
    binding.write(names.OBSERVED, observed)
    binding.write(names.POSITION, position)


def resume(
    binding: Binding, cache: Mapping[str, Array], position: int, past: NDArray[np.float32]
) -> None:
    """Set all rows to a position, with the cache and the log p [b, s] of earlier positions."""
    for name, array in cache.items():
        binding.write(name, array)
    binding.write(names.POSITION, np.full(len(past), position, np.int64))
    log_p = read_log_p(binding)
    log_p[:, : past.shape[1]] = past
    binding.write(names.LOG_P, log_p)


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


def place(binding: Binding, position: NDArray[np.int64]) -> None:
    """Set the next position of each row, [b]."""
    binding.write(names.POSITION, position)


def set_values(binding: Binding, values: NDArray[np.int64]) -> None:
    """Replace the values so far, [b, t], which the next step reads."""
    binding.write(names.VALUES, values)


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
    for name, array in settings(signature, UNFILTERED, rows, levels).items():
        binding.write(name, array)


def read_drawn(binding: Binding, signature: GraphSignature) -> LoopResult:
    """Return the values and log-probabilities of every row so far, each [b, t]."""
    log_p = read_log_p(binding)
    if names.takes_temperature(signature):
        return LoopResult(read_values(binding), log_p, binding.read(names.LOG_Q))
    log_q = np.where(binding.read(names.OBSERVED) >= 0, np.float32(0), log_p)
    return LoopResult(read_values(binding), log_p, log_q)


def result(binding: Binding, start: Start) -> LoopResult:
    """Return what the loop has left so far."""
    log_p = read_log_p(binding)
    log_q = np.where(start.observed >= 0, np.float32(0), log_p)
    return LoopResult(
        read_values(binding), log_p, binding.read(names.LOG_Q) if start.tempered else log_q
    )


def read_top(binding: Binding, k: int, part: Part | None = None) -> Alternatives:
    """Return the k most probable values of some rows and positions, or of all, [b, t, k] each."""
    return Alternatives(*(binding.read(name, part)[..., :k] for name in names.ALTERNATIVES))


def read_values(binding: Binding) -> NDArray[np.int64]:
    """Return observed and drawn values, [b, t]."""
    return binding.read(names.VALUES)


def read_log_p(binding: Binding) -> NDArray[np.float32]:
    """Return the log-probability of each value under the model, in nats, [b, t]."""
    return binding.read(names.LOG_P)


def check(
    log_p: NDArray[np.float32], first_index: int, log_q: NDArray[np.float32] | None = None
) -> None:
    """Check that no log-probability is NaN.

    Args:
        log_p: log-probabilities of consecutive samples, in nats, [b, t].
        first_index: sample index of the first.
        log_q: log-probabilities under the distributions drawn from, in nats, [b, t].

    Raises:
        NotADistribution: a log-probability is NaN; the message lists samples and positions.
    """
    _check(log_p, first_index, "logits are NaN or infinite", _WEIGHTS)
    if log_q is not None:
        _check(log_q, first_index, "all values that the model allows are banned", _BANS)


def _check(nats: NDArray[np.float32], first_index: int, what: str, advice: str) -> None:
    rows, positions = np.nonzero(np.isnan(nats))
    if len(rows):
        found = dict(zip(reversed(rows.tolist()), reversed(positions.tolist()), strict=True))
        reported = [
            f"sample {first_index + row}: {what} at position {found[row]}" for row in sorted(found)
        ]
        more = ", ..." if len(reported) > _REPORTED else ""
        raise NotADistribution(f"{', '.join(reported[:_REPORTED])}{more}; {advice}")


def check_values(values: NDArray[np.int64], levels: int) -> None:
    """Check that drawn values are levels; pictures and tokenizers look them up.

    Args:
        values: drawn values, of any shape.
        levels: number of levels of the data.

    Raises:
        BundleError: a value is outside 0 .. levels - 1.
    """
    if values.size and not (values.min() >= 0 and values.max() < levels):
        wrong = values[(values < 0) | (values >= levels)][0]
        raise BundleError(
            f"bundle: expected drawn values in 0 .. {levels - 1}, got {wrong}, so a graph does not "
            f"match the manifest; export the bundle again or download it again"
        )


def graph_of(
    sampling: Sampling, graphs: Mapping[str, GraphEntry], logprobs: int = 0
) -> names.StepGraph:
    """Return the name of the step graph for these sampling settings.

    Args:
        sampling: temperature, filters, bias and penalties.
        graphs: graphs of the bundle. A step without temperature draws at temperature 1.
        logprobs: number of most probable values that are asked for.

    Raises:
        InvalidInput: the settings need logits, and the likelihood of the model has none.
    """
    tempered = "step" in graphs and names.takes_temperature(graphs["step"].signature)
    if sampling.adjusted or logprobs:
        if "step" in graphs and not tempered:
            what = "sampling" if sampling.adjusted else "logprobs"
            raise InvalidInput(
                f"{what}: bias, penalties and logprobs need a model with a categorical likelihood; "
                f"leave them out"
            )
        return "step_full"
    plain = sampling.only_temperature if tempered else sampling.unfiltered
    return "step" if plain else "step_filtered"


def wider(graph: names.StepGraph, other: names.StepGraph) -> names.StepGraph:
    """Return the one of two step graphs that draws all that the other one draws."""
    return max(graph, other, key=names.STEP_GRAPHS.index)


def takes_blocks(signature: GraphSignature) -> bool:
    """Return whether a step graph can run several positions in one call."""
    return any(spec.name == names.OFFSETS for spec in signature.inputs)


def rewinds(signature: GraphSignature, t: int) -> bool:
    """Return whether rows may go back after a block: the whole cache is appended to t slots."""
    cache = [pair for pair in signature.carried if pair.input not in names.STATE]
    return takes_blocks(signature) and all(
        pair.update is Update.APPEND and t in signature.input(pair.input).axes for pair in cache
    )


def prefills(signature: GraphSignature, t: int) -> bool:
    """Return whether one row may run a block, and be parked at the end while others step.

    A step of a parked row keeps a state, and writes the last slot, which the row writes again
    before it reads it. In a ring the slot of the last position is also one of an earlier one.
    """
    cache = [pair for pair in signature.carried if pair.input not in names.STATE]
    return takes_blocks(signature) and all(
        pair.update is Update.REPLACE or t in signature.input(pair.input).axes for pair in cache
    )


def labelled(label: Array | None) -> dict[str, Array]:
    """Return the label input of a graph, [b]; an empty dict without classes."""
    return {} if label is None else {names.LABEL: np.ascontiguousarray(label)}


def settings(
    signature: GraphSignature, sampling: Sampling, rows: int, levels: int
) -> dict[str, Array]:
    """Return the settings that a step graph takes, [rows, ..] each, the same for each row."""
    every = sampling.settings(levels)
    taken = [spec for spec in signature.inputs if spec.name in every]
    return {
        spec.name: np.full((rows, *np.shape(every[spec.name])), every[spec.name], spec.host)
        for spec in taken
    }
