"""The demo site through the VIP of a real lab, in a real browser: no request fails, and the bar tells the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from origin.pages import PAGES
from tests.origin.browser import Browser, chromium
from tests.support.labs import RunningLab

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed"),
]
BAR = "document.getElementById('path').innerText.replace(/\\s+/g, ' ')"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    program = chromium()
    assert program is not None
    async with Browser(program, tmp_path) as opened:
        yield opened
    assert opened.complaints == []


async def test_every_page_loads_whole_at_gru(running: RunningLab, browser: Browser) -> None:
    for path in PAGES:
        await browser.open(f"http://gru.localhost:{running.base}{path}")
    await browser.open(f"http://gru.localhost:{running.base}/?lang=ko")


async def test_the_bar_tells_the_way(running: RunningLab, browser: Browser) -> None:
    for place, city in (("gru", "São Paulo"), ("icn", "Seoul")):
        await browser.open(f"http://{place}.localhost:{running.base}/")
        bar = await browser.run(BAR)
        assert bar.startswith(f"you in {city} → lb-")
        assert f"→ edge-{place}" in bar


async def test_a_person_logs_in_through_the_network(running: RunningLab, browser: Browser) -> None:
    """Forms pass balancer and edge, and no cache keeps what they answer; sessions are local, so a login may be lost."""
    await browser.open(f"http://gru.localhost:{running.base}/login")
    for name in ("user", "password"):
        await browser.run(f"document.querySelector('#login-form [name={name}]').value = 'kim'")
    await browser.run("document.querySelector('#login-form button').click()")
    await browser.until("document.querySelector('#who, #refused') !== null")
    said = await browser.run("document.querySelector('#who, #refused').innerText")
    assert said.startswith(("You are kim, says origin-", "Your browser bears the cookie of a session"))
    await browser.until("document.querySelectorAll('#path .hop').length > 0")
    assert "hit" not in await browser.run(BAR)
