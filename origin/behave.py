"""`/behave`: sends the response that behaviours.py understood, down to slow, cut short and with trailers.

Decides nothing but how to put it on the wire.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from cdnlab.net import clock
from cdnlab.wire.dates import parse_date
from origin import blocks, conditional, digest, echo, reply
from origin.behaviours import Behaviour, Wrong, understand

TICK = 0.05  # seconds between the drops of a drip
NAMES = {
    "cc": "Cache-Control",
    "vary": "Vary",
    "etag": "ETag",
    "set_cookie": "Set-Cookie",
    "location": "Location",
}


class OwnFraming(web.StreamResponse):
    """A response whose chunks we frame: aiohttp's own chunked writer knows no trailers."""

    _length_check = False  # as aiohttp's WebSocketResponse does, so that it leaves the framing alone


class Behave:
    """Answers as told; counts its answers, so that a client sees whether two are one and the same."""

    def __init__(self) -> None:
        self.serial = itertools.count(1)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any method: 400 with the reason for a query that can't be obeyed, else what was told."""
        try:
            told = understand(request.query.items())
        except Wrong as wrong:
            return reply.problem(400, f"{wrong} All parameters: /behave/help")
        if told.number("delay", 0):
            await asyncio.sleep(told.number("delay", 0))
        wall = clock.wall()
        headers = fields(told, wall)
        if _unchanged(request, told, headers, wall):
            return reply.not_modified(headers)
        headers["Cdnlab-Serial"] = str(next(self.serial))
        return await _send(request, told, headers)


def fields(told: Behaviour, wall: float) -> CIMultiDict[str]:
    """The response's fields but those of framing; `wall`: seconds since 1970."""
    headers: CIMultiDict[str] = CIMultiDict()
    headers["Content-Type"] = told.text("type") or _media_type(told)
    for parameter, name in NAMES.items():
        if (value := told.text(parameter)) is not None:
            headers[name] = value
    for parameter, name in (("last_modified", "Last-Modified"), ("expires", "Expires")):
        if (when := told.when(parameter)) is not None:
            headers[name] = when.text if when.text is not None else reply.http_date(wall + when.offset)
    if "age" in told.told:
        headers["Age"] = str(int(told.number("age", 0)))
    for name, value in told.fields("header"):
        headers.add(name, value)
    if told.fields("trailer"):
        headers["Trailer"] = ", ".join(name for name, _ in told.fields("trailer"))
    return headers


def _media_type(told: Behaviour) -> str:
    return "text/plain; charset=utf-8" if "size" in told.told else "application/json"


def _unchanged(request: web.Request, told: Behaviour, headers: CIMultiDict[str], wall: float) -> bool:
    """Whether the request's condition is met by the validators told: only a 200 can be spared."""
    when = told.when("last_modified")
    modified = parse_date(when.text.encode(), wall) if when is not None and when.text else None
    if told.status != 200 or (told.text("etag") is None and modified is None):
        return False
    verdict = conditional.evaluate(
        request.method, request.headers, etag=headers.get("ETag", '""'), modified=modified, wall=wall
    )
    return verdict is conditional.Verdict.NOT_MODIFIED


def _body(
    request: web.Request, told: Behaviour
) -> tuple[int, Callable[[int, int], Iterator[bytes]], str | None]:
    """(length, bytes by offset, Repr-Digest) of the body."""
    if told.bodiless:
        return 0, lambda first, end: iter(()), None
    if "size" in told.told:
        size = int(told.number("size", 0))
        return size, blocks.text, digest.of_text(size)
    # The body of one query is always the same, else the entity-tag that was told would be a lie.
    value = (
        echo.head(request)
        if told.flag("echo")
        else {"status": told.status, "told": list(request.query.items())}
    )
    body = reply.dump(value)
    return len(body), lambda first, end: iter((body[first:end],)), digest.of(body)


def _bears_digest(request: web.Request, told: Behaviour, headers: CIMultiDict[str]) -> bool:
    """Whether a digest of the body would be the representation's: a 206 is told to be a part of something else, and
    an echo to HEAD is not what GET would get. One that was told stays alone."""
    partial = told.status == 206 or "Content-Range" in headers
    other = told.flag("echo") and request.method == "HEAD"
    return not partial and not other and "Repr-Digest" not in headers


async def _send(request: web.Request, told: Behaviour, headers: CIMultiDict[str]) -> web.StreamResponse:
    length, piece, repr_digest = _body(request, told)
    if repr_digest is not None and _bears_digest(request, told, headers):
        headers["Repr-Digest"] = repr_digest
    chunked = (told.flag("chunked") or bool(told.fields("trailer"))) and not told.bodiless
    response = (
        OwnFraming(status=told.status, headers=headers)
        if chunked
        else web.StreamResponse(status=told.status, headers=headers)
    )
    framed = (
        chunked and request.version >= HttpVersion11
    )  # for HTTP/1.0 the end of the connection ends the body
    if not chunked and not told.bodiless:
        response.content_length = length
    elif framed:
        response.headers["Transfer-Encoding"] = "chunked"
    if "close" in told.told or (chunked and not framed):
        response.force_close()
    await _early_hints(request, told)
    await response.prepare(request)
    if request.method == "HEAD" or told.bodiless:
        return response
    cut = min(length, int(told.number("close", length)))
    await _write(response, piece(0, cut), told.number("drip", 0), framed)
    if "close" in told.told:
        _close(request)
    elif framed:
        trailers = "".join(f"{name}: {value}\r\n" for name, value in told.fields("trailer"))
        await response.write(f"0\r\n{trailers}\r\n".encode())
    return response


async def _write(response: web.StreamResponse, body: Iterator[bytes], drip: float, framed: bool) -> None:
    """Send the body; with `drip` each byte goes out when its turn has come at so many bytes a second."""
    started, sent = clock.now(), 0
    for piece in body:
        step = max(1, int(drip * TICK)) if drip else len(piece)
        for first in range(0, len(piece), step):
            drop = piece[first : first + step]
            sent += len(drop)
            if drip:
                await asyncio.sleep(max(0.0, started + sent / drip - clock.now()))
            await response.write(b"%x\r\n%b\r\n" % (len(drop), drop) if framed else drop)


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()


async def _early_hints(request: web.Request, told: Behaviour) -> None:
    link = told.text("early_hints")
    if link is not None and request.version >= HttpVersion11 and request.transport is not None:
        request.transport.write(f"HTTP/1.1 103 Early Hints\r\nLink: {link}\r\n\r\n".encode())
