"""Request heads: bytes to RequestLine and RequestBlock, remembered.

Decides what a request says about itself: method, canonical target, host, framing of its body, persistence
(RFC 9110, RFC 9112). Whatever could be read in two ways is refused, since the next hop may read it the other
way. Must not know peers, routes, limits in time, or what answers a refusal.

Memory: a client sends the same block with each request, but its cookie is its own. So the lines that differ
per client or per request (VOLATILE) are sliced out first, checked, and handed over beside the block; the
block is shared by all clients who send the same other lines, and holds nothing of the volatile ones.
"""

from __future__ import annotations

from typing import NoReturn

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import Field, is_token, make_index, parse_lines, split_list
from cdnlab.wire.framing import CHUNKED, request_length
from cdnlab.wire.memo import Generations, LowerNames, volatile_splitter
from cdnlab.wire.target import Target, parse_host, parse_target

VOLATILE: frozenset[bytes] = frozenset(
    b"cookie authorization traceparent tracestate x-request-id x-forwarded-for cdnlab-explain".split()
)

SAFE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))  # RFC 9110 §9.2.1
IDEMPOTENT = SAFE | {b"PUT", b"DELETE"}  # RFC 9110 §9.2.2

OURS = b"/.well-known/cdnlab/"  # under it our nodes answer each other, and nobody else

METHOD_BYTES = 32  # the longest registered one has 17: UPDATEREDIRECTREF
HEADER_BYTES = 32768  # HAProxy's tune.bufsize is 16 KiB, nginx's large_client_header_buffers 4 x 8 KiB
HEADER_COUNT = 128  # HAProxy's tune.http.maxhdr is 101, Apache's LimitRequestFields 100
TARGET_BYTES = 8192  # RFC 9112 §3 asks for 8000 at the least; nginx and Apache take 8 KiB
CONNECTION_OPTIONS = 64  # browsers send one or two; sixteen thousand fit in a head
MEMO_BYTES = 16 << 20  # half for lines, half for blocks: some 6,000 lines and 1,000 blocks in each generation
_KEPT_BLOCK = 8192  # bytes of a block that is still worth remembering

_KNOWN_METHODS = SAFE | IDEMPOTENT | {b"POST", b"PATCH", b"CONNECT"}
_VERSIONS = {b"HTTP/1.1": 11, b"HTTP/1.0": 10}
_split_volatile = volatile_splitter(sorted(VOLATILE))
_lower = LowerNames(VOLATILE).__getitem__


class RequestLine:
    """`GET /a?b HTTP/1.1`: version is 10 or 11; safe and idempotent say what RFC 9110 §9.2 says of the
    method.

    `start` is the line as it is sent on, with its CRLF; `ordinary`: a gateway may send it on so, which does not hold
    for CONNECT, TRACE, a target that brings its own authority, and what our nodes ask each other. `gets`: it is GET or
    HEAD. `derived` is where the tier remembers what it computed from this line; never anything of one client.
    """

    __slots__ = (
        "derived",
        "gets",
        "idempotent",
        "method",
        "ordinary",
        "raw",
        "safe",
        "start",
        "target",
        "version",
    )

    def __init__(self, raw: bytes, method: bytes, target: Target, version: int) -> None:
        self.raw = raw
        self.method = method
        self.target = target
        self.version = version
        self.safe = method in SAFE
        self.gets = method == b"GET" or method == b"HEAD"
        self.derived: object | None = None
        self.idempotent = method in IDEMPOTENT
        self.start = method + b" " + target.canonical + b" HTTP/1.1\r\n"
        self.ordinary = (
            target.authority is None
            and method not in (b"CONNECT", b"TRACE")
            and not target.canonical.startswith(OURS)
        )


