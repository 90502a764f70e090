"""Routes of the inference protocol: health, metadata, inference, and the list of models."""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ancestral import __version__
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.serve.answers import InferenceError, documented
from ancestral.serve.body import parse, takes
from ancestral.serve.inference import models
from ancestral.serve.inference.answer import Answer, Wanted, answer, wanted
from ancestral.serve.inference.methods import run
from ancestral.serve.inference.models import VERSION, Model
from ancestral.serve.inference.protocol import (
    HEADER,
    InferenceRequest,
    InferenceResponse,
    Live,
    ModelMetadata,
    ModelState,
    Ready,
    RepositoryRequest,
    ServerMetadata,
)
from ancestral.serve.inference.tensors import Array, arrays_of, split
from ancestral.serve.refused import Refused
from ancestral.serve.server import note, scope_of, server_of

router = APIRouter(prefix="/v2", tags=["inference protocol"])
_BINARY = "application/octet-stream"
_MODEL, _VERSION = "/models/{model}", "/models/{model}/versions/{version}"
_ERRORS = documented(form=InferenceError)
_OF_MODEL = documented(404, form=InferenceError)
_READY = _OF_MODEL | {503: {"model": Ready}}
_BYTES: dict[str, Any] = {_BINARY: {"schema": {"type": "string", "format": "binary"}}}
_OF_INFER = documented(400, 404, 415, form=InferenceError) | {200: {"content": _BYTES}}


def _infer_document() -> dict[str, Any]:
    """Return what the API document says about the body and the header of an inference request."""
    document = takes(InferenceRequest)
    document["requestBody"]["content"] |= _BYTES
    about = "Bytes of the JSON document; the bytes of binary tensors follow it."
    header = {"name": HEADER, "in": "header", "schema": {"type": "integer"}, "description": about}
    return document | {"parameters": [header]}


@router.get("", response_model=ServerMetadata, responses=_ERRORS)
async def server_metadata() -> Response:
    """Return the name of the server, and the extensions of the protocol that it has."""
    return _json(
        ServerMetadata(name="ancestral", version=__version__, extensions=["binary_tensor_data"])
    )


@router.get("/health/live", response_model=Live)
async def live() -> Response:
    """Return 200 while the server runs."""
    return _json(Live(live=True))


@router.get("/health/ready", response_model=Ready, responses={503: {"model": Ready}})
async def ready(request: Request) -> Response:
    """Return 200 when every engine is open and warm, else 503."""
    return _readiness(ready=server_of(request).ready)


@router.get(_MODEL, response_model=ModelMetadata, responses=_OF_MODEL)
async def model_metadata(request: Request, model: str) -> Response:
    """Return the inputs and outputs of a model, with their units."""
    return _json(models.find(server_of(request), model).metadata)


@router.get(_VERSION, response_model=ModelMetadata, responses=_OF_MODEL)
async def version_metadata(request: Request, model: str, version: str) -> Response:
    """Return the inputs and outputs of a version of a model; "1" is the only one."""
    return _json(models.find(server_of(request), model, version).metadata)


@router.get(f"{_MODEL}/ready", response_model=Ready, responses=_READY)
async def model_ready(request: Request, model: str) -> Response:
    """Return 200 when the engine of a model is open and warm, else 503."""
    found = models.find(server_of(request), model)
    return _readiness(ready=found.served.thread.ready)


@router.get(f"{_VERSION}/ready", response_model=Ready, responses=_READY)
async def version_ready(request: Request, model: str, version: str) -> Response:
    """Return 200 when the engine of a version of a model is open and warm, else 503."""
    found = models.find(server_of(request), model, version)
    return _readiness(ready=found.served.thread.ready)


@router.post(
    "/repository/index",
    response_model=list[ModelState],
    responses=documented(400, form=InferenceError),
    openapi_extra=takes(RepositoryRequest),
)
async def repository_index(request: Request) -> Response:
    """Return the names of all models; an empty body is allowed."""
    content = await request.body()
    body = await run_in_threadpool(parse, content or b"{}", RepositoryRequest)
    found = [each.state for each in models.models_of(server_of(request))]
    listed = [each.model_dump_json() for each in found if each.state == "READY" or not body.ready]
    return Response(f"[{','.join(listed)}]", headers=body.ignored, media_type="application/json")


@router.post(
    f"{_MODEL}/infer",
    response_model=InferenceResponse,
    responses=_OF_INFER,
    openapi_extra=_infer_document(),
)
async def infer(request: Request, model: str) -> Response:
    """Run a model on its inputs: JSON, or JSON and the bytes of tensors after it."""
    return await _inferred(request, models.find(server_of(request), model))


@router.post(
    f"{_VERSION}/infer",
    response_model=InferenceResponse,
    responses=_OF_INFER,
    openapi_extra=_infer_document(),
)
async def version_infer(request: Request, model: str, version: str) -> Response:
    """Run a version of a model on its inputs; "1" is the only one."""
    return await _inferred(request, models.find(server_of(request), model, version))


async def _inferred(request: Request, found: Model) -> Response:
    """Return the response of a model.

    Raises:
        Refused: the request is not valid, the engine failed, or the time is over.
        InvalidInput: an input or output is not valid.
        ClientGone: the client closed the connection.
    """
    server = server_of(request)
    note(request, model=found.full_name)
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise Refused(415, f"Content-Encoding: expected none, got {quoted(coding)}")
    content = await request.body()
    body, outputs, given = await run_in_threadpool(
        _read, found, content, request.headers.get(HEADER)
    )
    try:
        arrays = await server.waited(request, run(server, found, given, scope_of(request)))
    except InvalidInput as error:
        raise _named(error, found) from error
    answered = await run_in_threadpool(_written, found, body, outputs, arrays)
    if not any(each.binary for each in outputs):
        return Response(answered.content, headers=body.ignored, media_type="application/json")
    headers = body.ignored | {HEADER: str(answered.document)}
    return Response(answered.content, headers=headers, media_type=_BINARY)


def _read(
    model: Model, content: bytes, header: str | None
) -> tuple[InferenceRequest, list[Wanted], dict[str, Array]]:
    """Return the document of a request, the outputs that it asks for, and its inputs.

    Raises:
        Refused: the document is not valid.
        InvalidInput: a tensor is not valid.
    """
    document, tensors = split(content, header)
    body = parse(document, InferenceRequest)
    outputs = wanted(model.method.outputs, body)
    return body, outputs, arrays_of(model.method.inputs, body.inputs, tensors)


def _written(
    model: Model, body: InferenceRequest, outputs: list[Wanted], arrays: dict[str, Array]
) -> Answer:
    """Return the body of a response.

    Raises:
        InvalidInput: a number that is not finite would be in JSON.
    """
    head = {"model_name": model.full_name, "model_version": VERSION}
    if body.id is not None:
        head["id"] = body.id
    return answer(head, outputs, arrays)


def _named(refusal: InvalidInput, model: Model) -> InvalidInput:
    """Return an error of the engine in the words of the protocol: its arguments are inputs."""
    name, _, error = str(refusal).partition(": ")
    known = {each.name for each in model.method.inputs}
    return InvalidInput(f"input {name}: {error}") if name in known else refusal


def _readiness(*, ready: bool) -> Response:
    return Response(
        Ready(ready=ready).model_dump_json(), 200 if ready else 503, media_type="application/json"
    )


def _json(found: BaseModel) -> Response:
    return Response(found.model_dump_json(), media_type="application/json")
