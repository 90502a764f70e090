"""The page as a whole: keyboard, keys, errors, verify, contrast, narrow screens."""

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ancestral.serve.keys import Keys
from tests.browser.conftest import Open, choose, draw, wait_for
from tests.serve.conftest import Running, Serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
KEY = "0123456789abcdef"


def tab_to(page: "Page", selector: str) -> None:
    """Press the tabulator until an element has the focus, which must be visible."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            style = "getComputedStyle(document.activeElement)"
            assert page.evaluate(f"{style}.outlineStyle") == "solid"
            return
    raise AssertionError(f"{selector} cannot be reached with the tabulator")


def test_all_of_it_by_keyboard(running: Running, visit: Open) -> None:
    page = visit(running, "tiny")
    tab_to(page, "#n")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "Drew 2 samples")
    tab_to(page, "#grid .tile")
    page.keyboard.press("Enter")
    wait_for(page, "#event-nats", "bits/dim")
    tab_to(page, "#canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("2")
    assert page.inner_text("#cell") == "Row 1, column 1: 2"
    page.keyboard.press("Space")
    assert page.inner_text("#cell") == "Row 1, column 1: free"
    wait_for(page, "#event-nats", "1 of 9 values are free")
    for _ in range(4):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("0")
    assert page.inner_text("#cell") == "Row 0, column 1: 0"
    tab_to(page, "#complete button:not([type])")
    page.keyboard.press("Enter")
    wait_for(page, "#status", "Completed")
    tab_to(page, "#completions .tile")
    tab_to(page, "#verify")


@pytest.mark.parametrize("bundle", ["tiny", "bernoulli"])
def test_the_process_is_verified(running: Running, visit: Open, bundle: str) -> None:
    page = visit(running, bundle)
    page.click("#verify")
    wait_for(page, "#parity-words", "onnxruntime on cpu, float32: passed")
    assert page.is_enabled("#verify")
    assert page.locator("#parity tbody tr").count() >= 7
    words = page.inner_text("#parity")
    assert "unexplained" in words
    assert "NaN" not in words
    assert "undefined" not in words


def test_errors_are_in_words(running: Running, visit: Open) -> None:
    page = visit(running, "tiny", expected="400")
    page.select_option("#label", "")
    page.click("#draw button:not([type])")
    wait_for(page, "#error", "label")
    assert page.get_attribute("#error", "role") == "alert"
    page.select_option("#label", "turn")
    draw(page, 1, 0)
    assert page.inner_text("#error") == ""


def test_a_server_that_stopped(serve: Serve, visit: Open) -> None:
    running = serve("tiny")
    page = visit(running, "tiny", expected="ERR_CONNECTION_REFUSED")
    draw(page, 1, 0)
    running.__exit__()
    page.click("#draw button:not([type])")
    wait_for(page, "#error", "The server does not answer")


def test_a_key_is_asked_for_and_not_stored(serve: Serve, visit: Open) -> None:
    running = serve("tiny", keys=Keys((KEY,)))
    page = visit(running, "tiny", expected="401")
    wait_for(page, "#error", "Authorization")
    assert page.evaluate("document.activeElement.id") == "key"
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    wait_for(page, "#error", "Authorization")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    wait_for(page, "#facts", "autoregressive")
    assert page.is_hidden("#key-form")
    draw(page, 1, 0)
    stored = "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])"
    assert KEY not in page.evaluate(stored)


_CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  const rgb = (colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = (colour) => rgb(colour).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => { const own = getComputedStyle(element).backgroundColor;
    return own === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : own; };
  return [...document.querySelectorAll("body *")]
    .filter((each) => each.checkVisibility() && !each.disabled
      && [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((each) => { const pair = [light(getComputedStyle(each).color), light(ground(each))];
      const contrast = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
      return [each.outerHTML.slice(0, 80), contrast]; });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read(running: Running, visit: Open, scheme: str) -> None:
    """Every text has the contrast of 4.5 that the guidelines for accessibility ask for."""
    page = visit(running, "text", color_scheme=scheme)
    page.fill("#prompt", "the cat sat")
    page.click("#score")
    wait_for(page, "#text-total", "nats")
    found = page.evaluate(_CONTRAST)
    assert len(found) > 30
    assert [each for each in found if each[1] < 4.5] == []
    brightness = page.evaluate(
        "import('/page/scale.js').then(({ shade }) => [0, 0.25, 0.5, 0.75, 1].map((share) => "
        "shade(share).reduce((sum, v, i) => sum + v * [0.299, 0.587, 0.114][i], 0)))"
    )
    steps = np.diff(brightness) * (1 if scheme == "dark" else -1)
    assert (steps > 20).all(), "colours of nats are not even in lightness"


@pytest.mark.parametrize("bundle", ["tiny", "text", "bernoulli"])
def test_a_narrow_screen_needs_no_scrolling_sideways(
    running: Running, visit: Open, bundle: str
) -> None:
    page = visit(running, bundle, viewport={"width": 320, "height": 600})
    if bundle == "tiny":
        draw(page, 4, 0)
        choose(page, "#grid", 0)
    page.click("#verify")
    wait_for(page, "#parity-words", "passed")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_another_bundle_is_chosen(running: Running, visit: Open) -> None:
    page = visit(running, "tiny")
    wait_for(page, "#facts", "tiny")
    page.select_option("#bundle", "text")
    assert page.is_visible("#text")
    assert page.is_hidden("#images")
    assert page.url.endswith("#text")
    page.reload()
    wait_for(page, "#facts", "text")
    digest = running.server.served["text"].sha256
    assert digest in page.inner_text("#facts")
