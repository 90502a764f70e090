"""The route of completions."""

from typing import Any

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ancestral.serve.answers import EVENTS, documented
from ancestral.serve.body import read, takes
from ancestral.serve.completions.answer import Completion
from ancestral.serve.completions.body import CompletionRequest
from ancestral.serve.completions.chunks import chunks_of
from ancestral.serve.completions.plan import plan_of
from ancestral.serve.completions.whole import whole_answer
from ancestral.serve.server import note, scope_of, server_of

router = APIRouter(tags=["completions"])
_STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": EVENTS}}


@router.post(
    "/v1/completions",
    response_model=Completion,
    responses=documented(400, 404) | _STREAMED,
    openapi_extra=takes(CompletionRequest),
)
async def completions(request: Request) -> Response:
    """Continue prompts, and return texts with the log-probabilities of their tokens."""
    server = server_of(request)
    body = await read(request, CompletionRequest)
    served = server.find(body.model)
    plan = await run_in_threadpool(plan_of, body, server, served, scope_of(request))
    note(request, bundle=served.name, prompt_tokens=plan.prompt_tokens)
    served.metrics.prompt(plan.prompt_tokens)
    if body.stream:
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return EventSourceResponse(
            await chunks_of(server, plan, request, include_usage=usage),
            headers=body.ignored,
            # Some clients look for two line feeds between events.
            sep="\n",
            send_timeout=server.settings.read_seconds,
        )
    content, drawn = await server.waited(request, whole_answer(server, plan))
    note(request, completion_tokens=drawn)
    return Response(content, headers=body.ignored, media_type="application/json")
