"""Random plays: clients, an origin, purges, sweeps and freezes in any order, and nobody who comes after a purge is
given what was there before it."""

from __future__ import annotations

import random
from typing import Any

import pytest

from edge.purge.position import Entry, Look, Lost, Standing, State
from edge.purge.purges import Purges
from edge.purge.rules import Kind, Rule, group_name
from edge.purging import Verdict
from tests.edge.support import FakeExchange, FakeForward, Lab

LAG = 2.0
HOST = b"http://shop.example"
TARGETS = ("/a", "/b", "/c/d")
TAGS = {"/a": "one", "/b": "one two", "/c/d": "two"}
FIELDS = ((), (), ("Accept: x",), ("Cache-Control: no-cache",), ("Range: bytes=0-1",))


class Play:
    """A site whose pages have a version, which grows just before each purge of them."""

    def __init__(self, lab: Lab, seed: int) -> None:
        self.lab = lab
        self.rng = random.Random(seed)
        self.purges = Purges(Standing(alone=False, lag_max=LAG), b"life....", 0)
        self.purges.adopt(Look("g", 1, 0, "l0", ()), None)
        lab.cache.purges = self.purges
        self.confirm()
        self.version = dict.fromkeys(TARGETS, 1)
        self.asked: list[tuple[str, int, FakeExchange]] = []
        self.open: list[tuple[FakeForward, int]] = []
        self.seen = 0
        self.missed: list[Rule] = []
        self.hits = self.checked = 0

    def step(self) -> None:
        does = (
            self.ask,
            self.ask,
            self.ask,
            self.answer,
            self.answer,
            self.purge,
            self.sweep,
            self.freeze,
            self.lose,
        )
        weights = (8, 8, 8, 6, 6, 2, 2, 0.5, 1)
        self.rng.choices(does, weights)[0]()
        self.take()

    def take(self) -> None:
        """What the origin was asked, and what it holds at that moment: it may answer from that, however late."""
        for forward in self.lab.origin.sent[self.seen :]:
            self.open.append((forward, self.version[target_of(forward)]))
        self.seen = len(self.lab.origin.sent)

    def ask(self) -> None:
        if not self.missed and self.rng.random() < 0.9:
            self.confirm()
        target = self.rng.choice(TARGETS)
        method = "HEAD" if self.rng.random() < 0.05 else "GET"
        x = self.lab.ask(target, *self.rng.choice(FIELDS), method=method)
        self.asked.append((target, self.version[target], x))
        self.take()
        self.hits += x.done

    def answer(self) -> None:
        if not self.open:
            return
        forward, version = self.open.pop(self.rng.randrange(len(self.open)))
        if forward.cancelled is not None:
            return
        target = target_of(forward)
        fields = (
            "Cache-Control: max-age=600", f'ETag: "{version}"', f"Surrogate-Key: {TAGS[target]}", 'Cache-Groups: "g"',
            *(("Vary: Accept",) if target == "/b" else ()),
        )  # fmt: skip
        if forward.head.get("if-none-match") == f'"{version}"':
            forward.answer(304, *fields)
        elif forward.request.method == b"HEAD":
            forward.begin(200, *fields, "Content-Length: 8", whole=b"")
        else:
            forward.answer(200, *fields, body=b"%08d" % version, whole=self.rng.random() < 0.5)

    # -- purges ------------------------------------------------------------------------------------------------------

    def rule(self) -> tuple[Rule, list[str]]:
        soft = self.rng.random() < 0.4
        target = self.rng.choice(TARGETS)
        tag = self.rng.choice(("one", "two"))
        return self.rng.choice(
            (
                (Rule(Kind.URL, HOST + target.encode(), soft), [target]),
                (Rule(Kind.TAG, tag.encode(), soft), [each for each in TARGETS if tag in TAGS[each].split()]),
                (Rule(Kind.PREFIX, HOST + b"/c", soft), ["/c/d"]),
                (Rule(Kind.GROUP, group_name(HOST, b"g"), soft), list(TARGETS)),
                (Rule(Kind.ALL, b"", soft), list(TARGETS)),
            )
        )

    def change(self, targets: list[str]) -> None:
        for target in targets:
            self.version[target] += 1

    def purge(self) -> None:
        rule, targets = self.rule()
        self.change(targets)
        if self.rng.random() < 0.5:
            self.catch_up()
            self.came(rule)
        else:
            self.purges.apply_local((rule,), 0.0)

    def came(self, rule: Rule) -> None:
        assert self.purges.place is not None
        number = self.purges.place.sequence + 1
        entry = Entry("g", number, f"l{number - 1}", f"l{number}", b"")
        self.purges.apply_entry(entry, (rule,), own=False, wall=0.0, lag=0.0)

    def freeze(self) -> None:
        """The process stands still, and something is purged elsewhere meanwhile."""
        rule, targets = self.rule()
        self.change(targets)
        self.missed.append(rule)
        self.lab.sleep(LAG + 1.0)

    def catch_up(self) -> None:
        for rule in self.missed:
            self.came(rule)
        self.missed.clear()
        self.confirm()

    def confirm(self) -> None:
        self.purges.heard(asked=self.lab.now, now=self.lab.now, current=True)

    def lose(self) -> None:
        """The store has lost something: nobody knows what was purged."""
        if self.rng.random() < 0.5:
            self.change(list(TARGETS))
            self.purges.adopt(Look("g", 1, 0, "l0", ()), Lost.GENERATION)
            self.missed.clear()
            self.confirm()
        elif self.missed:
            self.catch_up()

    def sweep(self) -> None:
        number = self.purges.rules.number
        for found in list(self.lab.storage):
            if self.purges.judge(found) is Verdict.GONE:
                self.lab.storage.discard(found)
        self.purges.swept(number)

    def look(self) -> None:
        """Each answer is as new as its question."""
        for target, version, x in self.asked:
            if x.status not in (200, 206) or x.line.method == b"HEAD" or (x.status == 200 and len(x.got) < 8):
                continue
            got = int(x.fields["etag"].strip('"'))
            self.checked += 1
            assert got >= version, f"{target} was asked for at version {version}: {x.head!r}"
            if x.status == 200:
                assert int(x.got) == got
        self.asked = [row for row in self.asked if not row[2].done]


def target_of(forward: FakeForward) -> str:
    return str(forward.request.head.split(b" ", 2)[1].decode())


@pytest.mark.parametrize("seed", range(12))
def test_nobody_gets_what_was_purged_before_he_asked(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    lab: Any = Lab(monkeypatch)
    play = Play(lab, seed)
    for _ in range(600):
        play.step()
        play.look()
    while play.open:
        play.answer()
        play.take()
    play.look()
    assert play.checked > 100
    assert play.hits > 10, "it is a cache all the same"
    assert play.purges.state(lab.now) is not State.ALONE
