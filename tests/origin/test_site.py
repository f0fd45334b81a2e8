"""Every page in both languages over real sockets: well-formed, complete, and honest about itself."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import aiohttp
import pytest

from cdnlab.world.places import PLACES as CITIES
from origin import pictures
from origin.app import OriginApp
from origin.assets import SITE
from origin.behaviours import PARAMETERS
from origin.items import PICTURES
from origin.language import LANGUAGES
from origin.pages import PAGES, PRIVATE

VOID = {"meta", "link", "img", "br", "input", "circle", "path", "rect", "image"}
PROMISED = ("home", "freshness", "variants", "shop", "downloads", "places", "behave")


class Document(HTMLParser):
    """Reads a page strictly: every element is closed in its order, every id stands once."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def references(self) -> Iterator[str]:
        for _, attributes in self.elements:
            for name in ("href", "src"):
                if attributes.get(name) is not None:
                    yield str(attributes[name])


EVERY = [(path, language) for path in PAGES for language in LANGUAGES]


@pytest.mark.parametrize("path, language", EVERY)
async def test_a_page(client: aiohttp.ClientSession, path: str, language: str) -> None:
    async with client.get(path, headers={"Accept-Language": f"{language}, *;q=0.1"}) as response:
        text = await response.text()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Language"] == language
    assert response.headers["Vary"] == "Accept-Language"
    assert response.headers["Cache-Control"] == "public, max-age=0, s-maxage=60"
    assert response.headers["Server"] == "cdnlab-origin"
    assert response.headers["Cdnlab-Origin"] == "origin-1"
    document = Document(text)
    assert "{{" not in text
    assert len(document.ids) == len(set(document.ids))
    assert document.all("html")[0]["lang"] == language
    assert {"bar", "path", "elsewhere", "main"} <= set(document.ids)
    assert all(image.get("alt") is not None for image in document.all("img"))
    assert sum(1 for tag, _ in document.elements if tag == "h1") == 1
    assert [link for link in document.all("a") if link.get("aria-current") == "page"]
    assert bool(re.search("[가-힣]", text.replace("한국어", ""))) is (language == "ko")


