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
