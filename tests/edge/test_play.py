"""Random plays: clients, origin and clock do anything in any order, and the edge keeps its promises."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.edge.support import FakeExchange, FakeForward, Lab

FIELDS = (
    ("Cache-Control: max-age=60",),
    ("Cache-Control: max-age=5", 'ETag: "1"'),
    ("Cache-Control: max-age=5", 'ETag: "1"', "Vary: Accept"),
    ("Cache-Control: no-cache", 'ETag: "1"'),
    ("Cache-Control: private",),
    ("Cache-Control: max-age=60", "Set-Cookie: a=b"),
    ("Cache-Control: public, max-age=5",),
    ("Cache-Control: max-age=1, stale-while-revalidate=5",),
    ("Cache-Control: max-age=1, stale-while-revalidate=5, stale-if-error=9", 'ETag: "1"'),
    (),
)
ASKED = (
    (), (), (), ("Accept: a",), ("Accept: b",), ("Cache-Control: no-cache",), ('If-None-Match: "1"',),
    ("Range: bytes=0-5",), ("Authorization: Basic eA==",), ("Cache-Control: only-if-cached",), ("Cookie: c=d",),
    ("Cache-Control: max-stale=3",),
)  # fmt: skip


class Play:
    """What goes on, and what was promised about it."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.rng = random.Random(seed)
        self.exchanges: list[FakeExchange] = []
        self.gone: set[int] = set()
        self.open: dict[int, FakeForward] = {}  # at the origin, no head yet
        self.streaming: dict[int, tuple[FakeForward, bytes, int, bool]] = {}
        self.secrets: set[bytes] = set()
        self.versions: set[bytes] = set()
        self.seen = 0

    def step(self) -> None:
        self.rng.choice(
            (self.ask, self.ask, self.head, self.more, self.more, self.leave, self.read, self.wait)
        )()
        for forward in self.lab.origin.sent[self.seen :]:
            self.open[id(forward)] = forward
        self.seen = len(self.lab.origin.sent)
        for table in (self.open, self.streaming):
            for key, value in list(table.items()):
                forward = value if isinstance(value, FakeForward) else value[0]
                if forward.cancelled is not None:
                    del table[key]

    def ask(self) -> None:
        method = self.rng.choice(("GET", "GET", "GET", "GET", "HEAD", "POST"))
        fields = self.rng.choice(ASKED) if method != "POST" else ("Content-Length: 0",)
        room = self.rng.choice((1, 1 << 30, 1 << 30))
        self.exchanges.append(self.lab.ask(self.rng.choice(("/a", "/b")), *fields, method=method, room=room))

    def head(self) -> None:
        if not self.open:
            return
        key = self.rng.choice(list(self.open))
        forward = self.open.pop(key)
        body = b"<%d:" % self.rng.randrange(1 << 60) + b"x" * self.rng.choice((0, 50, 3000)) + b">"
        kind = self.rng.random()
        if kind < 0.1:
            forward.fail()
        elif kind < 0.25 and "if-none-match" in forward.head:
            forward.answer(304, "Cache-Control: max-age=5", self.rng.choice(('ETag: "1"', 'ETag: "2"')))
        elif forward.request.method == b"HEAD":
            forward.begin(200, "Content-Length: 7", whole=b"")
        else:
            self.answer(key, forward, body, kind)

    def answer(self, key: int, forward: FakeForward, body: bytes, kind: float) -> None:
        fields = self.rng.choice(FIELDS)
        if "private" in str(fields) or not fields:
            self.secrets.add(body)
        self.versions.add(body)
        sized = self.rng.random() < 0.7
        length = (f"Content-Length: {len(body)}",) if sized else ()
        status = 500 if kind > 0.95 else 200
        if kind < 0.5:
            forward.begin(status, *fields, *length, whole=body)
        else:
            forward.begin(status, *fields, *length)
            self.streaming[key] = (forward, body, 0, sized)

    def more(self) -> None:
        if not self.streaming:
            return
        key = self.rng.choice(list(self.streaming))
        forward, body, at, sized = self.streaming.pop(key)
        if self.rng.random() < 0.05:
            forward.fail()
            return
        if at >= len(body):
            forward.end()
            return
        step = self.rng.randrange(1, 2000)
        self.streaming[key] = (forward, body, at + len(body[at : at + step]), sized)
        forward.data(body[at : at + step])

    def leave(self) -> None:
        reading = [x for x in self.exchanges if x.source is not None]
        if reading and self.rng.random() < 0.5:
            x = self.rng.choice(reading)
            self.gone.add(id(x))
            x.leave()

    def read(self) -> None:
        slow = [x for x in self.exchanges if x.source is not None and x.room < 1 << 30]
        if slow:
            self.rng.choice(slow).more_room()

    def wait(self) -> None:
        self.lab.sleep(self.rng.choice((0.1, 1, 4)))
        self.lab.cache.tick()

    def end(self) -> None:
        """The origin answers everything, every client reads."""
        for _ in range(10_000):
            if not (self.open or self.streaming):
                break
            self.head() if self.open else self.more()
            for forward in self.lab.origin.sent[self.seen :]:
                self.open[id(forward)] = forward
            self.seen = len(self.lab.origin.sent)
            for key in [k for k, v in self.streaming.items() if v[0].cancelled is not None]:
                del self.streaming[key]
            for key in [k for k, v in self.open.items() if v.cancelled is not None]:
                del self.open[key]
        while slow := [x for x in self.exchanges if x.source is not None and x.room < 1 << 30]:
            slow[0].more_room()

    def check(self) -> None:
        lab = self.lab
        for x in self.exchanges:
            assert id(x) in self.gone or x.done or x.aborted, (x.line.raw, x.head)
            if x.done and x.status == 200 and x.line.method == b"GET" and id(x) not in self.gone:
                assert x.got in self.versions, "a mixture of two responses"
            if x.done and x.status and "; hit" in x.head.decode("latin-1"):
                assert x.got not in self.secrets
        assert lab.storage.reserved == 0
        assert lab.cache.in_background == 0
        assert len(lab.flights) == 0
        stored = list(lab.storage)
        assert lab.storage.objects == len(stored)
        assert lab.storage.used >= sum(each.size for each in stored)
        assert all(each.body in self.versions - self.secrets for each in stored)
        assert sum(lab.counts().values()) == len(self.exchanges)
        assert lab.ring.seen == len(self.exchanges)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_play(monkeypatch: Any, seed: int) -> None:
    lab = Lab(monkeypatch, memory=1 << 15, waiters=3, object_max=2500)
    play = Play(lab, seed)
    for _ in range(250):
        play.step()
    play.end()
    play.check()
