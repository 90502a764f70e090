"""The page: its files, their types and headers, and what they may refer to."""

import re
from importlib.resources import files

import pytest

from ancestral.serve import page
from ancestral.serve.keys import Keys
from tests.serve.conftest import Running, Serve

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
FOLDER = files("ancestral.serve") / "page"
SCRIPTS = [name for name in page.FILES if name.endswith(".js")]


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    """A server with keys: the page must arrive without one."""
    return serve("tiny", keys=Keys(("0123456789abcdef",)))


def content(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_every_file_is_listed() -> None:
    assert sorted(page.FILES) == sorted(each.name for each in FOLDER.iterdir())


@pytest.mark.parametrize("name", ["", *page.FILES])
def test_a_file_is_served(running: Running, name: str) -> None:
    answer = running.http.get(f"/page/{name}" if name else "/")
    name = name or page.INDEX
    kind = TYPES[name.rpartition(".")[2]]
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == content(name)
    again = running.http.get(answer.url.path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = running.http.get(answer.url.path, headers={"if-none-match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize("name", ["page.py", "nope.js", "..%2fapp.py", "%2e%2e/app.py"])
def test_no_other_file_is_served(running: Running, name: str) -> None:
    headers = {"authorization": "Bearer 0123456789abcdef"}
    answer = running.http.get(f"/page/{name}", headers=headers)
    assert answer.status_code == 404
    assert "create_app" not in answer.text


def test_the_policy_allows_only_this_server(running: Running) -> None:
    policy = running.http.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert not re.search(r"unsafe|https?:|\*", policy)


def test_nothing_is_inline() -> None:
    """The policy would block these without a word to the user."""
    html = content(page.INDEX)
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", html)
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]


@pytest.mark.parametrize("name", page.FILES)
def test_no_other_site_is_named(name: str) -> None:
    assert not re.search(r"(https?|wss?)://|[\"'(]//|@import|@font-face", content(name))


@pytest.mark.parametrize("name", SCRIPTS)
def test_imports_exist(name: str) -> None:
    found = re.findall(r'from "\./([\w.]+)"', content(name))
    assert set(found) <= set(page.FILES)
    assert name in {"api.js", "elements.js"} or found


def test_every_id_of_a_script_exists() -> None:
    ids = re.findall(r'\bid="([\w-]+)"', content(page.INDEX))
    assert len(ids) == len(set(ids))
    wanted = {each for name in SCRIPTS for each in re.findall(r'byId\("([\w-]+)"\)', content(name))}
    sliders = {f"{which}-{what}" for which in ("first", "second") for what in ("dim", "z", "shown")}
    shown = {"images", "text", "latents", "decoded", "event", "reconstruction"}
    assert len(wanted) > 40
    assert wanted | sliders | shown <= set(ids)


def test_every_field_has_a_name() -> None:
    """A field is in a label, or has a name of its own, for those who do not see the page."""
    html = re.sub(r"<label.*?</label>", "", content(page.INDEX), flags=re.DOTALL)
    fields = re.findall(r"<(?:input|select|textarea)[^>]*>", html)
    assert fields
    assert all("aria-label=" in field for field in fields)
