"""One active check: ask a backend once, and say what was good or what was not.

Decides the outcome of a single check. It must not know when checks are made nor what follows from them.

Every check opens its own connection and closes it: an idle connection that still works says nothing about
whether new ones do. Checks have no link: distance is for clients, and a far backend is not a sick one.

    alive   our own nodes say themselves whether they want requests
    tcp     a connection; with TLS, if the backend speaks it
    tls     a handshake, and a certificate that is valid for the name, whether or not we speak TLS to it otherwise
    http    a status that is expected, and if asked for a text in the first 64 KiB of the body

A backend that is a host name is one backend, however many addresses the name has: they are tried in the order the
resolver gives them (cdnlab/net/dial.py), as for requests. So the check passes while any of them answers.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from typing import TYPE_CHECKING

from cdnlab.net.dial import Resolver, dial
from cdnlab.node.health_answer import ALIVE_PATH
from cdnlab.wire.chunked import ChunkedDecoder
from cdnlab.wire.errors import Malformed

if TYPE_CHECKING:
    from cdnlab.plan.pools import HealthSpec
    from cdnlab.pool.backend import Backend

HEAD_BYTES = 16384
"""A longer head of an answer to a check is a fault (nginx takes 4 or 8 KiB, HAProxy 16 KiB)."""
BODY_BYTES = 65536
"""What lies beyond is not looked at (HAProxy looks at what fits its buffer, 16 KiB)."""
INTERIMS = 16
"""More 1xx before an answer are a fault: a backend that sends nothing else would keep the loop to itself."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)


class Unhealthy(Exception):
    """A check has failed; str() says how, for people. `answered`: the backend does say something, if not what it
    should, so what it was asked before may be answered, too."""

    def __init__(self, text: str, *, answered: bool = False) -> None:
        super().__init__(text)
        self.answered = answered


class Checker:
    """Makes the checks of one pool, as its spec says."""

    def __init__(
        self,
        spec: HealthSpec,
        *,
        source_address: str | None = None,
        host: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """As `Prober`."""
        self.spec = spec
        self.source_address = source_address
        self.host = spec.host or host
        self._resolver = Resolver()
        self._context = context
        body = spec.body if spec.kind == "http" else None
        self._wanted = None if body is None else _pattern(body)

    async def check(self, backend: Backend) -> str:
        """Ask once. Returns what was good; raises Unhealthy within the spec's timeout."""
        try:
            async with asyncio.timeout(self.spec.timeout):
                return await self._ask(backend)
        except TimeoutError:
            raise Unhealthy(f"no answer within {self.spec.timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            # what follows the comma may be an address: status is for strangers, too
            raise Unhealthy(f"TLS: {error.verify_message.partition(',')[0].lower()}") from None
        except ssl.SSLError as error:
            raise Unhealthy(f"TLS: {error.reason or error}") from None
        except (OSError, EOFError) as error:
            raise Unhealthy(_words(error)) from None
        except asyncio.LimitOverrunError:
            raise Unhealthy(f"the answer's head is longer than {HEAD_BYTES} bytes") from None

    async def _ask(self, backend: Backend) -> str:
        reader, writer = await self._connect(backend)
        try:
            if self.spec.kind == "tcp":
                return "connected"
            if self.spec.kind == "tls":
                return _certificate(writer)
            writer.write(self._request(backend))
            return await self._judge(reader)
        finally:
            writer.transport.abort()

    # -- HTTP -----------------------------------------------------------------------------------------------------

    async def _judge(self, reader: asyncio.StreamReader) -> str:
        status, head = await _head(reader)
        good = status == 200 if self.spec.kind == "alive" else self.spec.accepts(status)
        if not good:
            raise Unhealthy(f"answered {status}", answered=True)
        if self._wanted is None:
            return f"answered {status}"
        await self._look(reader, status, head)
        return f"answered {status}, with what its body must have"

    async def _look(self, reader: asyncio.StreamReader, status: int, head: bytes) -> None:
        """Read the body until what must occur in it has. Unhealthy if it does not."""
        assert self._wanted is not None
        length = _LENGTH.search(head)
        left = 0 if status in (204, 304) else int(length[1]) if length else BODY_BYTES
        decoder = ChunkedDecoder(502) if _CHUNKED.search(head) else None
        left = BODY_BYTES if decoder else min(left, BODY_BYTES)
        found = b""
        try:
            while len(found) < left and not (decoder and decoder.done):
                data = await reader.read(HEAD_BYTES)
                if not data:
                    break
                found += b"".join(decoder.feed(data)) if decoder else data
                if self._wanted.search(found, 0, left):
                    return
        except Malformed:
            raise Unhealthy(f"answered {status} with a broken chunked body", answered=True) from None
        raise Unhealthy(f"answered {status}, but its body lacks {self.spec.body!r}", answered=True)

    def _request(self, backend: Backend) -> bytes:
        ours = self.spec.kind == "alive"
        path = ALIVE_PATH.decode() if ours else self.spec.path
        address = "localhost" if backend.unix else backend.key
        host = address if ours or self.host is None else self.host
        return (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
            "User-Agent: cdnlab-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode("latin-1")

    # -- connections ----------------------------------------------------------------------------------------------

    async def _connect(self, backend: Backend) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self._tls() if backend.tls or self.spec.kind == "tls" else None
        name = self._name(backend) if context else None
        if backend.unix is not None:
            return await asyncio.open_unix_connection(
                backend.unix, limit=HEAD_BYTES, ssl=context, server_hostname=name
            )
        sock = await self._dial(backend.host, backend.check_port)
        try:
            return await asyncio.open_connection(
                sock=sock, limit=HEAD_BYTES, ssl=context, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise

    def _name(self, backend: Backend) -> str:
        """Which name the certificate must be valid for."""
        asked = self.host if self.spec.kind == "tls" else None
        return _bare(asked) if asked else backend.server_name

    async def _dial(self, host: str, port: int) -> socket.socket:
        return await dial(await self._resolver.addresses(host, port), self.source_address)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


def _pattern(body: str) -> re.Pattern[bytes]:
    text = body[1:] if body.startswith("~") else re.escape(body)
    return re.compile(text.encode())


def _bare(host: str) -> str:
    """A Host without its port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _certificate(writer: asyncio.StreamWriter) -> str:
    """What a handshake has shown; that the certificate is valid was verified in it."""
    found = writer.get_extra_info("peercert") or {}
    return f"shook hands, certificate valid until {found.get('notAfter', '?')}"


async def _head(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The final status of the answer and its head; interim ones (1xx) are passed over."""
    for _ in range(INTERIMS):
        head = await reader.readuntil(b"\r\n\r\n")
        match = _STATUS.match(head)
        if match is None:
            raise Unhealthy("answered with something that is not HTTP/1", answered=True)
        status = int(match[1])
        if status >= 200:
            return status, head
    raise Unhealthy(f"answered with more than {INTERIMS} interim responses", answered=True)


def _words(error: OSError | EOFError) -> str:
    if isinstance(error, EOFError):  # asyncio.IncompleteReadError
        return "closed before its answer was complete"
    if error.errno is not None and error.errno > 0:  # the loops word it differently, some with the address
        return os.strerror(error.errno).lower()
    return error.strerror or str(error) or type(error).__name__
