"""A random play with an edge and its disk: nobody is ever given what was before what he could know."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.edge.disk.support import until
from tests.edge.disk.test_edge import Stage, staged

SIZES = (2_000, 60_000, 400_000)


class Play:
    """Paths whose content changes. `known` is, by path, the oldest edition that may still be sent."""

    def __init__(self, stage: Stage, rng: random.Random) -> None:
        self.stage = stage
        self.rng = rng
        self.paths = [f"/{size}/p{number}" for size in SIZES for number in range(3)]
        self.edition = dict.fromkeys(self.paths, 1)
        self.known = dict.fromkeys(self.paths, 1)
        stage.site.body = self.body  # type: ignore[method-assign]
        stage.site.fields = ["Cache-Control: max-age=3600"]
        self.hits = 0

    def body(self, target: str) -> bytes:
        text = b"%s %d|" % (target.encode(), self.edition.get(target, 0))
        size = int(target.split("/")[1])
        return (text * (size // len(text) + 1))[:size]

    async def get(self, path: str, *fields: str) -> None:
        answer = await self.stage.ask(path, *fields)
        assert answer.status == 200
        named, edition = answer.body[: answer.body.index(b"|")].split(b" ")
        assert named.decode() == path
        assert answer.body == self._of(path, int(edition))
        assert int(edition) >= self.known[path], f"{path} went back: {answer.said}"
        self.known[path] = int(edition)
        self.hits += "detail=disk" in answer.said

    def _of(self, path: str, edition: int) -> bytes:
        before, self.edition[path] = self.edition[path], edition
        body = self.body(path)
        self.edition[path] = before
        return body

    async def step(self) -> None:
        path, act = self.rng.choice(self.paths), self.rng.random()
        if act < 0.5:
            await self.get(path)
        elif act < 0.6:
            self.edition[path] += 1
            await self.get(path, "Cache-Control: no-cache")
            assert self.known[path] == self.edition[path]
        elif act < 0.7:
            self.edition[path] += 1
            assert (await self.stage.ask(path, method="POST")).status == 200
            self.known[path] = self.edition[path]
        elif act < 0.78:
            self.edition[path] += 1
            assert self.stage.app.node.purge is not None
            await self.stage.app.node.purge({"url": f"http://shop.example{path}"})
            self.known[path] = self.edition[path]
        elif act < 0.95:
            await asyncio.gather(*(self.stage.ask(f"/30000/x{self.rng.randrange(90)}") for _ in range(12)))
        elif act < 0.97:
            await self.stage.again()
        else:
            await self.stage.settled()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_nothing_goes_back(tmp_path: Path, seed: int) -> None:
    async with staged(tmp_path) as stage:
        play = Play(stage, random.Random(seed))
        for _ in range(250):
            await play.step()
        assert play.hits > 5
        disk = stage.app.disk
        assert disk is not None
        await until(lambda: not disk.queued)
        assert not disk.bad["head"]
        assert not disk.bad["body"]
