"""Requests of the text toy, and what a stream returned for each."""

from collections.abc import Iterator
from typing import Any

from ancestral.engine import Request


def requests(n: int, **options: Any) -> Iterator[Request]:
    """Return requests with prompts and indices of their own, which no value stops."""
    return (Request([1 + i], index=i, seed=4, stop=(), **options) for i in range(n))


def joined(deltas: Any) -> dict[int, tuple[list[int], str, str]]:
    """Return the values and the text of each request, and why it ended."""
    values: dict[int, list[int]] = {}
    texts: dict[int, str] = {}
    ended: dict[int, str] = {}
    for delta in deltas:
        assert delta.request not in ended, "a delta after the last one"
        values.setdefault(delta.request, []).extend(delta.values.tolist())
        texts[delta.request] = texts.get(delta.request, "") + (delta.text or "")
        if delta.ended:
            ended[delta.request] = delta.ended
    assert ended.keys() == values.keys()
    return {i: (values[i], texts[i], ended[i]) for i in sorted(values)}
