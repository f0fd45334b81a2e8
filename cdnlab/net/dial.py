"""From a host and a port to a connected socket: what a name means, and TCP's handshake, without a thread in the way.

Decides nothing about whom to connect to. Two things the loops do were weighed and left:

- uvloop's sock_connect asks the resolver even for an address in numbers, and the resolver is a pool of four threads.
  A name that nobody answers for holds a thread for ten seconds or more; four of those, and no connection to any backend
  was made any more. So the handshake is waited for here.
- getaddrinfo for each connection asks a name server for each connection. Here one question per name is under way at a
  time, its answer counts for a while, and an old answer is better than none: names are those of servers that somebody
  configured, and they move rarely (HAProxy's `hold`, nginx' `valid` are of this kind).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import cast

from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn

Address = tuple[str, int]
Found = list[tuple[int, Address]]
"""(family, (address, port)), in the order to try them."""

#: Seconds for which an answer is not asked for again; HAProxy's `hold valid` is 10 s.
FRESH = 10.0
#: Linux: choose the port at connect, so that one source address serves 28,000 connections to *each* backend.
IP_BIND_ADDRESS_NO_PORT = 24


class Resolver:
    """What names mean, for one owner on one loop. Names come from configuration, so there are few."""

    __slots__ = ("_asking", "_known")

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, list[tuple[int, str]]]] = {}
        self._asking: dict[str, asyncio.Task[OSError | None]] = {}

    async def addresses(self, host: str, port: int) -> Found:
        """Where `host` is: at once for an address and for a name that was known before, else after asking. OSError."""
        if (family := family_of(host)) is not None:
            return [(family, (host, port))]
        known = self._known.get(host)
        if known is None or now() - known[0] > FRESH:
            asking = self._ask(host)
            if known is None:
                error = await asyncio.shield(asking)
                if error is not None:
                    raise error
                known = self._known[host]
        return [(family, (address, port)) for family, address in known[1]]

    def _ask(self, host: str) -> asyncio.Task[OSError | None]:
        asking = self._asking.get(host)
        if asking is None:
            asking = self._asking[host] = spawn(self._look_up(host), f"look up {host}")
            asking.add_done_callback(lambda _: self._asking.pop(host, None))
        return asking

    async def _look_up(self, host: str) -> OSError | None:
        """The error as a value: a name without an answer is no failure of a task, and several may wait for it."""
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            return error
        except UnicodeError:  # not a name that a resolver can be asked for
            return OSError(errno.EINVAL, "not a valid host name")
        self._known[host] = now(), [(info[0], cast(str, info[4][0])) for info in infos]
        return None


def family_of(host: str) -> int | None:
    """AF_INET or AF_INET6 if `host` is an address, None if it is a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError: a NUL in it
            continue
        return family
    return None


async def dial(found: Found, source: str | None = None) -> socket.socket:
    """A socket connected to the first address that takes it, from `source` if that is given and IPv4. OSError."""
    failed: OSError = OSError("the name has no address")
    for family, address in found:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            return await connect(sock, address, source)
        except OSError as error:
            failed = error
    try:
        raise failed
    finally:
        del failed  # its traceback holds this frame


async def connect(sock: socket.socket, address: Address | str, source: str | None = None) -> socket.socket:
    """Connect `sock` and return it, non-blocking; whatever fails closes it. OSError."""
    try:
        sock.setblocking(False)
        if source is not None and sock.family == socket.AF_INET:
            try:
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            except OSError:
                pass  # not Linux: the port is chosen at bind
            sock.bind((source, 0))
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            await _writable(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock


async def _writable(sock: socket.socket) -> None:
    """Until the handshake is over, however it ended."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.add_writer(sock, _settle, over)
    try:
        await over
    finally:
        loop.remove_writer(sock)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
