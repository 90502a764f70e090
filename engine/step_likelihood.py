"""Log-probabilities of given values by the step graph, as a sampling loop computes them.

A sample carries the log p that its steps computed. The same steps over the given values, in the
same number of rows, compute the same numbers: on one machine, by one session of ONNX Runtime, the
same bits. The parallel graph computes them in another order, so that it differs by rounding.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import shown
from ancestral.engine import arguments, budget, draw_checks, inputs, step_graph, step_loop
from ancestral.engine.prompt_batch import Generated
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.step_tensors import U

Path = Literal["parallel", "steps"]
"""Way to compute log p of given values: by one pass over all positions, or step by step."""
PATHS = ("parallel", "steps")
_GRAPH = "step"
_UNIFORM = np.float32(0.5)
"""Uniform of every position; the given values replace what it draws."""


def log_prob_of(
    runner: Runner,
    x: Int64[np.ndarray, "n t"],
    label: NDArray[np.int64] | None,
    batch: object = None,
) -> Float32[np.ndarray, "n t"]:
    """Return log p(x_t | x_<t, y) along the steps, in nats; events as the graphs take them.

    Args:
        runner: the engine.
        x: whole events by positions.
        label: label of each event, [n]; None without classes.
        batch: rows of a batch; None chooses by memory, as `sample` does.

    Raises:
        InvalidInput: `batch` is not a positive integer.
    """
    prefixes = np.full(len(x), runner.first_position)
    return _in_batches(runner, x, prefixes, label, batch)


def generated_log_prob(
    runner: Runner,
    rows: Sequence[Generated],
    labels: ArrayLike | int | None = None,
    *,
    batch: int | None = None,
) -> list[NDArray[np.float32]]:
    """Return log p of the prompt and the tokens of each row, computed as `generate` does.

    The prompts are prefilled in the same pieces, and the tokens are run step by step. Rows of one
    call of `generate` without filters, given in the same order, with the same `labels` and `batch`,
    on ONNX Runtime with the same number of threads have the bits that they carry. Otherwise, for
    example after the weights were trained further, the numbers are the current model's.

    Args:
        runner: the engine.
        rows: rows of `generate`.
        labels: as in `generate`.
        batch: as in `generate`.

    Returns:
        For each row, log p(x_t | x_<t, y) of its prompt and its tokens, in nats, [p + m].

    Raises:
        InvalidInput: a row is not a `Generated`, or does not fit the model; `labels` or `batch` are
            wrong.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.

    For example:

        rows = engine.generate(prompts, max_new=40, seed=0)
        log_p = engine.generated_log_prob(rows)
        log_p[0][len(rows[0].prompt) :]  # of the tokens: rows[0].log_p
    """
    given = list(arguments.members("rows", rows, ordered=True))
    observed = np.full((len(given), runner.data.length), -1, np.int64)
    if not given:
        raise InvalidInput("rows: at least one row is required")
    for i, row in enumerate(given):
        ids = _ids(i, row, runner)
        observed[i, : len(ids)] = ids
    prefixes = np.array([len(row.prompt) for row in given])
    label = runner.labels(labels, len(given))
    log_p = _in_batches(runner, observed, prefixes, label, batch)
    log_p = np.where(observed >= 0, log_p, np.float32(0))
    draw_checks.check(log_p, 0)
    return [each[: (ids >= 0).sum()] for each, ids in zip(log_p, observed, strict=True)]


def _ids(i: int, row: object, runner: Runner) -> NDArray[np.int64]:
    """Return the ids of a row's prompt and tokens, [p + m].

    Raises:
        InvalidInput: it is not a row of `generate`, or not one of this model.
    """
    if not isinstance(row, Generated):
        raise InvalidInput(f"row {i}: expected a Generated, got {shown(row)}")
    data, first = runner.data, runner.first_position
    parts = (row.prompt, row.tokens)
    prompt, tokens = (inputs.ids(f"row {i}", each, data.levels) for each in parts)
    if not first <= len(prompt) <= len(prompt) + len(tokens) <= data.length:
        raise InvalidInput(
            f"row {i}: expected a prompt of {first} or more ids and at most {data.length} ids in "
            f"all, got {len(prompt)} and {len(tokens)}; pass rows of `generate` of this model"
        )
    return np.concatenate([prompt, tokens])


def _in_batches(
    runner: Runner,
    x: NDArray[np.int64],
    prefixes: NDArray[np.int64],
    label: NDArray[np.int64] | None,
    batch: object,
) -> NDArray[np.float32]:
    """Run the given values in batches of rows, as a sampling loop does.

    Args:
        runner: the engine.
        x: values by positions, [n, t]; -1 after the end of a row.
        prefixes: number of first values of each row that a loop would be given, [n].
        label: label of each row, [n]; None without classes.
        batch: rows of a batch, or None.
    """
    signature, t = runner.session(_GRAPH).signature, runner.data.length
    rewinds, blocks = step_graph.rewinds(signature, t), step_graph.takes_blocks(signature)
    rows = budget.rows_of_batch(signature, runner.backend.room, batch, len(x))
    parts = []
    for at in range(0, len(x), rows):
        part, lengths = x[at : at + rows], prefixes[at : at + rows]
        given = {U: np.full(part.shape, _UNIFORM)}
        given |= step_graph.labelled(None if label is None else label[at : at + rows])
        prompts = np.where(np.arange(t) < lengths[:, None], part, -1)
        start = step_loop.Start(prompts, given, runner.first_position, blocks)
        with runner.binding(_GRAPH, len(part)) as binding:
            position = step_loop.begin_prompts(binding, start, lengths, rewinds=rewinds)
            step_loop.rewind(binding, position, np.ascontiguousarray(part))
            step_loop.advance(binding, int((part >= 0).sum(axis=1).max() - position.min()))
            parts.append(step_loop.read_log_p(binding))
    return np.concatenate(parts)
