"""The site in a real browser: straight from the origin, then behind a scripted network of one cache."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from origin.app import OriginApp
from origin.pages import PAGES
from tests.origin.browser import Browser, chromium

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed"),
]
END_TO_END = ("content-length", "transfer-encoding", "connection", "date", "server")


class Network:
    """A cache with the fields of ours, just clever enough for the page to read: s-maxage and unsafe methods."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.kept: dict[tuple[str, str, str], tuple[float, int, dict[str, str], bytes]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        name = request.host.partition(".")[0]
        place = name if request.host.partition(":")[0].endswith(".localhost") else "icn"
        key = (request.raw_path, request.headers.get("Accept-Language", ""), place)
        if request.method == "GET" and key in self.kept:
            stored, status, fields, body = self.kept[key]
            age = {"Age": str(int(time.time() - stored))}
            return self._marked(place, "hit; ttl=5", status, {**fields, **age}, body)
        status, fields, body = await self._fetch(request)
        if request.method == "GET" and "s-maxage" in fields.get("Cache-Control", ""):
            self.kept[key] = (time.time(), status, fields, body)
        if request.method not in ("GET", "HEAD"):
            self.kept = {kept: value for kept, value in self.kept.items() if kept[0] != request.raw_path}
        return self._marked(place, "fwd=uri-miss; stored", status, fields, body)

    async def _fetch(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        headers = {n: v for n, v in request.headers.items() if n.lower() not in ("host", "if-none-match")}
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method, self.origin + request.raw_path, headers=headers, data=await request.read()
            ) as r,
        ):
            body = await r.read()
            return r.status, {n: v for n, v in r.headers.items() if n.lower() not in END_TO_END}, body

    def _marked(
        self, place: str, said: str, status: int, fields: dict[str, str], body: bytes
    ) -> web.Response:
        way = {
            "Via": f"1.1 edge-{place}, 1.1 lb-a",
            "Cache-Status": f"edge-{place}; {said}",
            "Cdnlab-Place": place,
        }
        return web.Response(status=status, headers={**fields, **way}, body=body)


def url_of(origin: OriginApp) -> str:
    assert origin.address is not None
    return f"http://127.0.0.1:{origin.address[1]}"


@pytest.fixture
async def port(origin: OriginApp) -> AsyncIterator[int]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", Network(url_of(origin)).answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    program = chromium()
    assert program is not None
    async with Browser(program, tmp_path) as opened:
        yield opened
    assert opened.complaints == []


BAR = "document.getElementById('path').innerText.replace(/\\s+/g, ' ')"


async def test_straight_from_the_origin_it_says_so(origin: OriginApp, browser: Browser) -> None:
    for path in PAGES:
        await browser.open(url_of(origin) + path)
        assert "straight from the origin (origin-1)" in await browser.run(BAR)
        assert await browser.run("document.getElementById('elsewhere').hidden")
    await browser.open(f"{url_of(origin)}/?lang=ko")
    assert "오리진(origin-1)에서 바로" in await browser.run(BAR)


async def test_the_bar_tells_the_way_of_its_own_page(browser: Browser, port: int) -> None:
    await browser.open(f"http://gru.localhost:{port}/")
    bar = await browser.run(BAR)
    assert bar.startswith("you in São Paulo → lb-a → edge-gru → origin-1 miss ")
    assert bar.endswith(" ms")
    await browser.open(f"http://gru.localhost:{port}/places")
    await browser.open(f"http://gru.localhost:{port}/")
    bar = await browser.run(BAR)
    assert bar.startswith("you in São Paulo → lb-a → edge-gru hit age ")
    link = await browser.run("document.querySelector('#elsewhere [data-place=syd]').href")
    assert link == f"http://syd.localhost:{port}/"
    here = await browser.run("document.querySelector('#elsewhere [aria-current]').dataset.place")
    assert here == "gru"
    await browser.open(f"http://syd.localhost:{port}/?lang=ko")
    assert (await browser.run(BAR)).startswith("시드니에서 → lb-a → edge-syd → origin-1 미적중")


ROWS = "[...document.querySelectorAll('#{log} tr')].map(row => [...row.cells].map(cell => cell.innerText))"


async def rows(browser: Browser, log: str, count: int) -> list[list[str]]:
    await browser.until(f"document.querySelectorAll('#{log} tr').length >= {count}")
    found: list[list[str]] = await browser.run(ROWS.replace("{log}", log))
    return found


