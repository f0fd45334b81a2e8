"""Follows the stream of purges in the store, and adds to it.

Acts; what an answer means is decided in position.py. Two tasks read. One waits in the store for the next entry, so that
a purge is here in a millisecond and nothing is polled. The other asks, four times in `purge_lag_max`, where the stream
ends: a read that waits can't tell a stream without news from one that was trimmed, replaced or rolled back, nor a quiet
store from a hung one. Both may bring the same entry; whoever is second finds it applied.

Requests never wait for any of this.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from cdnlab.net.clock import now, wall
from cdnlab.net.tasks import spawn
from cdnlab.node.log import Events
from cdnlab.node.metrics import Histogram
from cdnlab.node.store import Store, StoreAway
from edge.purge import scripts
from edge.purge.asked import packed, unpacked
from edge.purge.position import EARLY, Entry, Look, Lost, Position, State, compare, goes_on
from edge.purge.purges import Purges
from edge.purge.rules import Rule

log = logging.getLogger("cdnlab.edge.purge")

STREAM_MAX = 10_000
"""Entries the store keeps, about: hours of a busy site's purges, a few megabytes."""
BATCH = 200  # entries of one answer
SLICE = 0.002  # seconds of applying after which others may run
OUTBOX_MAX = 1000
"""Rules of responses that wait to be handed to the other edges. More come only while the store is slow; the rest stays
with this edge."""
APPEND_WITHIN = 0.5  # seconds
APPENDS = (
    3  # purges on their way to the store at once; the client has eight connections, and others want some
)
AGAIN = 0.05  # of purge_lag_max, from one try to the next while an earlier word is still good
TRIES = 4  # reads given up because this process was late, until that counts as the store's failure
SHORTEST = 0.005  # seconds that a read may take at the least


