"""Bodies of requests: read within bounds, parsed in a thread, and described in the API document."""

from collections.abc import Iterator
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool

from ancestral.arrays import shown
from ancestral.excerpts import LONGEST_VALUE, cut, expectation
from ancestral.serve.refused import Refused

B = TypeVar("B", bound="Body")
IGNORED = "x-ignored-fields"
"""Header of a response that names the fields of the request that are not known."""
_NAMED = 20


class Body(BaseModel):
    """Body of a request, as JSON. Fields that are not known are ignored, and named in a header."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    @property
    def ignored(self) -> dict[str, str]:
        """The header that names the fields that are not known; empty if all are.

        Names that a header cannot hold are left out.
        """
        names = [
            name
            for name in _unknown(self)
            if name.isprintable() and name.isascii() and name.strip() == name != ""
        ]
        return {IGNORED: cut(", ".join(names[:_NAMED]))} if names else {}


def _unknown(model: BaseModel, before: str = "") -> Iterator[str]:
    """Yield the names of fields that are not known, and of those in objects of known fields."""
    for name in model.model_extra or {}:
        yield before + name
    for name in type(model).model_fields:
        if isinstance(value := getattr(model, name), BaseModel):
            yield from _unknown(value, f"{before}{name}.")


def takes(model: type[Body]) -> dict[str, Any]:
    """Return what a route says about its body in the API document."""
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": reference}}
    return {"requestBody": {"required": True, "content": content}}


async def read(request: Request, model: type[B]) -> B:
    """Return the body of a request.

    Raises:
        Refused: it is too large or too slow, is not JSON, or a field has a wrong value.
    """
    return await run_in_threadpool(parse, await request.body(), model)


def parse(content: bytes, model: type[B]) -> B:
    """Return a body from its JSON.

    Raises:
        Refused: it is not JSON, or a field has a wrong value.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        if problem["type"] == "json_invalid":
            reason = problem["msg"].removeprefix("Invalid JSON: ")
            raise Refused(400, f"body: expected JSON: {reason}", code="invalid_json") from error
        field = cut(".".join(str(each) for each in problem["loc"]), LONGEST_VALUE) or "body"
        got = "" if problem["type"] == "missing" else f", got {shown(problem['input'])}"
        message = f"{field}: {expectation(problem['msg'])}{got}"
        raise Refused(
            400, message, param=str(problem["loc"][0]) if problem["loc"] else None
        ) from error
