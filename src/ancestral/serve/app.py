"""The application: routes, middleware, errors, and the document that describes them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from ancestral import __version__
from ancestral.errors import InvalidInput
from ancestral.serve import completions, health, page
from ancestral.serve.access import REQUEST_ID, Access
from ancestral.serve.answers import error_response, refused_of
from ancestral.serve.api import router as api
from ancestral.serve.body import IGNORED, Body
from ancestral.serve.guard import OPEN, Guard
from ancestral.serve.inference import router as inference
from ancestral.serve.inference.protocol import InferenceRequest, RepositoryRequest
from ancestral.serve.refused import Refused
from ancestral.serve.server import ClientGone, Server

_ABOUT = """Samples and exact likelihoods of the bundles that this server serves.

Log-probabilities are in nats. A sample is a function of the bundle, the seed, the index and the
settings; other requests do not change it.
"""
_ROUTERS = (health.router, page.router, *completions.ROUTERS, api.router, inference.router)
_BODIES: Sequence[type[Body]] = (
    completions.CompletionRequest,
    *api.BODIES,
    InferenceRequest,
    RepositoryRequest,
)
"""Bodies that routes read themselves."""
_GONE = 499
"""Status in the log of a request whose client went away before the response."""


def create_app(server: Server) -> FastAPI:
    """Return the ASGI application of a server.

    Its engines are opened when the application starts, and stopped when it ends.
    """
    app = FastAPI(
        title="ancestral",
        version=__version__,
        description=_ABOUT,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.server = server
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(InvalidInput, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientGone, _client_gone)
    app.add_api_route("/openapi.json", _openapi, include_in_schema=False)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    # The last that is added is the outermost: pages of other sites may read refusals, too.
    app.add_middleware(Guard, settings=server.settings, open_paths=OPEN | page.OPEN)
    if server.settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(server.settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[REQUEST_ID, IGNORED, "Retry-After"],
        )
    app.add_middleware(Access, metrics=server.metrics, contents=server.settings.log_contents)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    server: Server = app.state.server
    for each in server.served.values():
        each.thread.start()
    yield
    for each in server.served.values():
        each.stop(drop=True)
    for each in server.served.values():
        await asyncio.to_thread(each.thread.join, 10)


async def _refused(request: Request, error: Exception) -> Response:
    server: Server = request.app.state.server
    return error_response(request.url.path, refused_of(error, server.hidden))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refused = Refused(error.status_code, str(error.detail), headers=error.headers)
    return error_response(request.url.path, refused)


def _openapi(request: Request) -> Response:
    """Return the document, in a thread: the first time it takes a part of a second."""
    app: FastAPI = request.app
    return JSONResponse(app.openapi())


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=_GONE)


def _document(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document, with the bodies that routes read themselves."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        every = [(body, "validation") for body in _BODIES]
        _, schemas = models_json_schema(every, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components |= schemas.get("$defs", {})
        app.openapi_schema = document
    return app.openapi_schema
