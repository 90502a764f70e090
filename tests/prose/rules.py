"""Turns of phrase that the project does not use, each with what to write instead."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A turn of phrase to avoid.

    Attributes:
        pattern: a regular expression for one line of prose; case is ignored.
        instead: what to write, for the author.
        bad: an example that the pattern matches.
        good: the example as it should read, which the pattern does not match.
    """

    pattern: str
    instead: str
    bad: str
    good: str

    def found(self, line: str) -> str | None:
        """Return the matching words of a line, or `None`."""
        match = re.search(self.pattern, line, re.IGNORECASE)
        return match.group().strip() if match else None


FIRST_LINE = Rule(
    r"^of\b",
    "a first line that is a full phrase with its subject",
    "Of a bound on validation.",
    "Importance samples per validation bound.",
)
"""The rule for the first lines of docstrings; the others are for every line."""

RULES = (
    Rule(
        r"\bbeside\b",
        "next to, with, compared with, as well as",
        "The weights lie beside the graphs.",
        "The weights are next to the graphs.",
    ),
    Rule(
        r"\btold\b",
        "printed, reported, called with, passed",
        "progress: told each graph.",
        "progress: called with each graph.",
    ),
    Rule(
        r"\bhanded\b",
        "passed, returned, given",
        "The rows are handed to the loop.",
        "The rows are passed to the loop.",
    ),
    Rule(
        r"\bstands? (in|at|on|by|there|apart|together|alone|above|below|under|first|last)\b",
        "is, is in, is at",
        "The table stands in parity.py.",
        "The table is in parity.py.",
    ),
    Rule(
        r"(?<!there )\b(is|are|was|be|got) (?-i:none)\b",
        "is missing, does not exist, is None; name what is required",
        "--out: expected a file, got none",
        "--out is required",
    ),
    Rule(
        r"(?<!there )\b(is|are) no\b(?! (longer|more|less|larger|smaller|higher|lower|worse))",
        "is not a, are not",
        "A string is no number.",
        "A string is not a number.",
    ),
    Rule(
        r"\bof which (\d+|one|two|three|some|most|all|none|nothing|only|the)\b",
        "a sentence of its own",
        "100 samples, of which 3 are near ties.",
        "100 samples; 3 of them are near ties.",
    ),
    Rule(
        r"\bas there\b(?! (is|are)|$)",
        "as in the function that is meant, by its name",
        "seed: as there.",
        "seed: as in `sample`.",
    ),
    Rule(
        r"\bnobody\b",
        "a sentence that says what happens",
        "The row is nobody's.",
        "The row is discarded.",
    ),
    Rule(
        r"(, say\b(?! (why|how|what|which|so|that))|\bsay[,;)])",
        "for example",
        "a batch of 8, say",
        "for example a batch of 8",
    ),
    Rule(
        r"\b(?<!let )(?<!leave )(?<!left )(?<!stand-)(?-i:alone)\b",
        "only",
        "The first row alone is drawn.",
        "Only the first row is drawn.",
    ),
    Rule(
        r"\band the like\b",
        "the full list, or for example",
        "labels, prompts and the like",
        "for example labels and prompts",
    ),
)
