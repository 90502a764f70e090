"""The routes of the API, and the bodies that they read."""

from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from ancestral.serve.answers import EVENTS, documented
from ancestral.serve.api import complete, latents, likelihoods, sample, text, verify
from ancestral.serve.api.jobs import JobBody, Prepare, answer
from ancestral.serve.body import Body, takes

B = TypeVar("B", bound=JobBody)
PREFIX = "/v1/ancestral/"
BODIES: tuple[type[Body], ...] = (
    sample.SampleBody,
    complete.CompleteBody,
    likelihoods.LogProbBody,
    likelihoods.ClassifyBody,
    latents.EventsBody,
    latents.DecodeBody,
    latents.BoundBody,
    text.TokenizeBody,
    text.DetokenizeBody,
    verify.VerifyBody,
)
"""Bodies of the routes, for the API document."""
_STREAM = {
    "description": "The answer, or a stream of events if the body has `stream`.",
    "content": EVENTS,
}

router = APIRouter(tags=["ancestral"])


def _add(method: str, body: type[B], prepare: Prepare[B], found: Any, about: str) -> None:
    """Add the route of a method.

    Args:
        method: name of the method.
        body: model of its body.
        prepare: function that checks the fields of a body.
        found: model of the answer.
        about: what the method does, for the API document.
    """

    async def endpoint(request: Request) -> Response:
        return await answer(request, method, body, prepare)

    router.add_api_route(
        PREFIX + method,
        endpoint,
        methods=["POST"],
        name=method,
        summary=about,
        response_model=found,
        responses={200: _STREAM, **documented(400, 404)},
        openapi_extra=takes(body),
    )


_add(
    "sample",
    sample.SampleBody,
    sample.sample,
    sample.SampleAnswer | sample.LatentSampleAnswer,
    "Draw events; those of one seed and index are always the same",
)
_add(
    "complete",
    complete.CompleteBody,
    complete.complete,
    complete.CompleteAnswer,
    "Complete events given all of their observed values",
)
_add(
    "log_prob",
    likelihoods.LogProbBody,
    likelihoods.log_prob,
    likelihoods.EventsAnswer | likelihoods.TextAnswer,
    "Compute the log-probabilities of events, or of a text, in nats",
)
_add(
    "classify",
    likelihoods.ClassifyBody,
    likelihoods.classify,
    likelihoods.ClassifyAnswer,
    "Compute the probabilities of classes by Bayes' rule",
)
_add(
    "encode",
    latents.EventsBody,
    latents.encode,
    latents.EncodeAnswer,
    "Encode events: parameters of q(z | x)",
)
_add(
    "decode",
    latents.DecodeBody,
    latents.decode,
    latents.DecodeAnswer,
    "Decode latents: parameters and mean of p(x | z)",
)
_add(
    "reconstruct",
    latents.EventsBody,
    latents.reconstruct,
    latents.ReconstructAnswer,
    "Reconstruct events: E[x | z] at the mean of q(z | x)",
)
_add(
    "bound",
    latents.BoundBody,
    latents.bound,
    latents.BoundAnswer,
    "Bound log p(x) from below, with standard errors, in nats",
)
_add(
    "tokenize",
    text.TokenizeBody,
    text.tokenize,
    text.TokenizeAnswer,
    "Return the ids of a text",
)
_add(
    "detokenize",
    text.DetokenizeBody,
    text.detokenize,
    text.DetokenizeAnswer,
    "Return the text of ids",
)
_add(
    "verify",
    verify.VerifyBody,
    verify.verify,
    verify.VerifyAnswer,
    "Compare the backend of this process with float64 PyTorch, in nats",
)
