"""Text of a stream: parts of it, held back and cut before a stop text; and stop ids."""

import pytest

from ancestral.engine import AutoregressiveEngine, Request
from ancestral.engine.stop_text import RowText
from ancestral.text.tokenizer import Bytes, Words
from tests.conftest import Load, autoregressive
from tests.engine.streamed import joined, requests
from tests.text_toys import CONTEXT


def test_text_and_stop_ids(text: AutoregressiveEngine) -> None:
    """Text is that of the values without the stop id's; ends are those of `generate`."""
    tokenizer = text.tokenizer()
    prompts = [[1], [2, 3, 4], [7] * 20, [5] * CONTEXT]
    rows = text.generate(prompts, 12, seed=2, stop=range(40))
    found = joined(
        text.stream(
            [
                Request(p, seed=2, index=i, max_new=12, stop=range(40))
                for i, p in enumerate(prompts)
            ],
            2,
        )
    )
    assert {row.ended for row in rows} >= {"stop", "context"}
    for i, row in enumerate(rows):
        values, said, ended = found[i]
        assert (values, ended) == (row.tokens.tolist(), row.ended)
        kept = values[:-1] if ended == "stop" else values
        whole = tokenizer.decode([*prompts[i], *kept])
        assert said == whole[len(tokenizer.decode(prompts[i])) :]


def test_stop_text(text: AutoregressiveEngine) -> None:
    """A text from the middle of a token to the middle of a later one ends the row there."""
    (free,) = joined(text.stream(requests(1))).values()
    values, whole, _ = free
    places = [
        i for i in range(5, len(whole) - 3) if "\N{REPLACEMENT CHARACTER}" not in whole[i : i + 3]
    ]
    stop = whole[places[0] : places[0] + 3]
    ((cut, said, ended),) = joined(text.stream(requests(1, stop_text=["zzzz", stop]))).values()
    assert (said, ended) == (whole[: whole.index(stop)], "stop")
    assert cut == values[: len(cut)]
    assert len(cut) < len(values)
    assert stop in text.tokenizer().decode([1, *cut])
    assert stop not in text.tokenizer().decode([1, *cut[:-1]])


@pytest.mark.parametrize(
    ("tokens", "stops", "parts"),
    [
        ("abcabd", ["abd"], ["", "", "abc", "", "", "", ""]),
        ("abcab", ["abd"], ["", "", "abc", "", "", "ab"]),
        ("xaby", ["by", "ab"], ["x", "", "", ""]),
        ("héé", ["é"], ["h", "", "", ""]),
        ("héx", ["éy"], ["h", "", "", "éx", ""]),
        ("abé", ["b"], ["a", "", ""]),
        ("abc", [], ["a", "b", "c", ""]),
    ],
)
def test_held_back(tokens: str, stops: list[str], parts: list[str]) -> None:
    """Text that may begin a stop text waits; no part of a stop text is ever given away."""
    row, got = RowText(Bytes(), [], stops), []
    for token in Bytes().encode(tokens):
        stopped = row.push(token)
        got.append(row.take())
        if stopped:
            break
    assert [*got, row.finish()] == parts


def test_prompt_is_not_repeated() -> None:
    """Blanks that a decoder drops at a beginning stay; a character that a prompt cuts is whole."""
    row = RowText(Words("a\nb\n"), [0], [])
    row.push(1)
    assert row.take() + row.finish() == " b"
    start, *rest = Bytes().encode("é")
    row = RowText(Bytes(), [97, start], [])
    for token in rest:
        row.push(token)
    assert row.take() == "é"


def test_no_text(text: AutoregressiveEngine, load: Load) -> None:
    assert all(delta.text is None for delta in text.stream(requests(2), text=False))
    ids = autoregressive(load, "llama", "onnxruntime")
    assert all(delta.text is None for delta in ids.stream(requests(2)))
