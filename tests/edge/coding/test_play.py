"""Any order of requests, of answers and of time: what a client gets is always the body that its head describes."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from edge.coding.rules import Rules
from tests.edge.coding.test_codecs import decode
from tests.edge.coding.test_scenarios import HTML, MINUTE, TEXT, Bench, digest
from tests.edge.support import FakeExchange

ACCEPTS = (
    None, "br", "gzip", "zstd", "gzip, br;q=0.5", "identity", "*", "*;q=0", "gzip;q=0, *", "br;q=2",
    "identity;q=0, zstd",
)  # fmt: skip
VARIES = (None, "Accept-Language", "Accept-Encoding", "X-A, X-B", "accept-encoding, X-A")


class Play:
    """One edge, an origin whose page changes now and then, and what every answer is held to."""

    def __init__(self, it: Bench, seed: int) -> None:
        self.it = it
        self.random = Random(seed)
        self.version = 0
        self.vary = self.random.choice(VARIES)
        self.digests = self.random.random() < 0.5

    @property
    def body(self) -> bytes:
        return b"version %d\n" % self.version + TEXT * (1 + self.version % 2)

    @property
    def fields(self) -> list[str]:
        found = [MINUTE, HTML, f'ETag: "v{self.version}"']
        found += [f"Vary: {self.vary}"] if self.vary else []
        return found + ([f"Repr-Digest: {digest(self.body)}"] if self.digests else [])

    def step(self) -> None:
        """A request, some time, or a new page."""
        chance, random = self.random.random(), self.random
        if chance < 0.08:
            self.it.sleep(random.choice((0.3, 5.0, 61.0)))
        elif chance < 0.12:
            self.it.sleep(61.0)
            self.version += 1
        else:
            self.ask()

    def ask(self) -> None:
        random, before = self.random, self.it.asked
        accepts, language = random.choice(ACCEPTS), random.choice(("ko", "en"))
        fields = [f"Accept-Language: {language}", f"X-A: {language}"]
        fields += [f"Accept-Encoding: {accepts}"] if accepts is not None else []
        method = random.choice(("GET", "GET", "GET", "HEAD"))
        part = random.choice((None, None, "bytes=5-24", "bytes=-7", "bytes=3-"))
        fields += [f"Range: {part}"] if part else []
        held = random.choice((None, None, self.version, self.version - 1))
        if held is not None:
            weak = random.choice(("", "W/"))
            fields.append(f'{random.choice(("If-None-Match", "If-Range"))}: {weak}"v{held}"')
        x = self.it.ask("/", *fields, method=method)
        if self.it.asked > before:
            self._answer(part)
        self._hold(x, method, accepts)

    def _answer(self, part: str | None) -> None:
        """The origin's answer: a 304 if it was asked with its tag, and never a part."""
        forward = self.it.origin.last
        if forward.head.get("if-none-match") == f'"v{self.version}"':
            forward.answer(304, *self.fields)
        elif forward.request.head.startswith(b"HEAD"):
            forward.begin(200, *self.fields, f"Content-Length: {len(self.body)}", whole=b"")
        else:
            forward.answer(200, *self.fields, body=self.body)

    def _hold(self, x: FakeExchange, method: str, accepts: str | None) -> None:
        fields, body = x.fields, self.body
        assert x.done
        coding = fields.get("content-encoding")
        members = [member.strip().lower() for member in fields["vary"].split(",")] if "vary" in fields else []
        assert len(set(members)) == len(members)
        assert {name.strip().lower() for name in (self.vary or "").split(",") if name} <= set(members)
        stored = "hit" in x.said or "stored" in x.said
        assert not stored or "accept-encoding" in members
        tag = f'"v{self.version}"'
        assert fields["etag"] == tag or (fields["etag"] == "W/" + tag and x.status in (200, 304))
        if x.status == 304:
            assert x.got == b""
            return
        if coding is not None:
            assert accepts is not None
            assert coding in accepts or "*" in accepts
            assert fields["etag"] == "W/" + tag
            assert "accept-ranges" not in fields
        if x.status == 206:
            assert coding is None
            first, last = fields["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
            assert x.got == body[int(first) : int(last) + 1]
            return
        assert x.status == 200
        if method == "HEAD":
            return
        assert fields["content-length"] == str(len(x.got))
        assert (decode(coding.encode(), x.got) if coding else x.got) == body
        if self.digests:
            assert fields["repr-digest"] == digest(x.got)


@pytest.mark.parametrize("seed", range(24))
async def test_play(monkeypatch: Any, seed: int) -> None:
    random = Random(seed)
    rules = Rules(
        random.choice(((b"br", b"zstd", b"gzip"), (b"gzip", b"br"))), jobs_max=random.choice((1, 64)),
        levels={b"br": 1, b"zstd": 1, b"gzip": 1},
    )  # fmt: skip
    it = Bench(monkeypatch, rules, memory=random.choice((40_000, 1 << 22)))
    play = Play(it, seed)
    for _ in range(120):
        play.step()
        if random.random() < 0.3:
            await it.made()
        else:
            await asyncio.sleep(0)
    await it.made()
    assert it.coder.waiting_bytes == 0
    assert sum(stored.size for stored in it.storage) <= it.storage.used <= it.storage.capacity
    for stored in it.storage:
        forms = [form for form in (stored.forms or {}).values() if form is not None]
        assert stored.size > len(stored.body) + sum(len(form.body) for form in forms)
    assert sum(tally.answers for tally in it.coder.tallies.values())
    it.coder.stop()
