"""Each error says what is wrong, where, what was expected and what to do: one table of all texts.

The forms are those of CONTRIBUTING.md, "Writing".
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from .errors import PARTS, PROBLEM, Template, templates, templates_of
from .rules import RULES

ROOT = Path(__file__).parents[2]
LONGEST = 250
"""Most characters of a message, without its computed pieces."""
NO_FIX = {
    "not a valid ONNX file:": "a line of the report on a bundle, whose first line says what to do",
    "altered or truncated (its SHA-256": "the end of `not a valid training state (...); delete it`",
    "{source}: ": "pydantic's words say which values a field of a data description may have",
    "{self.path}: this {self._what} is not supported:": "each line of the report is an expectation",
}
"""Beginnings of messages that do not say what to do, each with the reason."""

_VERBS = """
    add call change check choose compile compute convert copy correct crop cut decrypt delete
    download export fill free give install keep leave list load lower make merge move name open
    pass put register remove rename report run save scatter set shift shorten start store take
    trace train try unset update use write
"""
_VERB = rf"({'|'.join(_VERBS.split())})\b"
_PIECE = re.compile(r"\{[^{}]*(\{[^{}]*\}[^{}]*)*\}")
_CLAUSES = re.compile(r"; |(?<![. ])\. (?=[A-Z`])")
_DO = re.compile(
    rf"(; |\n|: |, (or|and|so) |; (for|if|in|where|at|on) [^;:]*[,:] |; [^;]*, so ){_VERB}"
    r"|: (pip (un)?install|python -m|ancestral|chmod|git|--\w+)|may contain NaN|is required"
    r"|no such (file|directory)",
)
_ADVICE = re.compile(r"[;:] \{[^{}]*(advice|install|_command)[^{}]*\}$|: \{ways\}$")
_PASSED_ON = re.compile(r"[:,] X$")
_EXPECTED = re.compile(r"\bexpected\b|\bonly used with\b|\bneeded, .* available\b")
_PLACE = re.compile(r"[`\w\[({'\".*)}\]/ -]{0,60}[:,]|X\b")
_SENTENCE = re.compile(
    r"\b(is|are|has|have|had|needs?|can|cannot|does|no|not|was|runs?|compiles|takes|changes|copies"
    r"|writes|gave|raised|sees|refuses|passed|breaks|fits?)\b"
)
_INTERNAL = re.compile(
    r"\b(engine|train|export|triton_kernels|src|bundles|cli)/|\w\.py\b|\bat 0x"
    r"|\bancestral\.(?!triton_kernels\.recurrence)\w+\.\w+"
)
_OBJECT = re.compile(r"\{(model|config|product|program|node|self)(!r)?\}")
_FORMS = (
    (r"cannot be read(?! \(| as [\w .]+ \()", "path: cannot be read (REASON); WHAT TO DO"),
    (r"needs? (?!.*\b(packages?|newer|no)\b).*: pip|not installed", "X needs the y package: pip"),
    (r"(?i:no such file) or|does not exist|not found", "path: no such file"),
    (r"SHA-256 (differs|is not)|hash", "altered (its SHA-256 does not match)"),
    (r"(?i)\b(invalid|illegal|wrong|unsupported) (argument|value|option)|must be", "expected"),
    (r"\bexpected\b.*\bbut (got|is|was)\b", "expected WHAT, got VALUE"),
)
"""Words for a kind of fault that has another form, and this form."""


def masked(text: str) -> str:
    """Return a template with X for each computed piece."""
    return _PIECE.sub("X", text)


def phrases(each: Template) -> str | None:
    text = masked(each.text)
    for rule in RULES:
        if words := rule.found(text):
            return f"{words!r}: write {rule.instead}"
    found = re.search(r"\bof which\b|\bgot (none|nothing)\b", text)
    return f"{found.group()!r}: say what is missing" if found else None


def forms(each: Template) -> str | None:
    for words, form in _FORMS:
        if found := re.search(words, masked(each.text)):
            return f"{found.group()!r}: write {form!r}"
    return None


def length(each: Template) -> str | None:
    # The lines of a report, and what is in parentheses, are not parts of the sentence.
    sentence = re.sub(r"\([^()]*\)", "", masked(each.text).partition(":\n")[0])
    clauses = len(_CLAUSES.split(sentence))
    if clauses > 2:
        return f"{clauses} sentences or clauses, at most 2"
    fixed = len(_PIECE.sub("", each.text))
    return f"{fixed} characters, at most {LONGEST}" if fixed > LONGEST else None


def ending(each: Template) -> str | None:
    wrong = re.search(r"(?<!\.\.)[.!;:,]$", masked(each.text).rstrip())
    return f"ends with {wrong.group()!r}" if wrong else None


def beginning(each: Template) -> str | None:
    """Check that a message begins with a place or a sentence; parts of messages need neither."""
    first = _CLAUSES.split(masked(each.text))[0]
    if each.kind in {*PARTS, PROBLEM} or _PLACE.match(first) or _SENTENCE.search(first):
        return None
    return "begins neither with a place nor with a sentence"


def internals(each: Template) -> str | None:
    found = _INTERNAL.search(masked(each.text)) or _OBJECT.search(each.text)
    return f"{found.group()!r}: an internal" if found else None


def what_to_do(each: Template) -> str | None:
    """Check that a message says what to do; of arguments an expectation says it."""
    if each.kind in {*PARTS, PROBLEM} or any(each.text.startswith(text) for text in NO_FIX):
        return None
    text = masked(each.text)
    argument = each.kind in {"InvalidInput", "ExportError", "ParityError"} or text[:1] != "X"
    expected = argument and each.kind not in {"BackendUnavailable", "PlanError"}
    passed_on = each.text.endswith("{error}") and _PASSED_ON.search(text)
    if (
        _DO.search(text)
        or _ADVICE.search(each.text)
        or (expected and _EXPECTED.search(text))
        or (passed_on and not _SENTENCE.search(text))
    ):
        return None
    return "does not say what to do"


CHECKS: tuple[Callable[[Template], str | None], ...] = (
    phrases, forms, length, ending, beginning, internals, what_to_do,
)  # fmt: skip


def wrong(found: list[Template]) -> list[str]:
    """Return a message for each rule that a template breaks; one without words breaks none."""
    return [
        f"{each}\n    {check.__name__}: {problem}"
        for each in found
        if re.search(r"[a-z]{2}", masked(each.text))
        for check in CHECKS
        if (problem := check(each))
    ]


@pytest.fixture(scope="module")
def table() -> list[Template]:
    return templates(ROOT)


def test_every_error_has_the_form(table: list[Template]) -> None:
    found = wrong(table)
    assert not found, f"{len(found)} faults in {len(table)} texts:\n" + "\n".join(found)


def test_the_table_has_every_error(table: list[Template]) -> None:
    """Each class of errors has texts, from each folder; a few are known to be hard to find."""
    assert len(table) > 900
    assert {each.file.partition("/")[0] for each in table} == {
        "benchmarks", "engine", "export", "src", "train", "triton_kernels"
    }  # fmt: skip
    texts = {each.text for each in table}
    assert (
        "{file}: not the manifest of a bundle ({reason}); pass the directory of a bundle" in texts
    )
    assert "vocab.txt, line {i + 1}: expected a word without blanks, got {shown(word)}" in texts


@pytest.mark.parametrize("text", NO_FIX)
def test_exemptions(table: list[Template], text: str) -> None:
    """An exemption has a text that would break the rule without it."""
    matching = [each for each in table if each.text.startswith(text)]
    assert any(what_to_do(each._replace(text=f"X {each.text}")) for each in matching)


BAD = {
    phrases: [
        "--out: expected a file, got none",
        "x: 3 events, of which 2 are unlabelled; leave them out",
        "{path}: is no bundle; export the model again",
    ],
    forms: [
        "{path}: cannot be read: {error}; check its permissions",
        "`ancestral train` needs torch: pip install 'ancestral[train]'",
        "{path}: the file does not exist; pass another",
        "k: must be at least 1",
    ],
    length: [
        "{path}: expected 3 bytes, got 2; the file is truncated; download it again",
        "x: expected " + "a very long explanation of what " * 8 + "is needed",
    ],
    ending: ["k: expected an integer >= 1, got {k}.", "{path}: no graph {name!r};"],
    beginning: ["unexpected failure", "bad value ({value})"],
    internals: [
        "x: see engine/inputs.py; pass integers",
        "model: expected a Transformer, got {model!r}",
        "model: expected an ancestral.train.models.Transformer, got {name}",
    ],
    what_to_do: [
        "{path}: not a valid bundle",
        "{path}: cannot be read: {error}",
        "{bundle.path}: expected inputs {expected}, got {got}",
        "device {device!r}: PyTorch finds no CUDA GPU",
    ],
}


@pytest.mark.parametrize(("check", "text"), [(c, t) for c, texts in BAD.items() for t in texts])
def test_a_planted_fault_is_found(check: Callable[[Template], str | None], text: str) -> None:
    planted = Template("a.py", 1, "BundleError", text)
    assert check(planted)
    assert check.__name__ in "".join(wrong([planted]))


@pytest.mark.parametrize("kind", ["BackendUnavailable", "PlanError"])
def test_an_expectation_is_not_enough_for_a_backend(kind: str) -> None:
    text = "device: expected a GPU, got {name}"
    assert what_to_do(Template("a.py", 1, kind, text))
    assert not what_to_do(Template("a.py", 1, "InvalidInput", text))
    assert not what_to_do(Template("a.py", 1, kind, f"{text}; pass device 'cpu'"))


FIRST = """
from other import ADVICE, value_of


