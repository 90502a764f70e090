"""Latents: decoded, reconstructed and bounded, as by the engine."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ancestral.engine import LatentEngine
from tests.browser.conftest import NEAR, Open, wait_for
from tests.browser.pixels import colours, greys, numbers
from tests.conftest import Load
from tests.serve.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


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