class RequestBlock:
    """The field section of a request without its volatile lines. Shared between requests: never change it,
    but for `derived`.

    fields, lines  in order: (lower name, value) and the raw lines they stand in
    index          lower name -> values joined by b", "
    host           lower-case host[:port]; b"" only for HTTP/1.0 without Host
    length         bytes of the body by Content-Length, 0 if there is no body, -1 chunked
    connection     lower-case options of Connection
    close          the connection ends after this request, by its version and options; keep_alive: not close
    expect         the client waits for 100 (Continue) before it sends its body
    upgrade        value of Upgrade, if Connection names it and the version allows it (RFC 9110 §7.8)
    size           bytes of memory this block is reckoned to hold
    derived        where the tier remembers what it computed from this block; never anything of one client
    """

    __slots__ = (
        "chunked",
        "close",
        "connection",
        "derived",
        "expect",
        "fields",
        "host",
        "index",
        "keep_alive",
        "length",
        "lines",
        "raw",
        "size",
        "upgrade",
    )

    def __init__(self, raw: bytes, version: int) -> None:
        self.raw = raw
        self.lines, self.fields = parse_lines(raw[2:])
        self.index = index = make_index(self.fields)
        self.host = _host(self.fields, version)
        self.length = request_length(self.fields, version)
        self.chunked = self.length == CHUNKED
        self.connection = options = connection_options(index.get(b"connection"))
        self.keep_alive = b"close" not in options and (version == 11 or b"keep-alive" in options)
        self.close = not self.keep_alive
        self.expect = _expect(index.get(b"expect"), version) and self.length != 0
        self.upgrade = index.get(b"upgrade") if version == 11 and b"upgrade" in options else None
        # about twice what parsing makes of a browser's block: what is derived from it is counted in
        self.size = 1200 + 6 * len(raw) + 400 * len(self.lines) + 200 * len(options)
        self.derived: object | None = None


_NO_OPTIONS: frozenset[bytes] = frozenset()


def connection_options(value: bytes | None, status: int | None = None) -> frozenset[bytes]:
    """The lower-case options of a Connection field (RFC 9110 §7.6.1); members that are no tokens name nothing.

    Raises Malformed for more than CONNECTION_OPTIONS: each costs a look-up wherever fields are passed on.
    """
    if value is None:
        return _NO_OPTIONS
    options = split_list(value)
    if len(options) > CONNECTION_OPTIONS:
        raise Malformed(Why.OPTIONS_MANY, status=status)
    return frozenset(option.lower() for option in options if is_token(option))


def _host(fields: tuple[Field, ...], version: int) -> bytes:
    hosts = [value for name, value in fields if name == b"host"]
    if len(hosts) == 1:
        return parse_host(hosts[0])
    if hosts:
        raise Malformed(Why.HOST_MANY)
    if version == 11:
        raise Malformed(Why.HOST_MISSING)
    return b""


def _expect(value: bytes | None, version: int) -> bool:
    if value is None or version == 10:  # RFC 9110 §10.1.1: ignored in HTTP/1.0
        return False
    expectations = split_list(value)
    if any(expectation.lower() != b"100-continue" for expectation in expectations):
        raise Malformed(Why.EXPECTATION, value)
    return bool(expectations)


def parse_line(raw: bytes, target_bytes: int = TARGET_BYTES) -> RequestLine:
    """The request line `raw`, without its CRLF (RFC 9112 §3). Raises Malformed: 400, 414, 501, 505."""
    parts = raw.split(b" ")
    if len(parts) != 3 or not parts[1]:
        raise Malformed(Why.REQUEST_LINE, raw)
    method, target, protocol = parts
    if method not in _KNOWN_METHODS:
        _check_method(method)
    version = _VERSIONS.get(protocol) or _refuse_version(protocol)
    if len(target) > target_bytes:
        raise Malformed(Why.TARGET_LONG)
    return RequestLine(raw, method, parse_target(target, method), version)


class _PlainGet(RequestLine):
    """A GET whose target is canonical as it stands. Of a million targets none is remembered when it comes again, so
    what all of these lines have in common is said once, here, and not written into each."""

    __slots__ = ()

    method = b"GET"
    version = 11
    safe = idempotent = gets = True

    def __init__(self, raw: bytes, target: Target) -> None:
        self.raw = raw
        self.target = target
        self.start = raw + b"\r\n"
        self.ordinary = True
        self.derived = None


def _plain_get(raw: bytes) -> RequestLine | None:
    """The line if it is `GET`, a path of unreserved characters and `/` without a dot segment, `HTTP/1.1`; else None,
    which says nothing. Agrees with `parse_line`, which a test holds it to."""
    path = raw[4:-9]
    if raw[:5] != b"GET /" or raw[-9:] != b" HTTP/1.1" or path.translate(None, _PLAIN) or b"/." in path:
        return None
    return _PlainGet(raw, Target(path, b"origin", path, None, None, path))


