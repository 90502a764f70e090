"""Images: what is drawn, painted, completed and explained is what the engine says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import AutoregressiveEngine
from ancestral.sampling import Sampling
from tests.browser.conftest import NEAR, Open, choose, draw, wait_for
from tests.browser.pixels import colours, greys, numbers
from tests.conftest import Load
from tests.serve.conftest import Running

pytestmark = pytest.mark.browser


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


def test_an_image_that_is_none(running: Running, visit: Open, tmp_path: Path) -> None:
    (tmp_path / "words.png").write_text("no image")
    page = visit(running, "tiny")
    page.set_input_files("#image-file", tmp_path / "words.png")
    wait_for(page, "#error", "words.png: expected an image")


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
