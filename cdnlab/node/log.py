"""What a node remembers and writes down: its last requests, its changes of state, an access log.

`Ring` and `Events` are memory, bounded, and numbered so that a reader can follow them: ask for what came
after number N, remember the highest number of the answer, ask again. `AccessLog` writes requests as JSON
lines; it never holds the node up and never ends it: what a full disk or a stuck pipe doesn't take is dropped
and counted. This file does not know what a result or a reason means.
"""

from __future__ import annotations

import json
import logging
import os
import select
import stat
import sys
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from cdnlab.net.clock import wall

REQUEST_FIELDS = (
    "time",  # wall time at the request head, seconds
    "method",
    "host",
    "target",
    "status",
    "result",
    "client_place",
    "seconds",
    "backend",
    "bytes",  # of the response's body
    "reason",
    "request_id",
    "peer",
)
KEPT = 1000
"""Entries kept in each ring: some minutes of a person's clicking, a moment of a load test."""


Entry = tuple[Any, ...]

log = logging.getLogger("cdnlab.node")


class Ring:
    """The last requests. The hot path does `ring.seen += 1; ring.entries.append(entry)` and nothing more.

    An entry is a tuple in the order of `fields`; bytes in it become text only when somebody reads. An
    entry's number is its place in the count of all that were seen, from 1.
    """

    __slots__ = ("entries", "fields", "seen")

    def __init__(self, fields: tuple[str, ...] = REQUEST_FIELDS, access: AccessLog | None = None) -> None:
        self.fields = fields
        self.seen = 0
        self.entries: deque[Entry] = _Logged(self, access) if access else deque(maxlen=KEPT)

    def after(self, number: int | None, limit: int = KEPT) -> dict[str, Any]:
        """Entries with numbers above `number`, oldest first, at most `limit`; None: the newest ones.

        {"seen": highest number given out so far, "missed": how many of those asked for are gone,
        "entries": [{"n": number, field: value, …}]}. A `number` above "seen" is from before a restart:
        everything is given.
        """
        return _after(self.seen, len(self.entries), number, limit, self._entry)

    def _entry(self, numbers: range) -> list[dict[str, Any]]:
        start = numbers.start - (self.seen - len(self.entries) + 1)
        chosen = islice(self.entries, start, start + len(numbers))
        return [{"n": n, **self.named(entry)} for n, entry in zip(numbers, chosen, strict=True)]

    def named(self, entry: Entry) -> dict[str, Any]:
        """An entry as a dict of plain values."""
        return {name: _plain(value) for name, value in zip(self.fields, entry, strict=True)}


class _Logged(deque[Entry]):
    """The ring's entries when an access log is on, so that the hot path needs no question when it is off."""

    __slots__ = ("access", "ring")

    def __init__(self, ring: Ring, access: AccessLog) -> None:
        super().__init__(maxlen=KEPT)
        self.ring = ring
        self.access = access

    def append(self, entry: Entry, /) -> None:
        super().append(entry)
        if self.ring.seen % self.access.every == 0:
            self.access.add(self.ring.named(entry))


class Events:
    """A node's changes of state, each with its reason, newest last; also written to the node's log."""

    __slots__ = ("_entries", "_seen", "listeners", "node")

    def __init__(self, node: str = "") -> None:
        self.node = node
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._seen = 0

    def add(self, kind: str, subject: str, text: str, **facts: Any) -> None:
        """Record that `subject` (a node, backend, VIP, store) changed; `text` says how and why."""
        self._seen += 1
        event = {
            "n": self._seen,
            "time": wall(),
            "kind": kind,
            "node": self.node,
            "subject": subject,
            "text": text,
            "facts": {name: _plain(value) for name, value in facts.items()},
        }
        self._entries.append(event)
        log.info("%s %s: %s", kind, subject, text)
        for listener in self.listeners:
            listener(event)

    def after(self, number: int | None, limit: int = KEPT) -> dict[str, Any]:
        """Events with numbers above `number`; see Ring.after."""
        return _after(self._seen, len(self._entries), number, limit, self._chosen)

    def _chosen(self, numbers: range) -> list[dict[str, Any]]:
        start = numbers.start - (self._seen - len(self._entries) + 1)
        return list(islice(self._entries, start, start + len(numbers)))


