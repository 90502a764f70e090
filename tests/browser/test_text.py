"""Texts: continued, scored and stopped; the numbers are those of the engine."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine
from tests.browser.conftest import NEAR, Open, wait_for
from tests.browser.pixels import numbers
from tests.serve.conftest import Running, Serve
from tests.tamper import add_file, copied

pytestmark = pytest.mark.browser


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


def test_what_is_drawn_after_a_text_that_loses_blanks(
    serve: Serve, visit: Open, texts: Callable[[str], Path], tmp_path: Path
) -> None:
    """The text of the tokens may be shorter than the prompt that was typed."""
    bundle = copied(texts("gru"), tmp_path)
    table = "".join(f"w{i}\n" for i in range(256))
    add_file(bundle, "vocab.txt", table.encode(), tokenizer="words")
    page = visit(serve(bundle), bundle.name)
    page.fill("#prompt", "w1      w2        w3")
    page.fill("#tokens", "4")
    page.click("#text-continue")
    wait_for(page, "#status", "Drew")
    assert page.locator("#token-list [role=option]:not(.drawn)").count() == 3
    assert page.locator("#token-list .drawn").count() >= 1
