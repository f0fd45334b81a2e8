"""A table that several nodes hold each for itself, kept alike through the store.

Each node decides by its own table and never waits. What it changes is written behind, in batches: one script call
puts the records into a hash, newest wins, and tells the others in an entry of a stream. Each node reads that stream, in
order. The stream forgets; who misses an entry of it (each one names the one before) loads the hash as a whole.

    put, remove ──▶ waiting ──(20 ms)──▶ WRITE ──▶ hash + stream ──▶ everybody's merge()
                                  └── sent, until read in the stream: what is older than that is not merged

When the store comes back, and it is the one we knew, what waits is written and reading goes on. If it lost its memory,
the hash is merged into our table first, and then what our table has and the hash lacks is filled in.

Two other designs were weighed. One key per record with the server's own expiry needs no sweep, but the whole is found
by going through everybody's keys, and cannot be counted, hence not bounded. Publish and subscribe is quicker by nothing
that matters, and a reader cannot tell that it missed something.

It must not know what keys and values mean. It needs no module of the server: EVAL, hashes and streams (5.0).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from cdnlab.net.clock import now, wall
from cdnlab.net.tasks import spawn
from cdnlab.node import replica_record as record
from cdnlab.node.metrics import Tally
from cdnlab.node.store import Store, StoreAway

log = logging.getLogger("cdnlab.replica")

BATCH_TIME = 0.020  # seconds that a change may wait for others
BATCH = 256  # records of one script call: about a millisecond of the server's time
NEWS = 1000
"""Entries of the stream that the store keeps, about: two seconds of eight nodes that write all the time."""
SCAN = 500  # records of one slice of a whole load
SLICE = 0.002  # seconds of merging after which others may run
LOOK_EVERY = 32  # records between two looks at the clock
BLOCK = 0.25  # seconds that a read waits in the store for news
WITHIN = 0.5  # seconds beyond, and for every other command
AGAIN = 0.05  # seconds after a failure, doubled up to the next
LONGEST_PAUSE = 1.0
SWEEP_PAUSE = 1.0
SWEEP_MOST = 2000  # records of one look for those whose life is over: a millisecond of the server's time
OUTBOX = 65_536
"""Changes that wait for the store. Beyond, the oldest are dropped, and the whole table is offered when it is back."""

Entry = tuple[bytes, bytes, float]
"""Key, value, seconds of life left."""
_EMPTY = "0-0"


class Missed(Exception):
    """The stream does not go on where we stopped reading."""


class Replica:
    """One node's side of one topic."""

    def __init__(
        self,
        store: Store,
        lab: str,
        topic: str,
        merge: Callable[[bytes, bytes, float], None],
        each: Callable[[], Iterable[Entry]],
        *,
        life: float = 3600.0,
        most: int = 1_000_000,
        outbox: int = OUTBOX,
        batch: float = BATCH_TIME,
    ) -> None:
        """`merge(key, value, life)` takes what another wrote, life in seconds; life 0.0 says that the key was removed.
        `each()` gives the local entries; it is read in slices while the table changes, and must stand that. `life`: the
        longest that an entry of this topic gets; `most`: records that the store may hold. `batch`: seconds that a
        change may wait for others."""
        self.topic = topic
        self.loads = self.overflowed = self.full = self.unreadable = 0
        self.merged = 0
        """Records taken from others."""
        self._store = store
        self._keys = record.keys(lab, topic)
        self._merge = merge
        self._each = each
        self._life = life
        self._most = most
        self._outbox = outbox
        self._batch_time = batch
        self._writer = secrets.token_hex(record.WRITER_DIGITS // 2).encode()
        self._clock = record.Clock()
        # whoever takes the first of a plain dict again and again goes over all that were taken before
        self._waiting: OrderedDict[bytes, bytes] = OrderedDict()
        self._sent: OrderedDict[bytes, bytes] = OrderedDict()
        """Written, but not yet read in the stream: nothing older than that is news."""
        self._fill = False
        """Whether the store may lack what the table has."""
        self._position: str | None = None
        """The last entry of the stream that was read; None: nothing is known about what is there."""
        self._confirmed = -1.0
        self._work = asyncio.Event()
        self._loaded = asyncio.Event()
        self.spread = Tally()
        self._tasks: list[asyncio.Task[None]] = []

    # -- for the table's owner ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load, to follow and to write."""
        for work, name in ((self._follow, "reads"), (self._write, "writes"), (self._sweep, "sweeps")):
            self._tasks.append(spawn(work(), f"replica {self.topic} {name}"))

    def stop(self) -> None:
        """End it; what waits is lost."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def loaded(self, within: float) -> bool:
        """Wait until everything in the store has been loaded once, for at most `within` seconds; whether it was."""
        try:
            async with asyncio.timeout(within):
                await self._loaded.wait()
        except TimeoutError:
            pass
        return self._loaded.is_set()

    async def flushed(self, within: float) -> bool:
        """Wait until nothing waits to be written, for at most `within` seconds; whether that was reached."""
        deadline = now() + within
        while (self._waiting or self._work.is_set()) and now() < deadline:  # noqa: ASYNC110 - once, when a node ends
            await asyncio.sleep(self._batch_time / 4)
        return not self._waiting and not self._work.is_set()

    def put(self, key: bytes, value: bytes, life: float) -> None:
        """Have all others know `value` for `life` seconds. `key` is not empty. Never blocks, never fails."""
        self._change(key, record.packed(self._clock.tick(wall()), self._writer, life, value))

    def remove(self, key: bytes) -> None:
        """Have all others forget `key`."""
        stamp = self._clock.tick(wall())
        self._change(key, record.packed(stamp, self._writer, record.REMOVED_LIFE, None))

    @property
    def age(self) -> float:
        """Seconds since the store last confirmed that there is nothing we do not know; infinity before it ever did."""
        return now() - self._confirmed if self._confirmed >= 0 else float("inf")

    @property
    def unsent(self) -> int:
        """Changes that wait to be written."""
        return len(self._waiting)

    def status(self) -> dict[str, Any]:
        """The row of /status."""
        age = self.age
        return {
            "topic": self.topic,
            "state": self._state(),
            "age": None if age == float("inf") else round(age, 3),
            "unsent": len(self._waiting),
            "dropped": self.overflowed + self.full + self.unreadable,
            "loads": self.loads,
        }

    def _state(self) -> str:
        if not self._store.up:
            return "away"
        return "follows" if self._loaded.is_set() and self._position is not None else "loads"

    # -- writing -------------------------------------------------------------------------------------------------------

    def _change(self, key: bytes, raw: bytes) -> None:
        waiting = self._waiting
        waiting[key] = raw
        waiting.move_to_end(key)  # what is dropped first is what changed longest ago
        self._bound()
        if not self._work.is_set():
            self._work.set()

    async def _write(self) -> None:
        pause = AGAIN
        while True:
            await self._work.wait()
            await asyncio.sleep(self._batch_time)
            try:
                await self._flush()
                pause = AGAIN
            except StoreAway:
                await self._rest(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _flush(self) -> None:
        """Write all that waits. StoreAway."""
        waiting = self._waiting
        while waiting:
            batch = {key: waiting[key] for key in islice(waiting, BATCH)}
            for key in batch:
                del waiting[key]
            self._sent.update(batch)
            try:
                await self._send(batch, fill=False)
            except StoreAway:
                self._again(batch)
                raise
        self._work.clear()
        while len(self._sent) > self._outbox:
            self._sent.popitem(last=False)

    async def _send(self, batch: dict[bytes, bytes], *, fill: bool) -> None:
        arguments: list[str | bytes | int] = [self._most, NEWS, int(fill)]
        for pair in batch.items():
            arguments += pair
        self.full += int(
            await self._store.call("EVAL", record.WRITE, 2, *self._keys, *arguments, within=WITHIN)
        )

    def _again(self, batch: Mapping[bytes, bytes]) -> None:
        """What may or may not have been written waits once more, before all that came later: writing twice does no
        harm."""
        waiting = self._waiting
        for key in reversed(list(batch)):
            if key not in waiting:
                waiting[key] = batch[key]
                waiting.move_to_end(key, last=False)
        self._bound()
        if waiting:
            self._work.set()

    def _bound(self) -> None:
        while len(self._waiting) > self._outbox:
            self._waiting.popitem(last=False)
            self.overflowed += 1
            self._fill = True

    async def _rest(self, pause: float) -> None:
        """Until the store is there, and a pause beyond: it may answer, and yet refuse to be written to."""
        await asyncio.sleep(pause)
        while not self._store.up:
            await self._store.changed()

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        pause = AGAIN
        while True:
            try:
                if not self._store.up:
                    await self._store.changed()
                    continue
                if self._fill or not await self._goes_on():
                    await self._load()
                pause = AGAIN
                while not self._fill:
                    await self._read()
            except Missed:
                self._position = None
            except StoreAway:
                self._again(self._sent)
                self._sent.clear()
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _goes_on(self) -> bool:
        """Is the stream the one that we were reading, and does it still hold the entry where we stopped?"""
        position = self._position
        if position is None:
            return False
        if position == _EMPTY:
            return not await self._store.call("EXISTS", self._keys[1], within=WITHIN)
        return bool(
            await self._store.call("XRANGE", self._keys[1], position, position, "COUNT", 1, within=WITHIN)
        )

    async def _load(self) -> None:
        """Merge all that the store has, then offer it what only our table has. StoreAway."""
        self._position = None
        last = await self._store.call("XREVRANGE", self._keys[1], "+", "-", "COUNT", 1, within=WITHIN)
        self._again(self._sent)
        self._sent.clear()
        cursor: Any = 0
        while True:
            cursor, found = await self._store.call(
                "HSCAN", self._keys[0], cursor, "COUNT", SCAN, within=WITHIN
            )
            await self._take(found.items())
            if not int(cursor):
                break
        self._fill = False
        try:
            await self._offer()
        except StoreAway:
            self._fill = True
            raise
        self._position = last[0][0].decode() if last else _EMPTY
        self._confirmed = now()
        self.loads += 1
        self._loaded.set()

    async def _offer(self) -> None:
        """Fill in what the table has. A stamp is made from the life that is left, so that an entry comes out about as
        old as it is, and never younger."""
        entries = iter(self._each())
        while chunk := list(islice(entries, BATCH)):
            instant, batch = wall(), {}
            for key, value, left in chunk:
                if left > 0 and key not in self._waiting:
                    life = max(self._life, left)
                    stamp = int((instant + left - life) * 1_000_000)
                    batch[key] = record.packed(stamp, self._writer, life, value)
            if batch:
                await self._send(batch, fill=True)
            else:
                await asyncio.sleep(0)

    async def _read(self) -> None:
        """Wait for news, and merge them. StoreAway, Missed."""
        assert self._position is not None
        answer = await self._store.wait(
            "XREAD", "BLOCK", round(BLOCK * 1000), "COUNT", 8, "STREAMS", self._keys[1], self._position,
            within=BLOCK + WITHIN,
        )  # fmt: skip
        for identity, fields in record.rows(answer):
            pairs = iter(fields.items())
            before, _, offered = next(pairs, (b"", b""))[1].partition(b" ")
            if before.decode() != self._position:
                raise Missed
            await self._take(pairs, news=not offered)
            self._position = identity.decode()
        self._confirmed = now()

    async def _take(self, pairs: Iterable[tuple[bytes, bytes]], *, news: bool = False) -> None:
        """Merge what others wrote, a slice at a time."""
        instant = wall()
        begun = now()
        for looked, (key, raw) in enumerate(pairs, 1):
            try:
                self._take_one(key, raw, instant)
            except Exception:  # another node's word, of another version perhaps, must not end this one
                self.unreadable += 1
                log.debug("replica %s: a record cannot be read", self.topic, exc_info=True)
            if news:
                news = False
                self._observe(raw, instant)
            if looked % LOOK_EVERY == 0 and now() - begun > SLICE:
                await asyncio.sleep(0)
                instant, begun = wall(), now()

    def _take_one(self, key: bytes, raw: bytes, instant: float) -> None:
        said = record.unpacked(raw, instant)
        self._clock.seen(said.stamp)
        order = raw[: record.ORDER]
        sent = self._sent.get(key)
        if sent is not None and sent[: record.ORDER] <= order:
            del self._sent[key]
            sent = None
        waiting = self._waiting.get(key)
        if (
            said.writer == self._writer
            or sent is not None
            or (waiting is not None and waiting[: record.ORDER] > order)
        ):
            return
        if said.removed:
            self._merge(key, b"", 0.0)
        else:
            left = record.life_left(said, instant)
            if left <= 0:
                return
            self._merge(key, said.value, left)
        self.merged += 1

    def _observe(self, raw: bytes, instant: float) -> None:
        if raw[14 : record.ORDER] != self._writer and raw[:14].isalnum():
            self.spread.add(max(0.0, instant - int(raw[:14], 16) / 1_000_000))

    # -- sweeping ------------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Remove from the store what has lived its time: each node looks at a small part of it each second."""
        cursor, count = "0", 100
        while True:
            await asyncio.sleep(SWEEP_PAUSE)
            if not self._store.up:
                continue
            try:
                answer = await self._store.call(
                    "EVAL", record.SWEEP, 1, self._keys[0], cursor, count, within=WITHIN
                )
            except StoreAway:
                continue
            cursor = answer[0].decode()
            count = min(SWEEP_MOST, max(100, int(answer[2]) // 60))
