"""An answer that is sent when all of its choices are drawn."""

import functools

from starlette.concurrency import run_in_threadpool

from ancestral.engine import Delta
from ancestral.serve.completions.answer import (
    Choice,
    ChoiceWriter,
    answer_of,
    as_json,
    usage_of,
)
from ancestral.serve.completions.plan import Plan
from ancestral.serve.completions.scores import Scores, prompt_scores
from ancestral.serve.server import Server


async def whole_answer(server: Server, plan: Plan) -> tuple[str, int]:
    """Draw all choices, and return the answer as JSON, and the number of tokens drawn.

    Raises:
        Refused: the queue is full, or the engine has failed.
    """
    scores: list[Scores] | None = None
    drawn: list[list[Delta]] = [[] for _ in plan.requests]
    async with server.drawn(plan.served, plan.requests) as rows:
        if plan.scored:
            scores = await plan.served.calls.run(functools.partial(prompt_scores, plan))
        async for place, delta in rows:
            drawn[place].append(delta)
    return await run_in_threadpool(_written, plan, scores, drawn)


def _written(plan: Plan, scores: list[Scores] | None, drawn: list[list[Delta]]) -> tuple[str, int]:
    """Return an answer as JSON, and the number of tokens drawn."""
    text_of = functools.cache(lambda token: plan.tokenizer.decode([token]))
    choices = []
    for index in range(len(plan.prompts) * plan.n):
        writer, parts = ChoiceWriter(plan, index, text_of), list[Choice]()
        if plan.echo:
            parts.append(writer.echo(None if scores is None else scores[index // plan.n]))
        if drawn:
            parts += map(writer.draw, drawn[index])
        choices.append(Choice.joined(parts))
    count = sum(len(delta.values) for deltas in drawn for delta in deltas)
    answer = answer_of(plan, choices)
    answer.usage = usage_of(plan, count)
    return as_json(answer), count
