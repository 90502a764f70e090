"""The client of OpenAI: completions, streams, log-probabilities of prompts, models, errors."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine
from tests.serve.completions.expected import expected
from tests.serve.conftest import Running

openai = pytest.importorskip("openai")

EngineOf = Callable[[str], AutoregressiveEngine]


@pytest.fixture
def client(running: Running) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_completion(client: Any, engine_of: EngineOf) -> None:
    body = {"prompt": ["the cat", "a dog"], "seed": -5, "n": 2, "max_tokens": 8, "stop": ["e"]}
    answer = client.completions.create(model="text", **body)
    wanted = expected(engine_of("text"), body)
    assert [choice.text for choice in answer.choices] == [each.text for each in wanted]
    assert [choice.finish_reason for choice in answer.choices] == [each.finish for each in wanted]
    assert answer.usage.completion_tokens == sum(len(each.ids) for each in wanted)
    assert answer.seed == 2**64 - 5


def test_stream(client: Any, engine_of: EngineOf) -> None:
    body = {"prompt": [[65, 66], [67]], "seed": 9, "max_tokens": 12}
    chunks = list(
        client.completions.create(
            model="gru", **body, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = ["", ""]
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].text
    wanted = expected(engine_of("gru"), body)
    assert texts == [each.text for each in wanted]
    assert chunks[-1].usage.completion_tokens == sum(len(each.ids) for each in wanted)


def test_likelihood_of_a_text(client: Any, engine_of: EngineOf) -> None:
    """The sum of the numbers of a prompt is its log-probability."""
    engine = engine_of("text")
    ids = engine.tokenizer().encode("one two three")
    answer = client.completions.create(
        model="text", prompt="one two three", max_tokens=0, echo=True, logprobs=1
    )
    nats = answer.choices[0].logprobs
    assert sum(nats.token_logprobs) == pytest.approx(engine.text_likelihood(ids).total, abs=1e-4)
    for token, own, best in zip(nats.tokens, nats.token_logprobs, nats.top_logprobs, strict=True):
        assert best[token] == own


def test_extensions(client: Any, engine_of: EngineOf) -> None:
    body = {"prompt": "a", "seed": 2, "max_tokens": 6}
    extra = {"top_k": 5, "ignore_eos": True}
    answer = client.completions.create(
        model="gru", **body, logprobs=0, extra_body=extra | {"log_q": True}
    )
    (wanted,) = expected(engine_of("gru"), body | extra)
    assert answer.choices[0].logprobs.ids == wanted.ids
    np.testing.assert_allclose(answer.choices[0].logprobs.log_q, wanted.log_q, rtol=0, atol=1e-5)


def test_64_at_the_same_time(running: Running, engine_of: EngineOf) -> None:
    """64 requests, every other one a stream, each with the text of its seed."""

    async def one(client: Any, seed: int) -> str:
        body = {"model": "gru", "prompt": f"request {seed}", "seed": seed, "max_tokens": 20}
        if seed % 2:
            return str((await client.completions.create(**body)).choices[0].text)
        stream = await client.completions.create(**body, stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    async def every() -> list[str]:
        url = f"{running.url}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, seed) for seed in range(64)))

    texts = asyncio.run(every())
    for seed, text in enumerate(texts):
        body = {"prompt": f"request {seed}", "seed": seed, "max_tokens": 20}
        assert text == expected(engine_of("gru"), body)[0].text
    running.idle()


def test_models(client: Any, running: Running) -> None:
    found = list(client.models.list())
    assert [each.id for each in found] == list(running.server.served)
    assert client.models.retrieve("gru").owned_by == "ancestral"
    with pytest.raises(openai.NotFoundError, match="expected one of the bundles text"):
        client.models.retrieve("gpt-5")


def test_errors(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="best_of: expected n") as caught:
        client.completions.create(model="gru", prompt="a", best_of=3)
    assert caught.value.param == "best_of"
    with pytest.raises(openai.NotFoundError, match="gpt-5"):
        client.completions.create(model="gpt-5", prompt="a")
