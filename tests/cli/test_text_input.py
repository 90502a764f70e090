"""Texts of users: byte order marks, line ends, encodings, characters outside the vocabulary."""

import json
from pathlib import Path

import pytest

from ancestral.cli.text_input import encode_texts, read_lines
from ancestral.errors import InvalidInput
from ancestral.text.coverage import Coverage
from ancestral.text.tokenizer import Words
from tests.tamper import add_file, copied
from tests.tokenizer_toys import bpe, document, with_dropout

from .conftest import Bundles, Cli, refused

TEXT = "the cat sat on the mat and the dog sat on the log " * 2
MARK = b"\xef\xbb\xbf"
MARK_NOTE = "the text begins with a byte order mark (U+FEFF); it is left out"


@pytest.fixture
def bundle(bundles: Bundles) -> Path:
    return bundles("text")


def with_tokenizer(bundle: Path, folder: Path, content: bytes) -> Path:
    """Return a copy of a text bundle with another tokenizer.json."""
    copy = copied(bundle, folder)
    add_file(copy, "tokenizer.json", content, tokenizer="tokenizers")
    return copy


@pytest.fixture
def letters(bundle: Path, tmp_path: Path) -> Path:
    """A bundle whose vocabulary is a few letters, without an unknown token: others are left out."""
    return with_tokenizer(
        bundle, tmp_path, json.dumps(document(bpe(list("abc "), fuse_unk=False))).encode()
    )


@pytest.fixture
def words(bundles: Bundles, tmp_path: Path) -> Path:
    copy = copied(bundles("llama"), tmp_path)
    add_file(copy, "vocab.txt", b"the\ncat\nsat\n<unk>\n", tokenizer="words")
    return copy


def lines(text: str) -> list[str]:
    """Return the printed lines but the last, which is the summary."""
    return text.splitlines()[:-1]


def test_info_lists_settings_switched_off(
    cli: Cli, bundle: Path, bundles: Bundles, tmp_path: Path
) -> None:
    """`info` lists the settings of the tokenizer that are ignored; its file is not changed."""
    copy = with_tokenizer(bundle, tmp_path, with_dropout(0.3))
    settings = ["dropout 0.3", "truncation", "padding"]
    shown = cli("info", "--check", copy)
    assert shown.code == 0, shown.err
    assert f"tokenizers, ends at 0; switched off: {', '.join(settings)}\n" in shown.out
    assert json.loads(cli("info", copy, "--json").out)["tokenizer_off"] == settings
    assert (copy / "tokenizer.json").read_bytes() == with_dropout(0.3)
    assert json.loads(cli("info", bundles("llama"), "--json").out)["tokenizer_off"] == []


