"""Take the pictures of the page in docs: python -m tests.browser.screenshots DIGITS TEXT VAE.

The arguments are bundles of `make demo`, and of a text. It needs what `make test-browser` needs.
"""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ancestral.serve.settings import Settings
from tests.browser.conftest import chromium, wait_for
from tests.serve.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
_COLOURS = 128
WIDTH = 1150
PROMPT = "In the morning the old sailor"


def digits(page: "Page") -> None:
    page.fill("#n", "10")
    page.click("#draw button:not([type])")
    page.wait_for_selector("#grid .tile")
    page.locator("#grid .tile").nth(8).click()
    wait_for(page, "#status", "Computed log p")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    step = box["width"] / 8
    for row in (2.5, 3.5, 4.5):
        page.mouse.move(box["x"] + 1.5 * step, box["y"] + row * step)
        page.mouse.down()
        page.mouse.move(box["x"] + 6.5 * step, box["y"] + row * step, steps=12)
        page.mouse.up()
    page.click("#complete button:not([type])")
    page.wait_for_selector("#completions .tile")
    page.locator("#completions .tile").nth(1).click()
    wait_for(page, "#status", "Computed log p")


def text(page: "Page") -> None:
    page.fill("#prompt", PROMPT)
    page.fill("#tokens", "160")
    page.fill("#text-seed", "2")
    page.click("#text-continue")
    wait_for(page, "#status", "Drew")
    page.locator("#token-list span").nth(len(PROMPT) + 12).hover()


def vae(page: "Page") -> None:
    page.fill("#latent-seed", "3")
    page.click("#latent-form button:not([type])")
    wait_for(page, "#status", "Drew")
    page.click("#verify")
    page.wait_for_selector("#parity tbody tr")


SHOWN = {"digits": digits, "text": text, "vae": vae}


def shoot(folder: Path, paths: list[Path], scheme: str = "light") -> None:
    """Write a picture for each bundle: digits, text and VAE."""
    with Running(paths, Settings()) as running, chromium() as browser:
        for (name, show), path in zip(SHOWN.items(), paths, strict=True):
            page = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme=scheme)
            page.goto(f"{running.url}/#{path.name}")
            page.wait_for_selector("#facts div")
            show(page)
            # The footer stays at the end of the window, which is therefore as high as the page.
            height = page.evaluate("document.documentElement.scrollHeight")
            page.set_viewport_size({"width": WIDTH, "height": height})
            picture = Image.open(io.BytesIO(page.screenshot()))
            small = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
            small.save(folder / f"serving-{name}.png", optimize=True)
            page.close()


if __name__ == "__main__":
    shoot(DOCS, [Path(each) for each in sys.argv[1:]])
