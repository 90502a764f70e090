"""The bundles as OpenAI's models."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from ancestral.serve.answers import documented
from ancestral.serve.served import Served
from ancestral.serve.server import server_of

router = APIRouter(tags=["completions"])


class Model(BaseModel):
    """A bundle.

    Attributes:
        id: its name in requests.
        object: always "model".
        created: when it was written, in seconds since 1970.
        owned_by: always "ancestral".
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["ancestral"] = "ancestral"


class Models(BaseModel):
    """The bundles that are served.

    Attributes:
        object: always "list".
        data: the bundles.
    """

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/v1/models", response_model=Models, responses=documented())
async def models(request: Request) -> Response:
    """Return the bundles that are served. Those without text have no completions."""
    data = [_model(each) for each in server_of(request).served.values()]
    return JSONResponse(Models(data=data).model_dump())


@router.get("/v1/models/{model}", response_model=Model, responses=documented(404))
async def model(request: Request, model: str) -> Response:
    """Return a bundle that is served."""
    return JSONResponse(_model(server_of(request).find(model)).model_dump())


def _model(served: Served) -> Model:
    return Model(id=served.name, created=served.created)
