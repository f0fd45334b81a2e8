"""What /explain says of objects that lie on disk is what then happens, and asking takes nothing into memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cdnlab.net import tasks
from edge.explain import explain
from tests.edge.test_reasons import MINUTE, TAG, Scene

HOST = "http://shop.example"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = await Scene(tmp_path).start(memory="1MiB", disk=True)
    yield made
    await made.stop()
    await tasks.cancel_all()


async def said(scene: Scene, path: str, **headers: str) -> dict[str, Any]:
    cache = scene.app.cache
    before = (cache.storage.objects, cache.storage.used, len(scene.arrived))
    found = await explain(cache, {"url": HOST + path, "headers": headers})
    assert (cache.storage.objects, cache.storage.used, len(scene.arrived)) == before
    return found


async def on_disk_only(scene: Scene, path: str) -> None:
    cache, key = scene.app.cache, f"{HOST}{path}".encode()
    await scene.until(
        lambda: cache.storage.find(key) is None and cache.shelf.disk.find(key) is not None,
        f"{path} on disk alone",
    )


@pytest.mark.parametrize("size", [5_000, 300_000], ids=["small", "large"])
async def test_what_lies_on_disk_alone(scene: Scene, size: int) -> None:
    body = bytes(range(250)) * (size // 250)
    scene.says("/first", MINUTE, TAG, "Content-Type: application/octet-stream", body=body)
    await scene.ask("/first", explained=False)
    for number in range(12):  # what it takes to push a small one out of a megabyte
        scene.says(f"/other{number}", MINUTE, body=b"x" * 100_000)
        await scene.ask(f"/other{number}", explained=False)
    await on_disk_only(scene, "/first")
    told = await said(scene, "/first")
    assert (told["result"], told["on_disk"], told["status"]) == ("hit", True, 200)
    assert (told["stored"]["size"], told["stored"]["by"]) == (len(body), "max-age")
    part = await said(scene, "/first", Range="bytes=0-9")
    assert (part["result"], part["status"]) == ("hit", 206)
    held = await said(scene, "/first", **{"If-None-Match": '"1"'})
    assert (held["result"], held["status"]) == ("hit", 304)
    checked = await said(scene, "/first", **{"Cache-Control": "no-cache"})
    assert (checked["result"], checked["reason"], checked["validates"]) == ("miss", "request-no-cache", True)
    asked = len(scene.arrived)
    got = await scene.ask("/first", explained=False)
    assert got.body == body
    assert got.fields["cache-status"].startswith("edge; hit")
    assert len(scene.arrived) == asked


async def test_what_lies_nowhere(scene: Scene) -> None:
    told = await said(scene, "/nothing")
    assert (told["result"], told["on_disk"], told["reason"]) == ("miss", False, "nothing-stored")
