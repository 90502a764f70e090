"""Take the pictures of the page in docs: python -m tests.browser.screenshots DIGITS TEXT VAE.

The arguments are bundles of `make demo`, and of a text. It needs what `make test-browser` needs.
"""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ancestral.serve.settings import Settings
from tests.browser.conftest import chromium
from tests.serve.conftest import Running

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).resolve().parents[2] / "docs"
_COLOURS = 128
PROMPT = "In the morning the old sailor"


def digits(page: "Page") -> None:
    page.fill("#n", "20")
    page.click("#draw button:not([type])")
    page.wait_for_selector("#grid .tile")
    page.locator("#grid .tile").nth(8).click()
    page.wait_for_function("document.getElementById('status').innerText === 'Computed log p'")
    page.click("#erase-half")
    page.click("#complete button:not([type])")
    page.wait_for_selector("#completions .tile")
    page.locator("#completions .tile").nth(1).click()
    page.wait_for_function("document.getElementById('status').innerText === 'Computed log p'")


def text(page: "Page") -> None:
    page.fill("#prompt", PROMPT)
    page.fill("#tokens", "160")
    page.fill("#text-seed", "2")
    page.click("#text-continue")
    page.wait_for_function("document.getElementById('status').innerText.startsWith('Drew')")
    page.locator("#token-list span").nth(len(PROMPT) + 12).hover()


def vae(page: "Page") -> None:
    page.fill("#latent-seed", "3")
    page.click("#latent-form button:not([type])")
    page.wait_for_function("document.getElementById('status').innerText.startsWith('Drew')")
    page.click("#verify")
    page.wait_for_selector("#parity tbody tr")


SHOWN = {"digits": digits, "text": text, "vae": vae}


def shoot(folder: Path, paths: list[Path], scheme: str = "light") -> None:
    """Write a picture for each bundle: digits, text and VAE."""
    with Running(paths, Settings()) as running, chromium() as browser:
        for (name, show), path in zip(SHOWN.items(), paths, strict=True):
            page = browser.new_page(
                viewport={"width": 900, "height": 700}, color_scheme=scheme, device_scale_factor=1
            )
            page.goto(f"{running.url}/#{path.name}")
            page.wait_for_selector("#facts div")
            show(page)
            picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
            small = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
            small.save(folder / f"serving-{name}.png", optimize=True)
            page.close()


if __name__ == "__main__":
    shoot(DOCS, [Path(each) for each in sys.argv[1:]])
