"""Relative links in Markdown pages lead to files, anchors to headings; no merge is unfinished."""

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
# A parser with the anchors of GitHub, and of MyST, which builds the site.
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False}).use(anchors_plugin, max_level=6)
TARGETS = {"a": "href", "img": "src"}


class Attributes(HTMLParser):
    """Targets of links and images in HTML, and its anchors."""

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
    """Yield the tokens of a page, including those within lines."""
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def html(text: str) -> Attributes:
    """Return the links and anchors in the HTML of a page."""
    return Attributes(
        "".join(each.content for each in tokens(text) if each.type.startswith("html"))
    )


def links(text: str) -> list[str]:
    """Return the targets of links and images in a page, without other sites."""
    found = [str(each.attrGet("href") or each.attrGet("src") or "") for each in tokens(text)]
    found = [link for link in [*found, *html(text).links] if link]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page, from its headings and its HTML."""
    text = page.read_text()
    headings = {str(each.attrGet("id")) for each in tokens(text) if each.type == "heading_open"}
    return headings | html(text).anchors


def broken(page: Path) -> Iterator[str]:
    """Yield the broken links of a page."""
    for link in links(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_are_not_broken(page: Path) -> None:
    assert list(broken(page)) == []


def test_no_markers_of_a_merge_are_left() -> None:
    """git writes them where two branches changed the same lines."""
    marker = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    assert [page.name for page in PAGES if marker.search(page.read_text())] == []


def test_pages_have_links() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "docs/own-model.md", "docs/index.md"} < names
    assert sum(len(links(page.read_text())) for page in PAGES) > 50


def test_broken_link_is_found(tmp_path: Path) -> None:
    """The planted faults: missing pages and pictures, a heading, a repeated heading."""
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
