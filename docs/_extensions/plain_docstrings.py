"""Docstrings and signatures as Sphinx shows them.

The docstrings are plain text with names in backticks, in Google's style. Sphinx reads
reStructuredText, where `*b`, `|x|` and `name_` are markup and an indented block is a quotation.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

from docutils import nodes
from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.inspect import stringify_signature
from sphinx.util.typing import stringify_annotation

CODE = re.compile(r"(``?[^`]+``?)")
MARKUP = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
RUNNER = re.compile(r"^ +runner: ")
NAPOLEON = Config(napoleon_use_ivar=True, napoleon_use_rtype=False, napoleon_attr_annotations=False)

ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
ARRAY = re.compile(r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[([\w.~]+)\]\]")


def escaped(line: str) -> str:
    r"""Return a line with the characters escaped that are markup, outside of backticks.

    >>> print(escaped("`*b` and *b: |x|"))
    `*b` and \*b: \|x\|
    """
    parts = CODE.split(line)
    parts[::2] = [MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def plain(lines: list[str]) -> Iterator[str]:
    """Yield the lines of a docstring: text escaped, indented blocks and doctests as they are.

    An indented block follows an empty line; the indented lines of a section such as "Args:" do not.
    """
    literal, last, empty = False, "", True
    for line in lines:
        indented = line.startswith(" ")
        if not line.strip():
            empty = True
        else:
            if empty:
                block = indented and not last.startswith(" ")
                if block:
                    yield from ("::", "")
                literal = block or (literal and indented) or line.lstrip().startswith(">>>")
            last, empty = line, False
        yield line if literal else escaped(line)


def rewrite(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Rewrite a docstring in place."""
    if what == "method":
        # A function of the engine is a method there, and its first argument is self.
        lines[:] = [line for line in lines if not RUNNER.match(line)]
    lines[:] = plain(lines)
    # Napoleon would read the first words of a property, up to a colon, as its type.
    if what not in {"attribute", "data", "property"}:
        lines[:] = GoogleDocstring(lines, NAPOLEON, app, what, name, obj, options).lines()


def shorten(
    app: Sphinx, what: str, name: str, obj: Any, options: object, signature: str | None, result: str
) -> tuple[str | None, str]:
    """Return a signature with the names of numpy's types, and without the limits of fields."""
    if what == "class" and signature and "Annotated[" in signature:
        hints, whole = get_type_hints(obj), inspect.signature(obj)
        given = [each.replace(annotation=hints[n]) for n, each in whole.parameters.items()]
        signature = stringify_signature(
            whole.replace(parameters=given),
            show_return_annotation=False,
            unqualified_typehints=True,
        )
    texts = (
        text
        and ARRAY.sub(
            r"~numpy.typing.NDArray[\1]",
            text.replace(ARRAY_LIKE, "~numpy.typing.ArrayLike").replace("<factory>", "..."),
        )
        for text in (signature, result)
    )
    return next(texts), next(texts)


def dash(app: Sphinx, doctree: nodes.document) -> None:
    """Put a dash between a parameter and its description; `smartquotes` is off."""
    for text in doctree.findall(nodes.Text):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))  # noqa: RUF001


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", shorten)
    app.connect("doctree-read", dash)
    return {"parallel_read_safe": True}
