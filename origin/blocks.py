"""The bytes of the download files and of sized answers, made by offset: never on disk, never whole in memory.

Decides what stands at each offset. A file is a row of 64 KiB blocks; each begins with a line that names the
file and the block's offset, so a part served from a wrong offset shows at once, and goes on with
pseudo-random bytes that do not compress, from one pad of 1 MiB. Must not know HTTP. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import shake_128

BLOCK = 64 * 1024
PAD_BLOCKS = 16
_DOTS = b"." * 50 + b"\n"
SEED = b"cdnlab download files, first edition"


def pieces(name: str, first: int, end: int) -> Iterator[bytes]:
    """The bytes [first, end) of file `name`, in pieces of at most 64 KiB."""
    while first < end:
        index, skip = divmod(first, BLOCK)
        piece = block(name, index)[skip : skip + end - first]
        first += len(piece)
        yield piece


def block(name: str, index: int) -> bytes:
    """Block `index` of file `name`: 64 KiB."""
    head = f"{name} {index * BLOCK:012d}\n".encode()
    return head + _pad()[index % PAD_BLOCKS][len(head) :]


def text(first: int, end: int) -> Iterator[bytes]:
    """The bytes [first, end) of an endless text of 64-byte lines, each beginning with its own offset."""
    while first < end:
        start = first - first % 64
        stop = min(start + BLOCK, end + 64)
        lines = b"".join(b"%012d %b" % (offset, _DOTS) for offset in range(start, stop, 64))
        piece = lines[first - start : end - start]
        first += len(piece)
        yield piece


@cache
def _pad() -> tuple[bytes, ...]:
    pad = shake_128(SEED).digest(BLOCK * PAD_BLOCKS)
    return tuple(pad[start : start + BLOCK] for start in range(0, len(pad), BLOCK))
