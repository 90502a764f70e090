"""Relative links of the Markdown pages lead to files, and their anchors to headings."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "benchmarks" / "LOG.md",
        ROOT / "tests" / "laws" / "README.md",
    ]
)
# As GitHub reads a page, and as MyST does when it builds the site: anchors by GitHub's rules.
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False}).use(anchors_plugin, max_level=6)
TARGETS = {"a": "href", "img": "src"}


class Attributes(HTMLParser):
    """Where the links and images of HTML lead, and the anchors that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is not None and name == TARGETS.get(tag):
                self.links.append(value)
            if value is not None and name in {"id", "name"}:
                self.anchors.add(value)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a page, those inside of a line too."""
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def html(text: str) -> Attributes:
    """What a page has in HTML."""
    return Attributes(
        "".join(each.content for each in tokens(text) if each.type.startswith("html"))
    )


def links(text: str) -> list[str]:
    """Where the links and images of a page lead, without those to other sites."""
    found = [str(each.attrGet("href") or each.attrGet("src") or "") for each in tokens(text)]
    found = [link for link in [*found, *html(text).links] if link]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make, and those in HTML."""
    text = page.read_text()
    headings = {str(each.attrGet("id")) for each in tokens(text) if each.type == "heading_open"}
    return headings | html(text).anchors


def broken(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    for link in links(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_pages_have_links() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/own-model.md", "docs/index.md"} < names
    assert sum(len(links(page.read_text())) for page in PAGES) > 50


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """The planted faults: missing pages and pictures, a heading, a second one of its name."""
    (tmp_path / "there.md").write_text(
        "# A `heading`, for example\n\n## Twice\n\n## Twice\n\n<a id='own'></a>\n\n"
        "```\n# In code\n```\n"
    )
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md), [b](there.md#a-heading-for-example), [c](https://host/x), `[d](code.md)`,\n"
        "![e](gone.png), [f](../gone.md), [g](there.md#another), [h](there.md#twice-1),\n"
        "[i](there.md#twice-2), [j](there.md#own), [k](there.md#in-code), [l][reference],\n"
        '<img src="gone.svg">\n\n    [m](indented.md)\n\n[reference]: elsewhere.md\n'
    )
    assert list(broken(page)) == [
        "gone.png",
        "../gone.md",
        "there.md#another",
        "there.md#twice-2",
        "there.md#in-code",
        "elsewhere.md",
        "gone.svg",
    ]
