"""Response heads: bytes to ResponseBlock, remembered.

Decides what a response says about itself: status, framing, persistence (RFC 9112 §4, §6.3). Whatever is
malformed is a 502. Must not know caching, backends, or the request but for its method.

Memory: an object's head is the same each time but for Date and Age; those lines are sliced out and handed
over beside the block.
"""

from __future__ import annotations

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import VALUE_BYTES, Field, make_index, parse_lines
from cdnlab.wire.framing import CHUNKED, UNTIL_CLOSE, response_length
from cdnlab.wire.memo import Generations, LowerNames, volatile_splitter
from cdnlab.wire.request import HEADER_BYTES, HEADER_COUNT, connection_options

VOLATILE: frozenset[bytes] = frozenset((b"date", b"age"))
MEMO_BYTES = (
    32 << 20
)  # two generations of some 2,500 heads each; with 1,000 objects behind a proxy 4 MiB thrash
_KEPT_HEAD = 8192  # bytes of a head that is still worth remembering

_VERSIONS = {b"HTTP/1.1": 11, b"HTTP/1.0": 10}
_split_volatile = volatile_splitter(sorted(VOLATILE))
_lower = LowerNames(VOLATILE).__getitem__


class ResponseBlock:
    """A response head without its Date and Age lines. Shared between responses: never change it, but for
    `derived`.

    status, reason, version   200, b"OK", 11 or 10
    fields, lines, index      as in RequestBlock
    length                    by the fields alone: n, -1 chunked, -2 until close; `body_framing` adds what the
                              request says
    connection                lower-case options of Connection
    close                     the connection is not used again; keep_alive is its opposite
    bodiless                  no response with this status has a body (1xx, 204, 304)
    until_close               the body, if the request lets there be one, ends with the connection
    size                      bytes of memory this block is reckoned to hold
    derived                   where the tier remembers what it computed from this block
    """

    __slots__ = (
        "bodiless",
        "chunked",
        "close",
        "connection",
        "derived",
        "fields",
        "index",
        "keep_alive",
        "length",
        "lines",
        "raw",
        "reason",
        "size",
        "status",
        "until_close",
        "version",
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        line, _, rest = raw.partition(b"\r\n")
        self.version, self.status, self.reason = parse_status_line(line)
        self.lines, self.fields = parse_lines(rest, 502)
        self.index = index = make_index(self.fields)
        self.bodiless = self.status < 200 or self.status == 204 or self.status == 304
        self.length = response_length(self.fields, self.version)
        self.chunked = self.length == CHUNKED
        self.until_close = self.length == UNTIL_CLOSE
        self.connection = options = connection_options(index.get(b"connection"), 502)
        odd_coding = self.until_close and b"transfer-encoding" in index
        lasting = self.version == 11 or b"keep-alive" in options
        self.keep_alive = lasting and b"close" not in options and not odd_coding
        self.close = not self.keep_alive
        self.size = 1200 + 6 * len(raw) + 400 * len(self.lines) + 200 * len(options)
        self.derived: object | None = None


def parse_status_line(line: bytes) -> tuple[int, int, bytes]:
    """(version 10 | 11, status 100..999, reason) of a status line without its CRLF (RFC 9112 §4). Raises
    Malformed (502).

    The space before an empty reason may be missing: servers in use leave it out, and nothing can be misread.
    """
    version = _VERSIONS.get(line[:8])
    status = line[9:12]
    reason = line[13:]
    if (
        version is None
        or line[8:9] != b" "
        or len(status) != 3
        or not status.isdigit()
        or status < b"100"
        or line[12:13] not in (b" ", b"")
        or reason.translate(None, VALUE_BYTES)
    ):
        raise Malformed(Why.STATUS_LINE, line)
    return version, int(status), reason


def body_framing(block: ResponseBlock, request_method: bytes) -> int:
    """Bytes of the body that answers `request_method`, 0 for none, -1 chunked, -2 until close (RFC 9112
    §6.3)."""
    return 0 if block.bodiless or request_method == b"HEAD" else block.length


class ResponseMemo:
    """Parses response heads and remembers what they meant, within `budget` bytes. One per node."""

    __slots__ = ("_header_bytes", "_header_count", "_heads")

    def __init__(
        self,
        budget: int = MEMO_BYTES,
        *,
        header_bytes: int = HEADER_BYTES,
        header_count: int = HEADER_COUNT,
    ) -> None:
        self._header_bytes = header_bytes
        self._header_count = header_count
        self._heads: Generations[ResponseBlock] = Generations(budget)

    def head(self, raw: bytes) -> tuple[ResponseBlock, tuple[Field, ...]]:
        """(the block without Date and Age, those fields in order) of a whole head: status line and field
        lines joined by CRLF, without the CRLFCRLF that ends it. Raises Malformed (502)."""
        parts = _split_volatile(raw)
        if len(parts) == 1:
            volatile: tuple[Field, ...] = ()
            key = raw
        elif len(parts) == 4:
            volatile = ((_lower(parts[1]), parts[2].rstrip()),)
            key = parts[0] + parts[3]
        else:
            volatile = tuple([(_lower(parts[i]), parts[i + 1].rstrip()) for i in range(1, len(parts), 3)])
            key = b"".join(parts[::3])
        try:
            block = self._heads.young[key]
        except KeyError:
            block = self._missed(key, len(raw))
        if volatile and (
            len(volatile) + len(block.lines) > self._header_count or len(raw) > self._header_bytes
        ):
            raise Malformed(Why.HEAD_LARGE if len(raw) > self._header_bytes else Why.HEAD_MANY, status=502)
        return block, volatile

    def _missed(self, key: bytes, size: int) -> ResponseBlock:
        if size > self._header_bytes:
            raise Malformed(Why.HEAD_LARGE, status=502)
        block = self._heads.recall(key, _cost)
        if block is None:
            if key.count(b"\r\n") > self._header_count:
                raise Malformed(Why.HEAD_MANY, status=502)
            block = ResponseBlock(key)
            if len(key) <= _KEPT_HEAD:
                self._heads.keep(key, block, block.size)
        return block


def _cost(block: ResponseBlock) -> int:
    return block.size
