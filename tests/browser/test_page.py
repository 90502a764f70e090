"""The page in Chromium: what a person sees is what the engine says, by pointer and by keyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.sampling import Sampling
from ancestral.serve.keys import Keys
from tests.browser.conftest import Open, wait_for
from tests.browser.pixels import colours, greys, numbers
from tests.conftest import Load
from tests.serve.conftest import Running, Serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
KEY = "0123456789abcdef"
NEAR = 0.0051
"""Half of the last digit that the page shows, and float32's own error."""


@pytest.fixture(scope="module")
def running(serve: Serve, texts: Callable[[str], Path]) -> Running:
    return serve("tiny", texts("text"), "bernoulli", "codes", "startless")


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    engine = load("tiny", "onnxruntime")
    assert isinstance(engine, AutoregressiveEngine)
    return engine


@pytest.fixture
def bernoulli(load: Load) -> LatentEngine:
    engine = load("bernoulli", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    return engine


def draw(page: "Page", n: int, seed: int) -> None:
    page.fill("#n", str(n))
    page.fill("#seed", str(seed))
    page.click("#draw button:not([type])")
    wait_for(page, "#status", f"Drew {n} samples")


def choose(page: "Page", place: str, index: int) -> None:
    page.locator(f"{place} .tile").nth(index).click()
    wait_for(page, "#event-nats", "bits/dim")
    wait_for(page, "#status", "Computed log p")


def test_samples_are_those_of_the_engine(
    running: Running, visit: Open, tiny: AutoregressiveEngine
) -> None:
    page = visit(running, "tiny")
    draw(page, 6, 3)
    expected = tiny.sample(6, labels=[0, 1] * 3, seed=3)
    tiles = page.locator("#grid .tile")
    assert tiles.count() == 6
    for i in range(6):
        shown = colours(tiles.nth(i).locator("canvas"), 3, 3)
        assert np.array_equal(shown, greys(expected.x[i], 3))
        name = tiles.nth(i).get_attribute("aria-label")
        index, label, log_p, bits = numbers(name)
        assert (index, label) == (i, i % 2)
        assert log_p == pytest.approx(expected.log_prob[i], abs=NEAR)
        assert bits == pytest.approx(-expected.log_prob[i] / (9 * np.log(2)), abs=NEAR)


def test_settings_reach_the_engine(
    running: Running, visit: Open, tiny: AutoregressiveEngine
) -> None:
    page = visit(running, "tiny")
    page.select_option("#label", "1")
    page.fill("#temperature", "0.5")
    page.click("summary")
    page.fill("#top-p", "0.7")
    draw(page, 3, 9)
    sampling = Sampling(temperature=0.5, top_p=0.7)
    expected = tiny.sample(3, labels=1, seed=9, sampling=sampling)
    for i in range(3):
        shown = colours(page.locator("#grid .tile canvas").nth(i), 3, 3)
        assert np.array_equal(shown, greys(expected.x[i], 3))


def test_an_event_is_explained(running: Running, visit: Open, tiny: AutoregressiveEngine) -> None:
    page = visit(running, "tiny")
    draw(page, 2, 1)
    choose(page, "#grid", 1)
    x = tiny.sample(2, labels=[0, 1], seed=1).x[1:]
    bars = page.locator("#classes tbody tr")
    probabilities = np.exp(tiny.classify(x).log_posterior[0])
    shown = [numbers(bars.nth(i).inner_text())[1] for i in range(bars.count())]
    assert shown == pytest.approx(100 * probabilities, abs=0.06)
    assert "label 1" in page.inner_text("#event-nats")
    nats = -tiny.log_prob(x, labels=1, top=1).log_prob[0]
    shade = "shares => import('/page/scale.js').then(({ shade }) => shares.map(shade))"
    expected = np.reshape(page.evaluate(shade, (nats / nats.max()).tolist()), (3, 3, 3))
    assert np.abs(colours(page.locator("#heat"), 3, 3) - expected).max() <= 1
    assert page.inner_text("#heat-legend").endswith("nats")


def test_a_part_is_painted_and_completed(
    running: Running, visit: Open, tiny: AutoregressiveEngine
) -> None:
    page = visit(running, "tiny")
    draw(page, 2, 5)
    choose(page, "#grid", 0)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    third = box["width"] / 3
    page.mouse.move(box["x"] + third / 2, box["y"] + third / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 2.5 * third, box["y"] + third / 2, steps=8)
    page.mouse.up()
    wait_for(page, "#event-nats", "3 of 9 values are free")
    assert page.is_hidden("#heat-figure")
    page.fill("#particles", "16")
    page.click("#complete button:not([type])")
    wait_for(page, "#status", "Completed")
    observed = tiny.sample(2, labels=[0, 1], seed=5).x[0].copy()
    observed[0] = -1
    found = tiny.complete(observed, particles=16, labels=0, seed=5)
    note = numbers(page.inner_text("#completion-note"))
    assert note[0] == pytest.approx(found.log_prob_observed, abs=NEAR)
    tiles = page.locator("#completions .tile")
    assert tiles.count() == 12
    for i in range(12):
        shown = colours(tiles.nth(i).locator("canvas"), 3, 3)
        assert np.array_equal(shown, greys(found.x[found.chosen[i]], 3))
    choose(page, "#completions", 0)
    assert tiles.count() == 12, "a chosen completion keeps the others"


def test_first_values_are_kept_by_a_continuation(
    running: Running, visit: Open, tiny: AutoregressiveEngine
) -> None:
    page = visit(running, "tiny")
    draw(page, 1, 8)
    choose(page, "#grid", 0)
    page.click("#erase-half")
    page.click("#continue")
    wait_for(page, "#status", "continuations")
    x = tiny.sample(1, labels=[0], seed=8).x[0]
    for i in range(12):
        shown = colours(page.locator("#completions canvas").nth(i), 3, 3)
        assert np.array_equal(shown[:1], greys(x[:1], 3))


def test_an_uploaded_image_is_quantised(
    running: Running, visit: Open, tiny: AutoregressiveEngine, tmp_path: Path
) -> None:
    x = np.array([[0, 1, 2], [2, 1, 0], [0, 0, 2]])
    Image.fromarray((x * 127).astype(np.uint8)).save(tmp_path / "given.png")
    page = visit(running, "tiny")
    page.set_input_files("#image-file", tmp_path / "given.png")
    wait_for(page, "#event-nats", "bits/dim")
    best = int(tiny.classify(x[None]).label[0])
    words = page.inner_text("#event-nats")
    assert f"label {best}" in words
    log_p = tiny.log_prob(x[None], labels=best)[0]
    assert numbers(words)[1] == pytest.approx(log_p, abs=NEAR)


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


def test_text_is_continued_and_scored(
    running: Running, visit: Open, texts: Callable[[str], Path]
) -> None:
    engine = AutoregressiveEngine.load(texts("text"), threads=1)
    tokenizer = engine.tokenizer()
    page = visit(running, "text")
    page.fill("#prompt", "the caf\u00e9")
    page.fill("#tokens", "6")
    page.fill("#text-seed", "4")
    page.click("#text-continue")
    wait_for(page, "#status", "Drew")
    (row,) = engine.generate([tokenizer.encode("the caf\u00e9")], max_new=6, seed=4)
    assert page.locator("#token-list .drawn").count() == len(row.tokens)
    assert page.locator("#token-list [role=option]").count() == len(row.prompt) + len(row.tokens)
    totals = numbers(page.inner_text("#text-total"))
    assert totals[0] == pytest.approx(row.prompt_log_p.sum(), abs=NEAR)
    last = page.locator("#token-list .drawn").last
    last.hover()
    shown = page.inner_text("#token-title")
    assert numbers(shown.rpartition(":")[2])[0] == pytest.approx(row.log_p[-1], abs=NEAR)
    rows = page.locator("#alternatives tbody tr")
    percents = [numbers(each.inner_text())[-1] for each in rows.all()]
    # Tokens of one text share a row; the drawn one is added if it is not among the most probable.
    assert 3 <= len(percents) <= 6
    assert percents == sorted(percents, reverse=True)
    assert min(abs(each - 100 * np.exp(row.log_p[-1])) for each in percents) < 0.06
    first = page.locator("#token-list [role=option]").first
    first.focus()
    page.keyboard.press("End")
    assert page.inner_text("#token-title") == shown
    page.keyboard.press("Home")
    assert page.inner_text("#token-title") != shown
    page.click("#adopt")
    whole = tokenizer.decode([*row.prompt, *row.tokens])
    assert page.input_value("#prompt") == whole
    page.fill("#prompt", "the caf\u00e9")
    page.click("#score")
    wait_for(page, "#text-total", "log p of the prompt")
    assert numbers(page.inner_text("#text-total"))[0] == totals[0]
    assert page.locator("#token-list .drawn").count() == 0


def test_a_text_is_stopped(running: Running, visit: Open) -> None:
    page = visit(running, "text")
    page.route("**/v1/completions", lambda route: None)  # an answer that does not come
    page.click("#text-continue")
    wait_for(page, "#status", "Drawing tokens")
    assert page.is_disabled("#text-continue")
    page.click("#text-stop")
    wait_for(page, "#status", "Stopped")
    assert page.is_enabled("#text-continue")
    assert page.is_disabled("#text-stop")
    assert page.inner_text("#error") == ""


def until_decoded(page: "Page", expected: np.ndarray) -> None:
    """Wait until the decoded picture has some colours; a mean may be rounded the other way."""
    for _ in range(100):
        shown = colours(page.locator("#decoded"), *expected.shape[:2])
        if np.abs(shown - expected).max() <= 1:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"expected {expected.tolist()}, got {shown.tolist()}")


