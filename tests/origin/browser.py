"""A headless Chromium spoken to by its DevTools protocol: enough to open a page, run a line in it, hear complaints."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import aiohttp

from cdnlab.net.clock import now

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0")


def chromium() -> str | None:
    """The path of an installed Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One browser with one tab; `complaints` holds failed requests, error statuses and script errors."""

    def __init__(self, program: str, folder: Path) -> None:
        self.complaints: list[str] = []
        self._folder = folder
        self._process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Browser:
        self._session = aiohttp.ClientSession()
        port = await self._port()
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as response:
            page = next(found for found in await response.json() if found["type"] == "page")
        self._socket = await self._session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0)
        self._reader = asyncio.ensure_future(self._read())
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await self._socket.close()
        await self._session.close()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def call(self, method: str, **parameters: object) -> Any:
        """One command; its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(20):
            return await self._waiting[number]

    async def open(self, url: str) -> None:
        """Go to a page; returns when its own script has filled the bar."""
        await self.call("Page.navigate", url=url)
        wanted = f"location.href === {json.dumps(url)} && document.querySelector('#path .fact, #path .hop') !== null"
        await self.until(wanted)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return found["result"].get("value")

    async def until(self, script: str, seconds: float = 20) -> None:
        """Wait until an expression in the page is true."""
        end = now() + seconds
        while not await self.run(script):
            assert now() < end, f"never true: {script}; {self.complaints}"
            await asyncio.sleep(0.02)

    async def _port(self) -> int:
        file, end = self._folder / "DevToolsActivePort", now() + 30
        while not file.exists() or not file.read_text().strip():
            assert now() < end, "Chromium did not start"
            await asyncio.sleep(0.02)
        return int(file.read_text().split()[0])

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                future = self._waiting.pop(said["id"])
                if not future.done():
                    future.set_result(said.get("result", {}))
            else:
                self._hear(said["method"], said["params"])

    def _hear(self, method: str, facts: dict[str, Any]) -> None:
        if method == "Network.loadingFailed" and not facts.get("canceled"):
            self.complaints.append(f"failed: {facts['errorText']}")
        elif method == "Network.responseReceived" and facts["response"]["status"] >= 400:
            self.complaints.append(f"{facts['response']['status']}: {facts['response']['url']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(facts["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.complaints.append(facts["entry"]["text"])