_PLAIN = b"-._~/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _check_method(method: bytes) -> None:
    if not is_token(method):
        raise Malformed(Why.METHOD, method)
    if len(method) > METHOD_BYTES:
        raise Malformed(Why.METHOD_LONG, method)


def _refuse_version(protocol: bytes) -> NoReturn:
    well_formed = len(protocol) == 8 and protocol[:5] == b"HTTP/" and protocol[6:7] == b"."
    if well_formed and protocol[5:6].isdigit() and protocol[7:].isdigit():
        raise Malformed(Why.VERSION, protocol)
    raise Malformed(Why.REQUEST_LINE, protocol)


class RequestMemo:
    """Parses request heads and remembers what they meant, within `budget` bytes. One per node."""

    __slots__ = ("_blocks", "_header_bytes", "_header_count", "_target_bytes", "lines")

    def __init__(
        self,
        budget: int = MEMO_BYTES,
        *,
        header_bytes: int = HEADER_BYTES,
        header_count: int = HEADER_COUNT,
        target_bytes: int = TARGET_BYTES,
    ) -> None:
        self._header_bytes = header_bytes
        self._header_count = header_count
        self._target_bytes = target_bytes
        self.lines: Generations[RequestLine] = Generations(budget // 2)
        """For who reads `young` first, and asks `line` for what is not there: a call is spared for each request."""
        self._blocks: Generations[RequestBlock] = Generations(budget - budget // 2)

    def forget(self, *, header_bytes: int, header_count: int, target_bytes: int) -> None:
        """Forget all that was remembered, and what tiers derived from it; these are the limits from now on."""
        self._header_bytes = header_bytes
        self._header_count = header_count
        self._target_bytes = target_bytes
        self.lines.forget()
        self._blocks.forget()

    def line(self, raw: bytes) -> RequestLine:
        """The request line `raw`, without its CRLF. Raises Malformed: 400, 414, 501, 505."""
        try:
            return self.lines.young[raw]
        except KeyError:
            return self.line_missed(raw)

    def line_missed(self, raw: bytes) -> RequestLine:
        """The same for who has looked at `lines.young` himself."""
        lines = self.lines
        line = lines.old.pop(raw, None)
        if line is None:
            plain = _plain_get(raw) if len(raw) <= self._target_bytes else None
            line = plain or parse_line(raw, self._target_bytes)
        lines.keep(raw, line, 800 + 6 * len(raw))
        return line

    def block(self, raw: bytes, version: int) -> tuple[RequestBlock, tuple[Field, ...]]:
        """(the block without volatile lines, the volatile fields in order) of the field section `raw`: b"" or
        CRLF and a line, again and again, up to the CRLFCRLF that ends the head and without it. Raises
        Malformed: 400, 417, 431, 501."""
        parts = _split_volatile(
            raw
        )  # its values hold no white space but SP and HTAB: a bare rstrip() will do
        if len(parts) == 1:
            volatile: tuple[Field, ...] = ()
            key = raw
        elif len(parts) == 4:
            volatile = ((_lower(parts[1]), parts[2].rstrip()),)
            key = parts[0] + parts[3]
        else:
            volatile = tuple([(_lower(parts[i]), parts[i + 1].rstrip()) for i in range(1, len(parts), 3)])
            key = b"".join(parts[::3])
        if version != 11:
            key = b"\0" + key  # no block begins so: the same lines mean something else in HTTP/1.0
        try:
            block = self._blocks.young[key]
        except KeyError:
            block = self._block_missed(key, version, len(raw))
        if volatile and (
            len(volatile) + len(block.lines) > self._header_count or len(raw) > self._header_bytes
        ):
            raise Malformed(Why.HEAD_LARGE if len(raw) > self._header_bytes else Why.HEAD_MANY)
        return block, volatile

    def _block_missed(self, key: bytes, version: int, size: int) -> RequestBlock:
        if size > self._header_bytes:
            raise Malformed(Why.HEAD_LARGE)
        block = self._blocks.recall(key, _block_cost)
        if block is None:
            raw = key if version == 11 else key[1:]
            if raw.count(b"\r\n") > self._header_count:
                raise Malformed(Why.HEAD_MANY)
            block = RequestBlock(raw, version)
            if len(raw) <= _KEPT_BLOCK:
                self._blocks.keep(key, block, block.size)
        return block


def _block_cost(block: RequestBlock) -> int:
    return block.size
