"""The lab's page: what its files may hold, and what a browser shows of a lab that comes and goes."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import cdnlab.lab.control as control
from tests.support import fake_lab as fake
from tests.support.labs import state_directory

PAGE = control.PAGE
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Outline(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def outline() -> Outline:
    parser = Outline()
    parser.feed((PAGE / "index.html").read_text())
    return parser


def test_names_no_other_host() -> None:
    names = r"https?://(?!127\.0\.0\.1|www\.w3\.org/(?:2000/svg|1999))[a-z]"
    for file in PAGE.iterdir():
        found = re.findall(names, file.read_text().replace("http://${code}.localhost", ""))
        assert found == [], file.name


def test_every_file_it_loads_is_there(outline: Outline) -> None:
    loaded = [a.get("src") or a.get("href") for tag, a in outline.tags if tag in ("script", "link", "img")]
    imported = re.findall(r'from "\./([^"]+)"', (PAGE / "page.js").read_text())
    assert all((PAGE / str(name)).is_file() for name in [*loaded, *imported])


def test_every_element_the_script_wants_is_there(outline: Outline) -> None:
    ids = {a["id"] for _, a in outline.tags if "id" in a}
    assert set(re.findall(r'\$\("([^"]+)"\)', (PAGE / "page.js").read_text())) <= ids


def test_nothing_from_the_network_becomes_markup() -> None:
    for file in PAGE.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()
        )


def test_it_never_asks_for_a_change() -> None:
    assert "method:" not in (PAGE / "page.js").read_text()


def test_it_can_be_read_without_eyes(outline: Outline) -> None:
    tags = dict(outline.tags)
    assert tags["html"]["lang"] == "en"
    assert all("alt" in a for tag, a in outline.tags if tag == "img")
    assert all(a.get("scope") for tag, a in outline.tags if tag == "th")
    assert [a for _, a in outline.tags if a.get("aria-live") == "polite"]
    assert "prefers-reduced-motion" in (PAGE / "page.css").read_text()
    assert "prefers-color-scheme: dark" in (PAGE / "page.css").read_text()


# ---- in a browser ----


@pytest.fixture
def served() -> Iterator[fake.FakeLab]:
    with state_directory() as state, fake.fake_lab(state, page=PAGE) as lab:
        yield lab


def dom(url: str, profile: Path, seconds: float = 4.0) -> str:
    """The page's markup after `seconds` of its own time."""
    assert BROWSER is not None
    budget = f"--virtual-time-budget={int(seconds * 1000)}"
    words = [BROWSER, *FLAGS, f"--user-data-dir={profile}", budget, "--dump-dom", url]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout


def text_of(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", markup))


needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.mark.peers
@needs_browser
def test_a_browser_shows_every_node_and_why(served: fake.FakeLab, tmp_path: Path) -> None:
    served.events[-1]["text"] = "<img src=x onerror=alert(1)>"
    served.events[-1]["time"] = time.time()
    markup = dom(f"http://127.0.0.1:{served.port}/", tmp_path)
    text = text_of(markup)
    for node in fake.status()["nodes"]:
        assert node["name"] in text
    assert "8 of 10 nodes ready" in text
    assert 'data-live="yes"' in markup
    assert "standby lb-b · token 4" in text
    assert "passed over by lb-a, lb-b: health check failed: connection refused" in text
    assert "killed by signal 9 (cdnlab kill)" in text
    assert "&lt;img src=x" in markup
    assert "<img src=x" not in markup
    assert len(re.findall('class="fill" d="M', markup)) >= 10


@pytest.mark.peers
@needs_browser
def test_a_browser_says_when_the_lab_is_away(served: fake.FakeLab, tmp_path: Path) -> None:
    served.broken = True
    markup = dom(f"http://127.0.0.1:{served.port}/", tmp_path)
    assert 'data-live="no"' in markup
    assert "Start it with: cdnlab up" in text_of(markup)
