"""Why a request is refused: the status, the words for the client, and the headers."""

from collections.abc import Mapping

from ancestral.errors import AncestralError


class Refused(AncestralError, RuntimeError):
    """A request that is refused.

    Attributes:
        status: HTTP status.
        kind: type of the error, as OpenAI's clients know it.
        code: code of the error for programs.
        param: field of the request that is wrong, or None.
        headers: headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code or _CODES.get(status), param
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        """Type of the error, as OpenAI's clients know it."""
        return _KINDS.get(
            self.status, "invalid_request_error" if self.status < 500 else "server_error"
        )

    @property
    def message(self) -> str:
        """The words for the client."""
        return str(self)


_KINDS = {401: "authentication_error", 429: "rate_limit_error", 503: "unavailable_error"}
_CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "body_too_large",
    429: "queue_full",
    500: "internal_error",
    503: "unavailable",
}


def busy(waiting: int, seconds: float) -> Refused:
    """Return the refusal of a request when the queue is full.

    Args:
        waiting: number of requests that wait.
        seconds: estimated seconds until the queue has room.
    """
    after = str(max(1, min(60, round(seconds))))
    return Refused(
        429,
        f"the queue is full: {waiting} requests wait; try again after {after} s",
        headers={"Retry-After": after},
    )


def stopping() -> Refused:
    """Return the refusal of a request while the server stops."""
    return Refused(
        503,
        "the server is stopping; try again later",
        code="stopping",
        headers={"Retry-After": "5"},
    )


def failed() -> Refused:
    """Return what a request gets whose engine failed while it was drawn, or has not come back."""
    return Refused(
        503,
        "the engine of this bundle failed and is opened anew; try again later",
        code="engine_failed",
        headers={"Retry-After": "5"},
    )


def opening() -> Refused:
    """Return the refusal of a request before the engine is open for the first time."""
    return Refused(
        503,
        "the engine of this bundle is being opened; try again soon",
        code="engine_opening",
        headers={"Retry-After": "1"},
    )