def test_latents_move_the_decoded_picture(
    running: Running, visit: Open, bernoulli: LatentEngine
) -> None:
    page = visit(running, "bernoulli")
    wait_for(page, "#first-shown", "0.00")
    page.locator("#first-z").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    page.locator("#second-z").fill("-2")
    z = np.array([[1.5, -2.0]], np.float32)
    expected = greys(bernoulli.decode(z)[1][0], 2)
    until_decoded(page, expected)
    assert page.inner_text("#first-shown") == "1.50"


def test_a_sample_has_a_reconstruction_and_a_bound(
    running: Running, visit: Open, bernoulli: LatentEngine, tmp_path: Path
) -> None:
    page = visit(running, "bernoulli")
    page.fill("#latent-seed", "3")
    page.click("#latent-form button:not([type])")
    wait_for(page, "#status", "Drew a sample")
    x = bernoulli.sample(1, seed=3).x
    assert np.array_equal(colours(page.locator("#event"), 3, 3), greys(x[0], 2))
    reconstruction = colours(page.locator("#reconstruction"), 3, 3)
    assert np.abs(reconstruction - greys(bernoulli.reconstruct(x)[0], 2)).max() <= 1
    check_bound(page, bernoulli, x)
    Image.fromarray(((1 - x[0]) * 255).astype(np.uint8)).save(tmp_path / "inverse.png")
    page.fill("#k", "32")
    page.check("#latent-invert")
    page.set_input_files("#latent-file", tmp_path / "inverse.png")
    wait_for(page, "#status", "Encoded the image")
    assert np.array_equal(colours(page.locator("#event"), 3, 3), greys(x[0], 2))
    check_bound(page, bernoulli, x, k=32)


