"""Responses for refused requests, in the form that the clients of a route read."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from ancestral.errors import InvalidInput
from ancestral.serve.refused import Refused


class Problem(BaseModel):
    """What is wrong with a request.

    Attributes:
        message: what is wrong, and what to do.
        type: type of the error, as OpenAI's clients know it.
        param: field of the request that is wrong, if it is one.
        code: code of the error for programs.
    """

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Body of a response whose status is 400 or more."""

    error: Problem


class InferenceError(BaseModel):
    """Body of a response of the inference protocol whose status is 400 or more."""

    error: str


KSERVE = "/v2"
"""Beginning of the routes whose errors are plain strings."""


def refused_of(error: Exception, hidden: Mapping[str, str]) -> Refused:
    """Return an error as a refusal, in words that hold no path.

    Args:
        error: the error.
        hidden: paths of the bundles, with the names that replace them.
    """
    if isinstance(error, Refused):
        return error
    if not isinstance(error, InvalidInput):
        return Refused(500, "internal error; the server's log has the request id of this response")
    message = in_words(error, hidden)
    field, colon, _ = message.partition(":")
    param = field if colon and field.replace("_", "").isalnum() else None
    return Refused(400, message, param=param)


def in_words(error: Exception, hidden: Mapping[str, str]) -> str:
    """Return the message of an error without the paths of bundles.

    Args:
        error: the error.
        hidden: paths of the bundles, with the names that replace them.
    """
    message = str(error)
    for path, name in hidden.items():
        message = message.replace(path, name)
    return message


def error_response(path: str, refused: Refused) -> Response:
    """Return the response of a refusal.

    Args:
        path: path of the request; it decides the form.
        refused: the refusal.
    """
    if path.startswith(KSERVE):
        content = InferenceError(error=refused.message).model_dump_json()
    else:
        problem = Problem(
            message=refused.message, type=refused.kind, param=refused.param, code=refused.code
        )
        content = ErrorBody(error=problem).model_dump_json()
    return Response(content, refused.status, refused.headers, "application/json")


EVENTS: dict[str, Any] = {
    "text/event-stream": {"schema": {"description": "Server-sent events, each with JSON as data."}}
}
"""What a route that streams says about its response in the API document."""


def documented(
    *statuses: int, form: type[BaseModel] = ErrorBody
) -> dict[int | str, dict[str, object]]:
    """Return what a route says about its errors in the API document."""
    every = (401, 408, 413, 429, 500, 503, *statuses)
    return {
        status: {"model": form, "description": HTTPStatus(status).phrase}
        for status in sorted(every)
    }
