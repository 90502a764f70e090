"""/v1/ancestral/verify: the parity of this process's backend, one bundle at a time."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from ancestral.engine import AutoregressiveEngine
from ancestral.errors import BundleError
from ancestral.parity_document import parity_document
from ancestral.serve.answers import in_words
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs
from ancestral.serve.refused import Refused
from ancestral.step_tensors import LOG_PROB, LOGITS


class VerifyBody(JobBody):
    """Body of /v1/ancestral/verify. While it runs, other calls of the bundle wait."""


class VerifyAnswer(BaseModel):
    """Comparison with float64 PyTorch on the known answers of the bundle.

    It is the document of `ancestral verify --json`. The kind of the model decides which of the
    fields with a default there are. Null means NaN or infinity.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    bundle: str
    """Name of the bundle."""
    passed: bool
    """Whether every check passed."""
    max_abs_nats: float | None
    """Largest difference in log p, or in log w of a latent, of a sampled event, in nats."""
    mean_abs_nats: float | None
    """Mean of the same differences without their signs, in nats."""
    mean_signed_nats: float | None
    """Mean of the same differences, backend minus reference, in nats."""
    max_kl: float | None = None
    """Largest KL divergence of a next-value distribution from the reference's, in nats."""
    argmax_flips: int = 0
    """Number of most probable values that differ beyond the limits."""
    max_abs_term_nats: float | None = None
    """Largest difference in a term of the log-weights, in nats."""
    max_abs_mean: float | None = None
    """Largest difference in E[x | z], in levels."""
    near_ties: int
    """Number of drawn values that differ at a near tie."""
    unexplained: int
    """Number of drawn values that differ elsewhere; 0 if the backend passes."""
    backends: list[dict[str, Any]]
    """Report of the backend, with its limits and failures: numbers whose names end in `_nats` are
    in nats, `bits_per_dim` in bits/dim, KL in nats, means in levels."""


def verify(target: Target, body: VerifyBody) -> Work:
    """Return the work that verifies a bundle.

    Raises:
        Refused: a bundle is being verified, or this one was exported without a graph that it needs.
    """
    engine, verifying = target.served.thread.opened(), target.server.verifying
    if isinstance(engine, AutoregressiveEngine):
        check_graphs(engine, LOG_PROB, LOGITS, "redraw")
    if verifying.locked():
        raise _running()

    def call(report: Report) -> Fields:
        if not verifying.acquire(blocking=False):
            raise _running()
        try:
            report(0, 1)
            found = engine.verify()
        except BundleError as error:
            # The engine reads the same files at each call, and need not be opened anew for it.
            message = in_words(error, target.server.hidden)
            raise Refused(500, f"the bundle is damaged: {message}", code="bundle_error") from error
        finally:
            verifying.release()
        report(1, 1)
        return parity_document(target.served.name, [found])

    return target.in_thread(call, 0)


def _running() -> Refused:
    return Refused(
        429,
        "a bundle is being verified, one at a time; try again when it is done",
        code="verifying",
        headers={"Retry-After": "10"},
    )
