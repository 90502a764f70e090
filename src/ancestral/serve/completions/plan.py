"""A plan: the prompts and requests of a body, checked against the bundle and the limits."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ancestral.arrays import shown
from ancestral.engine import AutoregressiveEngine, Request, alternatives, top
from ancestral.sampling import Sampling
from ancestral.serve.completions.body import CompletionRequest
from ancestral.serve.completions.prompt import Prompt, read_prompt
from ancestral.serve.graphs import check_graphs, check_sampling
from ancestral.serve.refused import Refused
from ancestral.serve.samples import new_seed
from ancestral.serve.served import Served
from ancestral.serve.server import Server
from ancestral.step_tensors import LOG_PROB
from ancestral.text.tokenizer import Tokenizer

_TOKENS = 16
"""Tokens that are drawn if the body does not say how many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request for completions draws and returns.

    Attributes:
        id: name of the answer.
        created: when the request arrived, in seconds since 1970.
        served: the bundle.
        engine: its engine.
        tokenizer: its tokenizer.
        prompts: the prompts.
        n: choices of each prompt.
        requests: rows to draw, one for each choice; empty if nothing is drawn.
        seed: seed of all rows.
        echo: whether choices begin with their prompts.
        logprobs: number of most probable tokens at each position; None without log-probabilities.
        log_q: whether log-probabilities are also those of the distribution drawn from.
    """

    id: str
    created: int
    served: Served
    engine: AutoregressiveEngine
    tokenizer: Tokenizer
    prompts: Sequence[Prompt]
    n: int
    requests: Sequence[Request]
    seed: int
    echo: bool
    logprobs: int | None
    log_q: bool

    @property
    def scored(self) -> bool:
        """Whether the prompts have log-probabilities."""
        return self.echo and self.logprobs is not None

    @property
    def prompt_tokens(self) -> int:
        """Number of tokens of all prompts."""
        return sum(len(each.ids) for each in self.prompts)


def plan_of(body: CompletionRequest, server: Server, served: Served, scope: str) -> Plan:
    """Return the plan of a body. It encodes the prompts, which takes time.

    Args:
        body: the body.
        server: the limits.
        served: the bundle that the body names.
        scope: scope in which the beginnings of prompts are shared.

    Raises:
        Refused: a field does not fit the bundle or is beyond a limit.
        InvalidInput: a setting of the draw does not fit the model.
    """
    tokenizer, engine = _text_of(served)
    n, tokens = _counts(body, server)
    sampling = body.sampling()
    _check_draw(body, engine, sampling, tokens)
    data = served.manifest.data
    limit = min(data.length, server.settings.prompt or data.length)
    single = len(body.prompt) == 1
    prompts = [
        read_prompt("prompt" if single else f"prompt.{i}", each, served.manifest, tokenizer, limit)
        for i, each in enumerate(body.prompt)
    ]
    if tokens and any(len(each.values) == data.length for each in prompts):
        raise Refused(
            400,
            f"prompt: expected at most {data.length - 1} tokens, got {data.length}, the context of "
            f"the model, after which no token can be drawn; shorten it, or pass max_tokens=0 with "
            f"echo",
            param="prompt",
        )
    seed = new_seed() if body.seed is None else body.seed % 2**64
    rows = (each for each in prompts for _ in range(n)) if tokens else ()
    requests = [
        Request(
            each.values,
            seed=seed,
            index=index,
            sampling=sampling,
            max_new=tokens,
            stop=() if body.ignore_eos else None,
            stop_text=body.stop,
            prompt_log_p=False,
            logprobs=body.logprobs or 0,
            prefix_scope=scope,
        )
        for index, each in enumerate(rows)
    ]
    return Plan(
        id=f"cmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        served=served,
        engine=engine,
        tokenizer=tokenizer,
        prompts=prompts,
        n=n,
        requests=requests,
        seed=seed,
        echo=bool(body.echo),
        logprobs=body.logprobs,
        log_q=bool(body.log_q),
    )


def _text_of(served: Served) -> tuple[Tokenizer, AutoregressiveEngine]:
    """Return the tokenizer and the engine of a bundle.

    Raises:
        Refused: the bundle has no text, or its text has classes that the body cannot name; or the
            engine is not open.
    """
    manifest = served.manifest
    if served.tokenizer is None:
        raise Refused(
            400,
            f"model: bundle {served.name!r} has no tokenizer, so it cannot complete text; use "
            f"/v1/ancestral/sample, or the inference protocol at /v2",
            code="no_text",
            param="model",
        )
    if manifest.data.num_classes is not None and not manifest.label_optional:
        raise Refused(
            400,
            f"model: bundle {served.name!r} needs a class for each text, which a completion does "
            f"not have; use /v1/ancestral/sample",
            code="needs_label",
            param="model",
        )
    return served.tokenizer, served.autoregressive()


def _counts(body: CompletionRequest, server: Server) -> tuple[int, int]:
    """Return the choices of each prompt, and the tokens of each choice.

    Raises:
        Refused: there are too many choices, they would be ranked, or nothing is asked for.
    """
    n, most = body.n or 1, server.settings.n
    if n > most:
        raise Refused(400, f"n: expected at most {most}, got {shown(n)}", param="n")
    if body.best_of not in (None, n):
        raise Refused(
            400,
            f"best_of: expected n = {n} or null, as choices are not ranked, got "
            f"{shown(body.best_of)}",
            param="best_of",
        )
    server.check_rows(len(body.prompt) * n, "prompt")
    tokens = _TOKENS if body.max_tokens is None else body.max_tokens
    if not tokens and not body.echo:
        raise Refused(400, "max_tokens: expected 1 or more without echo, got 0", param="max_tokens")
    return n, tokens


def _check_draw(
    body: CompletionRequest, engine: AutoregressiveEngine, sampling: Sampling, tokens: int
) -> None:
    """Check that the bundle can draw with these settings, and return these log-probabilities.

    Raises:
        Refused: the bundle does not have a graph that is needed.
        InvalidInput: the model has no such values, or its likelihood has no logits.
    """
    k = alternatives.checked(body.logprobs or 0, engine.data.levels)
    sampling.check(engine.data.levels)
    if tokens:
        check_sampling(engine, sampling, k)
    if body.echo and body.logprobs is not None:
        check_graphs(engine, top.GRAPH if k else LOG_PROB)
