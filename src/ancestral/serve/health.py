"""Whether the server is ready, what it serves, and its metrics."""

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ancestral import __version__
from ancestral.bundles.cost_rows import cost_rows
from ancestral.bundles.quantisation import Quantisation
from ancestral.serve.answers import documented
from ancestral.serve.server import server_of

router = APIRouter(tags=["server"])


class Health(BaseModel):
    """State of a server.

    Attributes:
        status: "ready", or "not ready" while an engine is opened.
        bundles: state of each bundle.
    """

    status: str
    bundles: dict[str, str]


class BundleInfo(BaseModel):
    """A bundle that is served.

    Attributes:
        name: its name in requests.
        kind: "autoregressive" or "latent_variable".
        sha256: hash of its manifest, which has the hashes of its files.
        data: name of its data.
        event_shape: shape of an event.
        levels: number of values of a position; a value is an integer in 0 .. levels - 1.
        num_classes: number of classes, or null; labels are 0 .. num_classes - 1.
        text: whether its events are text.
        ordering: order in which values are drawn: "raster", another name, or a list of sites.
        palette: red, green and blue of each value, if values are colours.
        latent_shape: shape of a latent, of a latent variable model.
        codes: whether latents are codes, which are integers, instead of real numbers.
        dtype: type of its weights, caches and activations.
        quantisation: its weights of 4 or 8 bits, as in its manifest; null without them.
        cost: rows of a name and a value about the likelihood that it loses against its source; null
            if that was not measured.
        backend: backend that runs it.
    """

    name: str
    kind: str
    sha256: str
    data: str
    event_shape: list[int]
    levels: int
    num_classes: int | None
    text: bool
    ordering: str | list[int]
    palette: list[tuple[int, int, int]] | None
    latent_shape: list[int] | None
    codes: bool
    dtype: str
    quantisation: Quantisation | None
    cost: list[tuple[str, str]] | None
    backend: str


class Info(BaseModel):
    """What a server serves.

    Attributes:
        version: version of ancestral.
        bundles: the bundles.
    """

    version: str
    bundles: list[BundleInfo]


@router.head("/health", include_in_schema=False)
@router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def health(request: Request) -> Response:
    """Return 200 when every engine is open and warm, else 503."""
    server = server_of(request)
    states = {name: each.thread.state for name, each in server.served.items()}
    ready = server.ready
    found = Health(status="ready" if ready else "not ready", bundles=states)
    return Response(found.model_dump_json(), 200 if ready else 503, media_type="application/json")


@router.get("/metrics", response_class=PlainTextResponse, responses=documented())
async def metrics(request: Request) -> Response:
    """Return the metrics, in Prometheus's text format."""
    text = server_of(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/ancestral/info", response_model=Info, responses=documented())
async def info(request: Request) -> Response:
    """Return the bundles that are served."""
    server = server_of(request)
    found = []
    for each in server.served.values():
        manifest, data = each.manifest, each.manifest.data
        ordering = data.ordering if isinstance(data.ordering, str) else list(data.ordering)
        found.append(
            BundleInfo(
                name=each.name,
                kind=manifest.kind,
                sha256=each.sha256,
                data=data.name,
                event_shape=list(data.event_shape),
                levels=data.levels,
                num_classes=data.num_classes,
                text=data.tokenizer is not None,
                ordering=ordering,
                palette=None if data.palette is None else list(data.palette),
                latent_shape=None if manifest.latent is None else list(manifest.latent.shape),
                codes=manifest.latent is not None and manifest.latent.posterior == "codes",
                dtype=manifest.dtype,
                quantisation=manifest.quantisation,
                cost=None if manifest.cost is None else cost_rows(manifest.cost),
                backend=server.settings.backend,
            )
        )
    return JSONResponse(Info(version=__version__, bundles=found).model_dump())