class PurgeStream:
    """One edge's side of the stream."""

    def __init__(
        self, purges: Purges, store: Store, events: Events, *, lab: str, node: str, lags: Histogram
    ) -> None:
        """`lags` counts the seconds from a purge's acceptance to its application here."""
        self._purges = purges
        self._lags = lags
        self._store = store
        self._events = events
        self._node = node
        self._keys = scripts.keys(lab)
        self._lock = asyncio.Lock()
        self._turns = asyncio.Semaphore(APPENDS)
        self._wake = asyncio.Event()
        self._followed = asyncio.Event()
        self._outbox: list[Rule] = []
        self._sending = False
        self._asked = 0.0
        """When the read was sent that confirmed last."""
        self._said = purges.standing.state
        self._life = purges.life.hex()

    async def start(self) -> None:
        """Read once, for at most the time that a read may take; then go on reading."""
        self._purges.to_others = self._hand_over
        await self._confirm()
        spawn(self._keep_confirmed(), "purge positions")
        spawn(self._listen(), "purge stream")

    async def append(self, rules: tuple[Rule, ...], *, applied: bool = False) -> str:
        """Put a purge into the stream; its id. `applied`: this edge has applied it already. StoreAway."""
        raw = packed(rules, by=self._life if applied else "", wall=wall())
        arguments: tuple[str | bytes | int, ...] = (
            secrets.token_hex(8),
            secrets.token_hex(8),
            raw,
            STREAM_MAX,
        )
        async with self._turns:
            answer = await self._store.call(
                "EVAL", scripts.APPEND, 2, *self._keys, *arguments, within=APPEND_WITHIN
            )
        return f"{answer[0].decode()}-{int(answer[1])}"

    def _hand_over(self, rules: tuple[Rule, ...]) -> None:
        room = OUTBOX_MAX - len(self._outbox)
        self._outbox += rules[:room]
        if not self._sending:
            self._sending = True
            spawn(self._send(), "purges of responses")

    async def _send(self) -> None:
        try:
            while self._outbox:
                rules = tuple(dict.fromkeys(self._outbox))
                self._outbox.clear()
                await self.append(rules, applied=True)
        except StoreAway as error:
            log.warning("a response's cache group invalidation stays with this edge: %s", error)
        finally:
            self._sending = False

    # -- confirming ----------------------------------------------------------------------------------------------------

    async def _keep_confirmed(self) -> None:
        standing = self._purges.standing
        while True:
            self._wake.clear()
            since = self._asked if standing.state is State.CONFIRMED else now()
            try:
                async with asyncio.timeout(max(0.0, since + standing.pause - now())):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._purges.state(now())  # a thawed process notices, also if nobody asks it anything
            self._tell()
            await self._confirm()

    async def _confirm(self) -> None:
        """Read until the end of the stream has been seen and applied, or until a read's time is up."""
        purges = self._purges
        deadline, tries = self._deadline(), 0
        while True:
            asked = now()
            try:
                current = await self._look(max(SHORTEST, deadline - asked))
            except StoreAway:
                tries += 1
                if self._was_late(deadline) and tries < TRIES:
                    deadline = self._deadline()
                elif not await self._once_more(deadline, tries):
                    purges.heard(asked=asked, now=now(), current=False)
                    break
                continue
            if current and purges.heard(asked=asked, now=now(), current=True) is State.CONFIRMED:
                self._asked = asked
                break
            deadline = (
                self._deadline()
            )  # there was more than one answer holds, or this one lay unread for too long
        self._tell()

    def _deadline(self) -> float:
        """When a read that begins now has failed: while an earlier word is good, before that has run out, so that from
        confirmed the way is straight to blind however slowly the store answers."""
        standing, instant = self._purges.standing, now()
        deadline = instant + standing.patience
        if self._purges.state(instant) is State.CONFIRMED:
            deadline = min(deadline, standing.until - EARLY * standing.lag_max)
        return deadline

    def _was_late(self, deadline: float) -> bool:
        """Was it this process that stood still, and not the store?"""
        standing, instant = self._purges.standing, now()
        late = instant > deadline + EARLY * standing.lag_max
        if late:
            self._purges.state(instant)
        return late

    async def _once_more(self, deadline: float, tries: int) -> bool:
        """A read has failed: is it worth another try before that counts?"""
        standing, instant = self._purges.standing, now()
        state = self._purges.state(instant)
        if state is State.CONFIRMED:  # its word is still good, and the store may just be starting anew
            pause = AGAIN * standing.lag_max
            if instant + pause < deadline:
                await asyncio.sleep(pause)
                return True
        return state is State.BEHIND and tries == 1  # the connection may have died while we stood still

    async def _look(self, within: float) -> bool:
        """Ask where the stream ends, and apply what it has that is new. True if that was all of it. StoreAway."""
        place = self._purges.place
        arguments = (
            secrets.token_hex(8),
            place.generation if place is not None else "",
            place.sequence if place is not None else 0,
            BATCH,
        )
        answer = await self._store.ask("EVAL", scripts.LOOK, 2, *self._keys, *arguments, within=within)
        return await self._take(place, _look_of(answer), within)

    async def _take(self, asked: Position | None, look: Look, within: float) -> bool:
        async with self._lock:
            purges = self._purges
            place = purges.place
            if asked is None or place is None:
                if place is None:
                    purges.adopt(look, None)
                    self._followed.set()
                return True
            if place.generation != asked.generation:
                return False
            lost = compare(asked, look) or await self._apply(look.entries)
            if lost is None:
                return purges.place is not None and purges.place.sequence >= look.last
            if lost is Lost.ROLLED_BACK:
                look = await self._renew(place, within)
            self._lose(look, lost)
            return True

    async def _renew(self, place: Position, within: float) -> Look:
        """Purges are lost that other edges may never have heard of. A new generation tells them, too. StoreAway."""
        answer = await self._store.ask(
            "EVAL", scripts.RENEW, 2, *self._keys, secrets.token_hex(8), place.generation, within=within
        )
        return _look_of(answer)

    def _lose(self, look: Look, lost: Lost) -> None:
        self._purges.adopt(look, lost)
        self._events.add(
            "purge", self._node, f"everything stored is revalidated: {lost.sentence}", reason=lost.value
        )

    async def _apply(self, entries: Iterable[Entry]) -> Lost | None:
        """Apply those that are new; why not all of them could be."""
        begun = now()
        for entry in entries:
            place = self._purges.place
            assert place is not None
            if entry.sequence <= place.sequence:
                continue
            lost = goes_on(place.sequence, place.link, (entry,))
            if lost is not None:
                return lost
            self._apply_one(entry)
            if now() - begun > SLICE:
                await asyncio.sleep(0)
                begun = now()
        return None

    def _apply_one(self, entry: Entry) -> None:
        said = wall()
        try:
            rules, by, accepted = unpacked(entry.raw)
        except ValueError as error:
            rules, by, accepted = (), "", said
            self._purges.distrust(Lost.UNREADABLE)
            self._events.add("purge", self._node, f"{Lost.UNREADABLE.sentence}: {error}", reason="unreadable")
        lag = max(0.0, said - accepted)
        self._lags.observe(lag)
        self._purges.apply_entry(entry, rules, own=by == self._life, wall=said, lag=lag)

    def _tell(self) -> None:
        state = self._purges.standing.state
        if state is not self._said:
            self._said = state
            self._events.add("purge", self._node, f"{state.value}: {state.sentence}", state=state.value)

    # -- listening -----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Wait in the store for what comes next. What is odd about it, the confirming read finds out."""
        standing = self._purges.standing
        wait = max(1, round(standing.lag_max * 1000))
        while True:
            place = self._purges.place
            if place is None:
                await self._followed.wait()
                continue
            try:
                answer = await self._store.wait(
                    "XREAD", "BLOCK", wait, "COUNT", BATCH, "STREAMS", self._keys[1],
                    f"{place.epoch}-{place.sequence}", within=wait / 1000 + standing.patience,
                )  # fmt: skip
            except StoreAway:
                await asyncio.sleep(AGAIN * standing.lag_max)
                continue
            if answer and not await self._came(place, _entries_of(answer)):
                self._wake.set()
                await asyncio.sleep(AGAIN * standing.lag_max)

    async def _came(self, asked: Position, entries: tuple[Entry, ...]) -> bool:
        """Apply what came; False if a look has to find out what it means."""
        async with self._lock:
            place = self._purges.place
            if place is None or place.generation != asked.generation:
                return True  # a look was quicker, and has moved elsewhere
            if any(entry.generation != place.generation for entry in entries):
                return False
            return await self._apply(entries) is None


def _look_of(answer: Any) -> Look:
    generation, epoch, last, link, entries = answer
    found = tuple(_entry(dict(zip(fields[::2], fields[1::2], strict=True))) for _, fields in entries)
    return Look(generation.decode(), int(epoch), int(last), link.decode(), found)


def _entries_of(answer: Any) -> tuple[Entry, ...]:
    """The entries in what XREAD answers, as the client library brings it in either protocol."""
    rows = answer.values() if isinstance(answer, dict) else [row for _, row in answer]
    flat = [row for part in rows for row in (part[0] if part and isinstance(part[0], list) else part)]
    return tuple(_entry(fields) for _, fields in flat)


def _entry(fields: Mapping[bytes, bytes]) -> Entry:
    return Entry(
        fields.get(b"generation", b"").decode(),
        int(fields.get(b"sequence", b"0")),
        fields.get(b"before", b"").decode(),
        fields.get(b"link", b"").decode(),
        fields.get(b"raw", b""),
    )