class AccessLog:
    """JSON lines, one per request, or one per `every` requests; flushed by the node once a second.

    `descriptor` is not closed here. What is pending is bounded; a line that does not fit, or cannot be
    written, is dropped and counted in `dropped`; `complain` hears of it once, until lines are taken again.
    """

    PENDING = 1 << 20  # bytes that may wait
    FLUSH = 1 << 16  # bytes after which a line does not wait for the next second
    PIECE = 4096  # PIPE_BUF: a pipe that polls writable takes this much without blocking

    def __init__(self, descriptor: int, every: int = 1, complain: Callable[[str], None] = log.error) -> None:
        self.every = every
        self.dropped = 0
        self.written = 0
        self._descriptor = descriptor
        self._complain = complain
        self._complained = False
        self._pending = bytearray()
        self._flush_at = self.FLUSH
        self._torn = False  # the last byte written was inside a line

    def add(self, entry: dict[str, Any]) -> None:
        """Queue one entry, or drop it where there is no room."""
        line = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if len(self._pending) + len(line) > self.PENDING:
            self._drop(1, "it takes lines too slowly")
            return
        self._pending += line
        if len(self._pending) >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, as far as it goes without blocking."""
        try:
            self._write()
        except OSError as error:
            self._drop(self._pending.count(b"\n"), error.strerror or str(error))
            self._pending = bytearray(b"\n" if self._torn else b"")
        self._flush_at = len(self._pending) + self.FLUSH

    def _write(self) -> None:
        regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        while self._pending and (regular or _writable(self._descriptor)):
            piece = bytes(self._pending[: self.FLUSH if regular else self.PIECE])
            size = os.write(self._descriptor, piece)
            self._torn = piece[size - 1] != ord("\n")
            self.written += piece.count(b"\n", 0, size)
            del self._pending[:size]
            self._complained = False

    def _drop(self, lines: int, why: str) -> None:
        self.dropped += lines
        if lines and not self._complained:
            self._complained = True
            self._complain(f"access log: {why}; lines are dropped and counted until it takes them again")


class _Quiet(logging.StreamHandler[Any]):
    """Standard error, until the disk behind it is full: a log line that cannot be written is not an error."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class Throttle(logging.Filter):
    """Lets `most` lines of one logger pass a second; the first of a later second says how many were left out.

    An outage makes one line for each request that fails: without a bound it fills the disk just when somebody needs it.
    """

    def __init__(self, most: int = 20) -> None:
        super().__init__()
        self.most = most
        self._counts: dict[str, tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes."""
        second = int(record.created)
        known, count = self._counts.get(record.name, (second, 0))
        if known != second:
            if count > self.most:
                record.msg = f"{record.getMessage()} (and {count - self.most} lines left out before)"
                record.args = None
            known, count = second, 0
        self._counts[record.name] = (known, count + 1)
        return count < self.most


def configure(node: str, level: int = logging.INFO) -> None:
    """Send this process's log to standard error, one line each, with the node's name."""
    handler = _Quiet(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {node} %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Throttle())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.raiseExceptions = False


def _after(
    seen: int, kept: int, number: int | None, limit: int, choose: Callable[[range], list[dict[str, Any]]]
) -> dict[str, Any]:
    oldest = seen - kept + 1
    if number is None:
        first, missed = max(oldest, seen - limit + 1), 0
    else:
        wanted = number + 1 if 0 <= number <= seen else 1
        first, missed = max(oldest, wanted), max(0, oldest - wanted)
    return {"seen": seen, "missed": missed, "entries": choose(range(first, min(seen, first + limit - 1) + 1))}


def _plain(value: Any) -> Any:
    """A value as JSON takes it: bytes from the wire are shown byte by byte (ISO 8859-1)."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if value is None or isinstance(value, str | int | float | list | dict):
        return value
    return str(value)


def _writable(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(happened & (select.POLLOUT | select.POLLERR) for _, happened in poll.poll(0))