def test_nothing_is_random(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    copy = with_tokenizer(bundle, tmp_path, with_dropout(0.3))
    (tmp_path / "text.txt").write_text(TEXT)
    expected = cli("log-prob", bundle, "--text", tmp_path / "text.txt")
    assert expected.code == 0, expected.err
    assert cli("log-prob", copy, "--text", tmp_path / "text.txt").out == expected.out
    options = ("--prompt", "the cat sat on", "--max-new", 4)
    assert cli("sample", copy, *options).out == cli("sample", bundle, *options).out


def test_characters_left_out_are_counted(cli: Cli, letters: Path, tmp_path: Path) -> None:
    result = cli("sample", letters, "--prompt", "ab日c本日", "--max-new", 2)
    assert result.code == 0, result.err
    assert lines(result.err) == [
        "prompt: 3 of 6 characters are not in the vocabulary and are left out: '日', '本'"
    ]
    (tmp_path / "prompts.txt").write_text("abc\nazb\nxya\nab\n")
    result = cli("sample", letters, "--prompts", tmp_path / "prompts.txt", "--max-new", 2)
    assert lines(result.err) == [
        "prompts 1, 2: 3 of 6 characters are not in the vocabulary and are left out: 'z', 'x', 'y'"
    ]
    (tmp_path / "text.txt").write_text("abc abd")
    result = cli("log-prob", letters, "--text", tmp_path / "text.txt")
    assert result.code == 0, result.err
    assert "1 of 7 characters are not in the vocabulary and are left out: 'd'" in result.err
    assert "do not decode to this text" in result.out
    assert cli("sample", letters, "--prompt", "abc").err.count("\n") == 1


def test_unknown_words_are_counted(cli: Cli, words: Path, tmp_path: Path) -> None:
    result = cli("sample", words, "--prompt", "the dog", "--prompt", "cat", "--max-new", 1)
    assert result.code == 0, result.err
    assert lines(result.err) == [
        "prompt 0: 1 of 2 words are not in the vocabulary and are read as <unk>: 'dog'"
    ]
    (tmp_path / "text.txt").write_text("the dog sat")
    result = cli("log-prob", words, "--text", tmp_path / "text.txt")
    assert "1 of 3 words are not in the vocabulary and are read as <unk>: 'dog'" in result.err
    refused(cli("sample", words, "--prompt", "dog fox"), "prompt: ", "none of the 2 words")


def test_nothing_known_is_refused(cli: Cli, letters: Path, tmp_path: Path) -> None:
    """A text with no known token is refused before anything is drawn, with the prompt's number."""
    refused(cli("sample", letters, "--prompt", "日 本"), "prompt: ", "none of the 3 characters")
    options = ("--prompt", "abc", "--prompt", "xyz")
    refused(
        cli("sample", letters, *options), "prompt 1: ", "none of the 3 characters", "'x', 'y', 'z'"
    )
    (tmp_path / "text.txt").write_text("日本")
    refused(cli("log-prob", letters, "--text", tmp_path / "text.txt"), "--text", "2 characters")
    refused(cli("sample", letters, "--prompt", "a", "--stop", "日"), "--stop", "1 of its 1 char")
    refused(cli("sample", letters, "--prompt", "a", "--stop", "日b"), "--stop", "1 of its 2 char")
    assert cli("sample", letters, "--prompt", "", "--max-new", 1).code == 0


def test_unknown_word_without_an_unknown_token(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    copy = copied(bundles("llama"), tmp_path)
    add_file(copy, "vocab.txt", b"the\ncat\n", tokenizer="words")
    options = ("--prompt", "the", "--prompt", "the dog")
    refused(cli("sample", copy, *options), "prompt 1: text: expected words of vocab.txt", "'dog'")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize(
    "prompts", [["café", "", "the dog"], ["a"], ["", ""], ["a\u2028b\x0b", "\ufeffb"]]
)
def test_marks_and_line_ends(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, prompts: list[str], mark: bytes, end: str
) -> None:
    """Prompts do not depend on the system that wrote the file; a mark is dropped with a note."""
    file = tmp_path / "prompts.txt"
    for last in ("", end) if prompts[-1] else (end,):
        file.write_bytes(mark + (end.join(prompts) + last).encode())
        assert read_lines(file, "--prompts") == prompts
        assert capsys.readouterr().err == (f"--prompts {file}: {MARK_NOTE}\n" if mark else "")


def test_file_from_windows(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(MARK + "café\r\nthe dog\r\n".encode())
    result = cli("sample", bundle, "--prompts", file, "--max-new", 1)
    assert result.code == 0, result.err
    assert lines(result.err) == [f"--prompts {file}: {MARK_NOTE}"]
    plain = cli("sample", bundle, "--prompt", "café", "--prompt", "the dog", "--max-new", 1)
    assert result.out == plain.out


def test_marks_of_prompts_and_texts(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    plain = cli("sample", bundle, "--prompt", "the cat", "--max-new", 2)
    marked = cli("sample", bundle, "--prompt", "\ufeffthe cat", "--max-new", 2)
    assert marked.out == plain.out
    assert lines(marked.err) == [f"--prompt: {MARK_NOTE}"]
    file = tmp_path / "text.txt"
    file.write_bytes(TEXT.encode())
    plain = cli("log-prob", bundle, "--text", file)
    file.write_bytes(MARK + TEXT.encode())
    marked = cli("log-prob", bundle, "--text", file)
    assert marked.out == plain.out
    assert f"{file}: {MARK_NOTE}" in marked.err
    # Elsewhere the mark is an ordinary character, and a text keeps its line ends.
    file.write_bytes(b"the" + MARK + b"cat\r\n")
    assert "of 11 bytes" in cli("log-prob", bundle, "--text", file).out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("the cat\n".encode("utf-16"), "not UTF-8 but UTF-16, by its first bytes; convert it"),
        (b"\xfe\xff" + "the cat\n".encode("utf-16-be"), "not UTF-8 but UTF-16, by its first bytes"),
        ("the cat\n".encode("utf-16-le"), "probably UTF-16: 8 of 16 characters are NUL"),
        ("日本\n".encode("utf-16"), "not UTF-8 but UTF-16"),
        ("the cat\n".encode("utf-32"), "not UTF-8 but UTF-16"),
        (b"caf\xe9\n", "can't decode byte 0xe9 in position 3"),
        (MARK + b"caf\xe9\n", "can't decode byte 0xe9 in position 6"),
    ],
)
def test_other_encodings(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=f"^--prompts .*: (?=not UTF-8).*{sentence}"):
        read_lines(file, "--prompts")


@pytest.mark.parametrize("command", [("sample", "--prompts"), ("log-prob", "--text")])
def test_files_that_are_not_text(
    cli: Cli, bundle: Path, tmp_path: Path, command: tuple[str, str]
) -> None:
    """A file in another encoding, or empty but for a mark, is refused in one line."""
    name, option = command
    file = tmp_path / "text.txt"
    for content, words in (("the".encode("utf-16"), "not UTF-8 but UTF-16"), (MARK, "empty")):
        file.write_bytes(content)
        result = cli(name, bundle, option, file)
        refused(result, option, str(file), words)
        assert len(result.err.splitlines()) == 1 + (content == MARK)


def test_text_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text's ids and its unknown parts are found in one pass."""
    tokenized: list[str] = []
    real = Words._covered

    def covered(self: Words, text: str) -> tuple[list[int], Coverage]:
        tokenized.append(text)
        return real(self, text)

    monkeypatch.setattr(Words, "_covered", covered)
    assert encode_texts(Words("a\nb\n<unk>"), ["a b", "b c"], "prompt") == [[0, 1], [1, 2]]
    assert tokenized == ["a b", "b c"]
