"""Bytes into coded bytes.

Decides parameters. The same body, coding and level give the same bytes, whenever it is done: no time and no name stands
in them. It must not know responses. Each call lets other threads run while it works. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli
import zstandard

WINDOW_MAX = 23
"""log2 of the largest window that RFC 9659 lets a sender of `zstd` use (8 MiB); up to level 19 zstandard's own choice
stays below."""


def gzip(body: bytes, level: int) -> bytes:
    """RFC 1952, without a time or name in its head; level 1 to 9."""
    return zlib.compress(body, level, wbits=31)


def br(body: bytes, level: int) -> bytes:
    """RFC 7932; level 0 to 11. The window is 4 MiB, brotli's default, which every decoder takes."""
    found: bytes = brotli.compress(body, quality=level, lgwin=22)
    return found


def zstd(body: bytes, level: int) -> bytes:
    """RFC 8878 in one frame that says how long the body is; level 1 to 19 (those above pass RFC 9659's window)."""
    return zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False).compress(body)


CODECS: dict[bytes, Callable[[bytes, int], bytes]] = {b"br": br, b"gzip": gzip, b"zstd": zstd}
