"""The page at /: static files that a browser needs, and nothing from other sites."""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from ancestral.serve.refused import Refused

router = APIRouter(include_in_schema=False)

INDEX = "index.html"
FILES = (
    INDEX,
    "page.css",
    "action.js",
    "api.js",
    "editor.js",
    "elements.js",
    "images.js",
    "latents.js",
    "page.js",
    "parity.js",
    "picture.js",
    "sampling.js",
    "scale.js",
    "text.js",
    "tiles.js",
)
"""Files of the page; no others are served."""
OPEN = frozenset({"/", *(f"/page/{name}" for name in FILES)})
"""Paths of the page, which need no key: it has a field for one, and the same bytes for all."""
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""What the page may load and do: scripts and calls of this server only, and nothing inline."""


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """Return the page."""
    return _answer(INDEX, request)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def file(request: Request, name: str) -> Response:
    """Return a file of the page.

    Raises:
        Refused: the page has no such file.
    """
    if name not in FILES:
        raise Refused(404, "the page has no such file")
    return _answer(name, request)


def _answer(name: str, request: Request) -> Response:
    content = _content(name)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        # Asked for anew each time, so that the files are always of one version.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    known = request.headers.get("if-none-match", "")
    if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[PurePosixPath(name).suffix])


@cache
def _content(name: str) -> bytes:
    return (files("ancestral.serve") / "page" / name).read_bytes()
