"""Continue prompts of different lengths, as rows of one batch.

Prompts are left-aligned and padded on the right. If the cache has a slot for each position, one
block runs the longest prompt, with padding in the other rows. Each row is then put back to the end
of its own prompt; a step overwrites the slots beyond it before they are read. If the state is
replaced instead (a recurrent model), the positions that all rows observe are run as a block, and
the rest of the longer prompts step by step.

The noise of a row depends on (seed, index, position) only. A row therefore has the same values and
log-probabilities as in a batch of one, within the tolerance of the backend.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from ancestral.engine import (
    alternatives,
    arguments,
    budget,
    inputs,
    prefill,
    step_graph,
)
from ancestral.engine.draw import Draw
from ancestral.engine.prompt_batch import Generated, Options, PromptBatch, Stream
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.engine.speculation import Speculate, Speculated, plan_of
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole


def generate(  # noqa: PLR0913 - what a user may choose
    runner: Runner,
    prompts: Sequence[ArrayLike],
    max_new: int | None = None,
    *,
    stop: Sequence[int] | None = None,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    sampling: Sampling = UNFILTERED,
    batch: int | None = None,
    stream: Stream | None = None,
    prompt_log_p: bool = True,
    logprobs: int = 0,
    speculate: Speculate = None,
) -> list[Generated]:
    """Continue prompts of different lengths.

    Row i depends on its prompt and (seed, first_index + i), not on the other prompts.

    Args:
        runner: the engine.
        prompts: ids of each prompt, [p], by positions. A prompt may be empty if the model has a
            start symbol.
        max_new: largest number of tokens to draw after a prompt; None draws to the end of the
            context.
        stop: values that end a row, as its last token; None means those of the data.
        labels: class of all rows, or of each, [n]; required if the model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first prompt.
        sampling: temperature, filters, bias and penalties.
        batch: rows of a batch; None chooses by memory.
        stream: called as `stream(index, tokens)` with the sample index of a row and its new
            tokens, as they are drawn.
        prompt_log_p: whether log p of the prompts is computed. Without it, prompts are prefilled
            faster, by a graph without the last projection.
        logprobs: number of most probable values to return at each position, 0 .. 20.
        speculate: proposer of values, as in `sample`; rows are then drawn one after another.

    Returns:
        A `Generated` for each prompt: the drawn ids, [m], and the log-probabilities of prompt and
        drawn ids, in nats.

    Raises:
        InvalidInput: an argument is invalid, for example a prompt is longer than the context, or an
            id is not a value of the model.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.

    For example:

        tokenizer = engine.tokenizer()
        prompts = [tokenizer.encode(text) for text in ("Once upon", "The")]
        rows = engine.generate(prompts, max_new=40, sampling=Sampling(temperature=0.8))
        texts = [tokenizer.decode(row.tokens) for row in rows]
    """
    options = Options(
        max_new,
        stop,
        labels,
        seed,
        first_index,
        sampling,
        batch,
        None,
        stream,
        prompt_log_p,
        logprobs,
        speculate,
    )
    return [row for part in generate_batches(runner, prompts, options) for row in part]


def generate_batches(
    runner: Runner, prompts: Sequence[ArrayLike], options: Options
) -> Iterator[list[Generated]]:
    """Continue each prompt, and return each batch when it is finished.

    Args:
        runner: the engine.
        prompts: ids of each prompt, [p], by positions; sample first_index + i continues prompt i.
        options: the other arguments.

    Raises:
        InvalidInput: an argument is invalid. Raised by this call, not by the first batch.
    """
    checked = _prompts(arguments.members("prompts", prompts, ordered=True), runner)
    n, levels = len(checked), runner.data.levels
    if options.max_new is not None:
        options = replace(options, max_new=whole("max_new", options.max_new, 1))
    wanted = runner.data.stop if options.stop is None else options.stop
    stops = arguments.members("stop", wanted, ordered=False)
    options = replace(options, stop=tuple(whole("stop", each, 0, levels - 1) for each in stops))
    sampling = arguments.sampling(options.sampling, levels)
    options = replace(options, logprobs=alternatives.checked(options.logprobs, levels))
    noise = arguments.noise(options.seed, options.first_index, n)
    for name, called in (("progress", options.progress), ("stream", options.stream)):
        arguments.callback(name, called)
    label = runner.labels(options.labels, n)
    scored = arguments.flag("prompt_log_p", options.prompt_log_p)
    filling = prefill.session_of(runner, prompt_log_p=scored)
    graph = step_graph.graph_of(sampling, runner.bundle.manifest.graphs, options.logprobs)
    signature = runner.session(graph).signature
    rows = budget.rows_of_batch(signature, runner.backend.room, options.batch, n)
    plan = plan_of(runner, options.speculate, sampling, graph, n)
    if plan is not None and plan.proposer is not None:
        rows = 1

    def batch(at: int) -> list[Generated]:
        part = checked[at : at + rows]
        observed = np.full((len(part), runner.data.length), -1, np.int64)
        for row, prompt in zip(observed, part, strict=True):
            row[: len(prompt)] = prompt
        labels = None if label is None else label[at : at + rows]
        draw = Draw(observed, labels, noise.after(at), sampling, options.logprobs, plan)
        start = replace(draw.start(runner), filling=filling)
        rewinds = step_graph.rewinds(signature, runner.data.length)
        run = PromptBatch([len(prompt) for prompt in part], start, rewinds, options)

        def report(done: int, steps: int) -> None:
            """Report the steps of this batch as thousandths of all batches."""
            if options.progress is not None:
                share = at / n + len(part) / n * done / max(steps, 1)
                options.progress(round(1000 * share), 1000)

        with runner.binding(graph, len(part)) as binding, draw.speculated(runner) as loop:
            found = run.draw(binding, report, loop)
        if plan is None:
            return found
        counted = Speculated(None, plan.remark) if loop is None else loop.report
        return [replace(row, speculated=counted) for row in found]

    return (batch(at) for at in range(0, n, rows))


def _prompts(prompts: Iterable[ArrayLike], runner: Runner) -> list[Array]:
    """Return each prompt as int64 [p].

    Raises:
        InvalidInput: there is no prompt; or one is not a sequence of ids, is too long, or is empty
            and the model has no start symbol.
    """
    checked = [
        inputs.prompt(f"prompt {i}", prompt, runner.data, runner.first_position)
        for i, prompt in enumerate(prompts)
    ]
    if not checked:
        raise InvalidInput("prompts: at least one prompt is required")
    return checked
