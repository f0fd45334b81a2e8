"""Disk storages in a test's own loop, and objects to put into them."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cdnlab.net import tasks
from cdnlab.net.clock import now
from edge.directives import response_control
from edge.disk.directory import Directory
from edge.disk.files import Files
from edge.disk.found import Remote
from edge.disk.reasons import State
from edge.disk.storage import DiskStorage
from edge.freshness import Source
from edge.object import StoredObject

MIB = 1 << 20


def body_of(key: bytes, size: int) -> bytes:
    """The one right body for a key."""
    return random.Random(key).randbytes(size)


def make(
    key: bytes,
    size: int = 1000,
    *,
    variant: bytes | None = None,
    age: float = 10.0,
    lifetime: float = 3600.0,
    etag: bytes = b'"1"',
    body: bytes | None = None,
) -> StoredObject:
    """An object whose body follows from its key."""
    body = body_of(key, size) if body is None else body
    validator = b"ETag: %b\r\n" % etag if etag else b""
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%bContent-Length: %d\r\n" % (validator, size)
    born = now() - age
    return StoredObject(
        key=key,
        variant=variant,
        status=200,
        start=start,
        chain=b"origin-shield; hit, ",
        body=body,
        born=born,
        fresh_until=born + lifetime,
        control=response_control(b"max-age=%d, must-revalidate" % lifetime),
        source=Source.MAX_AGE,
        open=True,
        tags=(b"red", b"a,b"),
        groups=(b"shop items",),
    )


Field = Callable[[bytes], bytes | None]


def nothing(name: bytes) -> bytes | None:
    """A request without fields."""
    return None


async def until(condition: Callable[[], object], what: str = "the condition", seconds: float = 20.0) -> None:
    """Wait for it."""
    import asyncio

    limit = now() + seconds
    while not condition():
        assert now() < limit, f"{what} did not come about"
        await asyncio.sleep(0.002)


async def settled(disk: DiskStorage) -> None:
    """Everything that was put has been written, and the index is complete."""
    await until(lambda: not disk.queued and not disk.upkeep.busy, "the writer is done")


@asynccontextmanager
async def storage(path: Path, capacity: int = 16 * MIB, **options: Any) -> AsyncIterator[DiskStorage]:
    """One that is closed in order at the end."""
    disk = DiskStorage(Directory(path), capacity, **options)
    disk.start()
    try:
        yield disk
    finally:
        await disk.close()
        await tasks.cancel_all()


async def ready(disk: DiskStorage) -> DiskStorage:
    """Once it has read what lies in its directory."""
    await until(lambda: disk.state is not State.STARTING, "the start")
    return disk


async def get(disk: DiskStorage, key: bytes, field: Field = nothing) -> StoredObject | None:
    """What a lookup and a read give."""
    found = disk.select(key, field)
    return None if found is None else await disk.load(found)


async def whole(stored: StoredObject | None) -> bytes | None:
    """The body."""
    if not isinstance(stored, Remote):
        return None if stored is None else stored.body
    return b"".join([piece async for piece in stored.pieces.stream()])


async def body(disk: DiskStorage, key: bytes, field: Field = nothing) -> bytes | None:
    """The body that lies under a key, None if none does."""
    return await whole(await get(disk, key, field))


async def put_large(disk: DiskStorage, key: bytes, size: int, part: int = 50_000) -> bool:
    """Let a large body arrive in parts; the sender waits where it is told to."""
    incoming = disk.begin()
    if incoming is None:
        return False
    data = body_of(key, size)
    for at in range(0, size, part):
        if not incoming.add(data[at : at + part]):
            await until(lambda: not incoming.full, "room")
    return incoming.commit(make(key, size, body=b""), ())


class Quota(Files):
    """A disk that has room for `room` bytes, and breaks on request."""

    def __init__(self, room: int = 1 << 60) -> None:
        self.room = room
        self.broken: int | None = None
        self.broken_reads = False
        self.writes = 0

    def write(self, fd: int, parts: Sequence[bytes | memoryview], offset: int) -> int:
        self.writes += 1
        if self.broken is not None:
            raise OSError(self.broken, os.strerror(self.broken))
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = b"".join(parts)[: self.room]
        done = super().write(fd, [data], offset)
        self.room -= done
        return done

    def read(self, fd: int, size: int, offset: int) -> bytes:
        if self.broken_reads:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(fd, size, offset)

    def unlink(self, path: Path) -> None:
        if path.exists():
            self.room += path.stat().st_size
        super().unlink(path)


Check = Callable[[], Awaitable[None]]