def check_bound(page: "Page", engine: LatentEngine, x: np.ndarray, k: int = 64) -> None:
    expected = engine.bound(x, k=k, seed=3)
    rows = page.locator("#bound tbody tr td:nth-child(2)")
    elbo, error = numbers(rows.nth(0).inner_text())
    iwae, iwae_error = numbers(rows.nth(1).inner_text())
    assert elbo == pytest.approx(expected.elbo[0], abs=NEAR)
    assert error == pytest.approx(expected.stderr_elbo[0], abs=NEAR)
    assert iwae == pytest.approx(expected.iwae[0], abs=NEAR)
    assert iwae_error == pytest.approx(expected.stderr_iwae[0], abs=NEAR)


def test_codes_are_whole_numbers(running: Running, visit: Open, load: Load) -> None:
    engine = load("codes", "onnxruntime")
    assert isinstance(engine, LatentEngine)
    page = visit(running, "codes", expected="400")
    page.fill("#latent-label", "1")
    page.fill("#latent-seed", "2")
    page.click("#latent-form button:not([type])")
    wait_for(page, "#status", "Drew a sample")
    drawn = engine.sample(1, labels=1, seed=2)
    assert np.array_equal(colours(page.locator("#event"), 4, 4), greys(drawn.x[0], 3))
    z = drawn.z.copy()
    z.reshape(-1)[0] = 3
    page.fill("#first-z", "3")
    until_decoded(page, greys(engine.decode(z)[1][0], 3))
    page.fill("#first-z", "99")
    wait_for(page, "#error", "z: expected")


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


def test_sequences_are_drawn_row_by_row(running: Running, visit: Open, load: Load) -> None:
    """A bundle without a start symbol, whose events are neither images nor text."""
    engine = load("startless", "onnxruntime")
    assert isinstance(engine, AutoregressiveEngine)
    page = visit(running, "startless", expected="400")
    page.click("#draw button:not([type])")
    wait_for(page, "#error", "observed")
    page.click("#free")
    page.focus("#canvas")
    page.keyboard.press("2")
    page.click("#continue")
    wait_for(page, "#status", "continuations")
    assert page.inner_text("#error") == ""
    expected = engine.sample(12, seed=0, observed=[2, -1, -1, -1, -1, -1]).x
    for i in range(12):
        shown = colours(page.locator("#completions canvas").nth(i), 1, 6)
        assert np.array_equal(shown[0], greys(expected[i], 4))


def test_errors_are_in_words(running: Running, visit: Open) -> None:
    page = visit(running, "tiny", expected="400")
    page.select_option("#label", "")
    page.click("#draw button:not([type])")
    wait_for(page, "#error", "label")
    assert page.get_attribute("#error", "role") == "alert"
    page.select_option("#label", "turn")
    draw(page, 1, 0)
    assert page.inner_text("#error") == ""


def test_an_image_that_is_none(running: Running, visit: Open, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    page = visit(running, "tiny")
    page.set_input_files("#image-file", tmp_path / "words.png")
    wait_for(page, "#error", "words.png: expected an image")


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