async def test_the_experiments(browser: Browser, port: int) -> None:
    await browser.open(f"http://127.0.0.1:{port}/freshness")
    await browser.run("document.querySelector('#freshness-form button').click()")
    await rows(browser, "freshness-log", 1)
    await browser.run("document.querySelector('#freshness-form button').click()")
    second, first = await rows(browser, "freshness-log", 2)
    assert (first[1], second[1], first[3], second[3]) == ("miss", "hit", "origin-1 1", "origin-1 1")
    await browser.until("document.getElementById('freshness-left').innerText.includes('fresh for')")
    await browser.run("document.querySelector('[value^=private]').checked = true")
    for count in (3, 4):
        await browser.run("document.querySelector('#freshness-form button').click()")
        await rows(browser, "freshness-log", count)
    assert (await rows(browser, "freshness-log", 4))[0][1] == "from this browser's own cache"

    await browser.open(f"http://127.0.0.1:{port}/variants")
    await browser.run("document.querySelector('[data-language=ko]').click()")
    assert (await rows(browser, "variants-log", 1))[0][:2] == ["ko", "ko"]

    await browser.open(f"http://127.0.0.1:{port}/downloads")
    await browser.run("document.querySelector('#range-form button').click()")
    row = (await rows(browser, "range-log", 1))[0]
    assert row[1:3] == ["206", "bytes 65536-65599/1048576"]
    assert row[4].startswith("1MiB.bin 000000065536")


async def test_the_shop_shows_what_is_forgotten(browser: Browser, port: int) -> None:
    await browser.open(f"http://127.0.0.1:{port}/shop")
    assert (await rows(browser, "shop-log", 1))[0][:3] == ["GET /api/items", "200", "miss"]
    await browser.until("document.querySelectorAll('#goods li').length === 5")
    await browser.run("document.querySelector('#goods li button').click()")
    log = await rows(browser, "shop-log", 4)
    assert [row[:3] for row in log[:3]] == [
        ["GET /api/items", "200", "hit"],
        ["PATCH /api/items/1", "200", "changed"],
        ["GET /api/items/1", "200", "miss"],
    ]
    await browser.until("document.querySelector('#goods .late') !== null")
    assert "by now 11" in await browser.run("document.querySelector('#goods .late').innerText")

    await browser.run("document.querySelector('#shop-form [name=name]').value = '<b>Kite</b>'")
    await browser.run("document.querySelector('#shop-form button').click()")
    await browser.until("document.querySelectorAll('#goods li').length === 6")
    log = await rows(browser, "shop-log", 6)
    assert [row[:3] for row in log[:2]] == [
        ["GET /api/items", "200", "miss"],
        ["POST /api/items", "201", "changed"],
    ]
    assert await browser.run("document.querySelector('#goods li:last-child h3').innerText") == "<b>Kite</b>"
    assert await browser.run("document.querySelector('#goods .late') === null")


async def test_a_person_logs_in_and_fills_a_cart(origin: OriginApp, browser: Browser) -> None:
    await browser.open(f"{url_of(origin)}/login?lang=ko")
    await _filled_in(browser, "/login")
    await browser.until("document.querySelector('#who') !== null && location.pathname === '/cart'")
    assert "김민지 님으로 로그인되어 있습니다" in await browser.run(
        "document.querySelector('#who').innerText"
    )
    assert await browser.run("document.documentElement.lang") == "ko"
    for count in ("1", "2"):
        await browser.run("document.querySelector('#shelf form:nth-of-type(3) button').click()")
        await browser.until(f"document.querySelector('#cart td')?.innerText === '{count}'")
    await browser.run("document.querySelector('#cart button').click()")
    await browser.until(
        "document.querySelector('#who') !== null && document.querySelector('#cart td') === null"
    )
    await browser.run("document.querySelector('[action^=\"/logout\"] button').click()")
    await browser.until(
        "document.querySelector('#login-form') !== null && document.querySelector('#who') === null"
    )
    assert await browser.run("document.cookie") == "", "no script reads the session's cookie"
    await browser.open(f"{url_of(origin)}/login")


async def _filled_in(browser: Browser, path: str) -> None:
    for name, value in (("user", "김민지"), ("password", "any")):
        await browser.run(f"document.querySelector('#login-form [name={name}]').value = '{value}'")
    await browser.run("document.querySelector('#login-form button').click()")


async def test_another_sites_form_does_not_reach_the_cart(origin: OriginApp, browser: Browser) -> None:
    """The same server under another name is another site to a browser."""
    await browser.open(f"{url_of(origin)}/login")
    await _filled_in(browser, "/login")
    await browser.until("document.querySelector('#who') !== null")
    other = url_of(origin).replace("127.0.0.1", "localhost")
    await browser.open(f"{other}/login")
    form = f"'<form method=post action={url_of(origin)}/cart><input name=item value=3></form>'"
    await browser.run(f"document.body.innerHTML = {form}; document.forms[0].submit()")
    await browser.open(f"{url_of(origin)}/cart")
    assert await browser.run("document.querySelector('#cart td') === null")
    browser.complaints.clear()  # the policy of the page forbids sending forms elsewhere, and says so