@pytest.mark.parametrize("path, language", EVERY)
async def test_conditions_and_head(client: aiohttp.ClientSession, path: str, language: str) -> None:
    wish = {"Accept-Language": language}
    async with client.get(path, headers=wish) as response:
        body, tag = await response.read(), response.headers["ETag"]
    async with client.get(path, headers={**wish, "If-None-Match": tag}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
        assert (response.headers["Vary"], response.headers["Content-Language"]) == (
            "Accept-Language",
            language,
        )
    async with client.head(path, headers=wish) as response:
        assert (int(response.headers["Content-Length"]), response.headers["ETag"]) == (len(body), tag)


async def test_the_language_can_be_said_in_the_address(client: aiohttp.ClientSession) -> None:
    async with client.get("/shop?lang=ko", headers={"Accept-Language": "en"}) as response:
        document = Document(await response.text())
    assert response.headers["Content-Language"] == "ko"
    assert "Vary" not in response.headers
    assert "/freshness?lang=ko" in document.references()
    async with client.get("/shop?lang=xx", headers={"Accept-Language": "ko"}) as response:
        assert response.headers["Vary"] == "Accept-Language"
        assert response.headers["Content-Language"] == "ko"


AS_A_BROWSER = {"Accept-Language": "ko, en;q=0.5", "Accept": "text/html, */*;q=0.8"}


async def test_every_link_and_asset_answers(client: aiohttp.ClientSession) -> None:
    waiting, seen = [*PAGES, *PRIVATE, *(f"{path}?lang=ko" for path in (*PAGES, *PRIVATE))], set()
    while waiting:
        path = waiting.pop()
        if path in seen or path.startswith("/behave?"):  # those answer as told, tested for themselves
            continue
        seen.add(path)
        method = "HEAD" if path.startswith("/files/") else "GET"
        async with client.request(method, path, headers=AS_A_BROWSER) as response:
            body = await response.read()
        assert response.status == 200, path
        found = list(_references(path, response.content_type, body))
        assert all(not urlsplit(link).netloc for link in found), "nothing comes from elsewhere"
        waiting.extend(urljoin(path, link).partition("#")[0] for link in found)
    names = {path.split("/")[2].split(".")[0] for path in seen if path.startswith("/assets/")}
    assert names == {file.stem for file in (SITE / "assets").iterdir()}


def _references(path: str, media_type: str, body: bytes) -> Iterator[str]:
    if media_type == "text/html":
        yield from Document(body.decode()).references()
    elif media_type == "text/css":
        yield from re.findall(r"url\(([^)]+)\)", body.decode())


async def test_every_example_of_behave_is_linked_and_obeyed(client: aiohttp.ClientSession) -> None:
    async with client.get("/behave/help") as response:
        document = Document(await response.text())
    examples = [link for link in document.references() if link.startswith("/behave?")]
    assert len(examples) == len(PARAMETERS)
    for link in examples:
        if not re.search("delay|drip|close", link):
            async with client.get(link, allow_redirects=False) as response:
                assert response.status == (503 if "status" in link else 200), link
    assert set(PARAMETERS) <= set(document.ids)


async def test_an_asset_is_kept_for_ever_under_its_hash(
    origin: OriginApp, client: aiohttp.ClientSession
) -> None:
    path = origin.site.assets.path("site.css")
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        tag = response.headers["ETag"]
    async with client.get(path, headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    async with client.get("/assets/site.000000000000.css") as response:
        assert response.status == 404
        assert "immutable" not in response.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/nothing", "/assets/../app.py", "/%2e%2e/app.py", "/behave/nothing"])
async def test_what_is_not_there(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path, headers={"Accept-Language": "ko"}) as response:
        document = Document(await response.text())
    assert (response.status, response.headers["Content-Language"]) == (404, "ko")
    assert response.headers["Cache-Control"] == "public, max-age=0, s-maxage=10"
    assert "bar" in document.ids


@pytest.mark.parametrize("path", ["/", "/shop", "/files/1MiB.bin", "/assets/x.css", "/healthz", "/ws"])
async def test_pages_are_only_read(client: aiohttp.ClientSession, path: str) -> None:
    async with client.post(path, data=b"x") as response:
        assert response.status == 405
        assert "GET" in response.headers["Allow"]


def test_the_two_languages_have_the_same_parts() -> None:
    for name in (*PROMISED, *PRIVATE.values(), "missing"):
        english, korean = (
            Document((SITE / language / f"{name}.html").read_text("utf-8")) for language in LANGUAGES
        )
        assert english.ids == korean.ids
        assert [_without_words(*element) for element in english.elements if element[0] != "p"] == [
            _without_words(*element) for element in korean.elements if element[0] != "p"
        ], name


def _without_words(tag: str, attributes: dict[str, str | None]) -> tuple[str, dict[str, str | None]]:
    words = ("alt", "aria-label", "data-empty")
    return tag, {name: value for name, value in attributes.items() if name not in words}


def test_the_two_languages_have_the_same_words() -> None:
    english, korean = (json.loads((SITE / lang / "words.json").read_text("utf-8")) for lang in LANGUAGES)
    translated = {"cities", "parameters"}  # tables that speak English themselves
    assert _keys(english, translated) == _keys(korean, translated)
    assert set(korean["cities"]) == set(CITIES)
    assert set(korean["parameters"]) == set(PARAMETERS)


def _keys(value: object, leave: set[str]) -> object:
    if isinstance(value, dict):
        return {name: _keys(part, leave) for name, part in value.items() if name not in leave}
    return re.findall(r"\{\w+\}", value) if isinstance(value, str) else None


def test_the_icon_is_the_one_the_code_draws() -> None:
    assert _pixels((SITE / "assets" / "favicon.png").read_bytes()) == _pixels(pictures.favicon())


@pytest.mark.parametrize("name", PICTURES)
def test_each_item_has_a_picture(name: str) -> None:
    head, rows = _pixels((SITE / "assets" / f"{name}.png").read_bytes())
    assert struct.unpack(">II", head[:8]) == (192, 192)
    assert len(rows) == 192 * (1 + 192 * 3)
    assert name in pictures.ITEMS


def _pixels(png: bytes) -> tuple[bytes, bytes]:
    """The header and the decompressed rows: what the pictures are, whichever zlib packed them."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    length = int.from_bytes(png[33:37], "big")
    assert png[37:41] == b"IDAT"
    return png[16:29], zlib.decompress(png[41 : 41 + length])


def test_the_map_is_the_one_the_code_draws() -> None:
    assert (SITE / "assets" / "world.svg").read_text() == pictures.world_svg()