def check(path, n, kind):
    if n < 1:
        raise InvalidInput(f"n: expected an integer >= 1, got {n}")
    got = "a folder" if n else f"{n} files"
    if n > 3:
        raise BundleError(f"{path}: expected a file, got {got}; {ADVICE}") from None
    text = f"{path}: truncated"
    text += "; download it again"
    _refuse(path, "not a graph; export it again")
    raise kind(text)


def _refuse(path, what):
    error = PlanError(f"{path}: {what} ({value_of(path)})")
    raise error


def problems(n):
    return [f"n: expected 3 things, got {n:.3g}"]
"""
SECOND = """
ADVICE = "export the " + "model again"


def value_of(value):
    return f"a value of {type(value)}" if value else str(value)


def usage():
    raise typer.BadParameter("--out is required")
"""


def test_templates() -> None:
    """Constants, variables, arguments and returned texts are followed, across files."""
    found = templates_of({"first.py": FIRST, "other.py": SECOND})
    assert [(each.file, each.line, each.kind, each.text) for each in found] == [
        ("first.py", 7, "InvalidInput", "n: expected an integer >= 1, got {n}"),
        ("first.py", 10, "BundleError",
         "{path}: expected a file, got a folder; export the model again"),
        ("first.py", 10, "BundleError",
         "{path}: expected a file, got {n} files; export the model again"),
        ("first.py", 13, "PlanError",
         "{path}: not a graph; export it again (a value of {type(value)})"),
        ("first.py", 13, "PlanError", "{path}: not a graph; export it again ({path})"),
        ("first.py", 14, "AncestralError", "{path}: truncated"),
        ("first.py", 14, "AncestralError", "{path}: truncated; download it again"),
        ("first.py", 23, "problem", "n: expected 3 things, got {n:.3g}"),
        ("other.py", 10, "BadParameter", "--out is required"),
    ]  # fmt: skip
