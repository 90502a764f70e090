"""An answer that is sent in chunks, as its choices are drawn."""

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from ancestral.engine import Delta
from ancestral.errors import InvalidInput
from ancestral.serve.answers import error_response, refused_of
from ancestral.serve.completions.answer import Choice, ChoiceWriter, answer_of, as_json, usage_of
from ancestral.serve.completions.plan import Plan
from ancestral.serve.completions.scores import Scores, prompt_scores
from ancestral.serve.refused import Refused
from ancestral.serve.server import Server, note, over

T = TypeVar("T")
_LAST = "[DONE]"


async def chunks_of(
    server: Server, plan: Plan, request: Request, *, include_usage: bool
) -> AsyncIterator[str]:
    """Put the rows of a plan in line, and return the chunks of its answer, as JSON.

    Args:
        server: the limits.
        plan: the plan.
        request: the HTTP request.
        include_usage: whether the last chunk has the numbers of tokens.

    Raises:
        Refused: the queue is full, or the engine has failed. A later error is a chunk, the last.
    """
    chunks = _Chunks(server, plan, include_usage=include_usage).all(request)
    # Up to the first yield: a queue that is full is answered before a response begins.
    await anext(chunks)
    return chunks


class _Chunks:
    """The chunks of one answer."""

    def __init__(self, server: Server, plan: Plan, *, include_usage: bool) -> None:
        self._server, self._plan, self._include_usage = server, plan, include_usage
        self._deadline = asyncio.get_running_loop().time() + server.settings.seconds
        text_of = functools.cache(lambda token: plan.tokenizer.decode([token]))
        self._writers = [
            ChoiceWriter(plan, index, text_of) for index in range(len(plan.prompts) * plan.n)
        ]
        self._count = 0

    async def all(self, request: Request) -> AsyncGenerator[str, None]:
        """Yield nothing once the rows are in line, then each chunk, then the last line."""
        plan = self._plan
        try:
            async with self._server.drawn(plan.served, plan.requests) as rows:
                yield ""
                try:
                    if plan.echo:
                        for choice in await self._echoed():
                            yield self._chunk([choice])
                    while (found := await self._within(lambda: anext(rows, None))) is not None:
                        yield self._chunk([await self._drawn(*found)])
                    if self._include_usage:
                        yield self._chunk([], last=True)
                    yield _LAST
                except (Refused, InvalidInput) as error:
                    refused = refused_of(error, {str(plan.served.path): plan.served.name})
                    yield bytes(error_response(request.url.path, refused).body).decode()
        finally:
            note(request, completion_tokens=self._count)

    async def _echoed(self) -> list[Choice]:
        """Return the part of each choice that has its prompt."""
        plan = self._plan
        scores: list[Scores] | None = None
        if plan.scored:
            scores = await self._within(
                lambda: plan.served.calls.run(functools.partial(prompt_scores, plan))
            )

        def written() -> list[Choice]:
            return [
                writer.echo(None if scores is None else scores[index // plan.n])
                for index, writer in enumerate(self._writers)
            ]

        return await run_in_threadpool(written)

    async def _drawn(self, place: int, delta: Delta) -> Choice:
        """Return the part of a choice that has what was drawn."""
        self._count += len(delta.values)
        draw: Callable[[Delta], Choice] = self._writers[place].draw
        # Without log-probabilities there is nothing to decode.
        if self._plan.logprobs is None:
            return draw(delta)
        return await run_in_threadpool(draw, delta)

    def _chunk(self, choices: list[Choice], *, last: bool = False) -> str:
        chunk = answer_of(self._plan, choices)
        if self._include_usage:
            chunk.usage = usage_of(self._plan, self._count) if last else None
        return as_json(chunk)

    async def _within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of some work.

        Raises:
            Refused: the time of the request is over.
        """
        try:
            async with asyncio.timeout_at(self._deadline):
                # Work that never waits would not see that the time is over.
                await asyncio.sleep(0)
                return await work()
        except TimeoutError as error:
            raise over(self._server.settings.seconds) from error
