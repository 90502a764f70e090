"""Chromium, and pages of a real server in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ancestral.engine import AutoregressiveEngine, LatentEngine
from tests.conftest import Load
from tests.serve.completions.conftest import texts
from tests.serve.conftest import Running, Serve, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

__all__ = ["serve", "texts"]
Open = Callable[..., "Page"]
NEAR = 0.0051
"""Half of the last digit that the page shows, and float32's own error."""


def wait_for(page: "Page", selector: str, words: str) -> None:
    """Wait until an element has some words."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(words, timeout=15_000)


def draw(page: "Page", n: int, seed: int) -> None:
    """Draw samples, and wait for them."""
    page.fill("#n", str(n))
    page.fill("#seed", str(seed))
    page.click("#draw button:not([type])")
    wait_for(page, "#status", f"Drew {n} samples")


def choose(page: "Page", place: str, index: int) -> None:
    """Choose a tile, and wait until the page has explained its event."""
    page.locator(f"{place} .tile").nth(index).click()
    wait_for(page, "#event-nats", "bits/dim")
    wait_for(page, "#status", "Computed log p")


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Start the Chromium of the system, without a window."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "Chromium is not installed: apt-get install chromium, or set CHROMIUM=PATH"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Open]:
    """Return a function that opens the page of a server, at one of its bundles.

    At the end of the test no page may have logged an error (the policy blocked something, or a
    script failed) or have asked another server for anything.
    """
    problems: list[str] = []
    contexts = []

    def visited(running: Running, bundle: str, *, expected: str = "", **options: object) -> "Page":
        """Open the page; console errors that contain `expected` are part of the test."""
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def said(message: "ConsoleMessage") -> None:
            if message.type == "error" and not (expected and expected in message.text):
                problems.append(message.text)

        page.on("console", said)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda sent: (
                None if sent.url.startswith((running.url, "data:")) else problems.append(sent.url)
            ),
        )
        page.goto(f"{running.url}/#{bundle}")
        page.wait_for_selector("#facts div, #key-form:not([hidden])")
        return page

    yield visited
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture(scope="module")
def running(serve: Serve, texts: Callable[[str], Path]) -> Running:
    """A server of a bundle for each part of the page."""
    return serve("tiny", texts("text"), "bernoulli", "codes", "startless")


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    """The engine of images, without a server."""
    engine = load("tiny", "onnxruntime")
    assert isinstance(engine, AutoregressiveEngine)
    return engine


@pytest.fixture
def bernoulli(load: Load) -> LatentEngine:
    """The engine of a VAE, without a server."""
    engine = load("bernoulli", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    return engine
