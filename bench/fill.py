"""Fills a cache with objects over the wire, as fast as it takes them.

Decides how many requests are on their way: few enough that the cache's loop has no more than a millisecond or two of
work at a time, so that a stall is the cache's own. It must not know who is filled.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import ExitStack, closing

from bench.programs import NotStarted

#: Connections, and requests written at once on each.
CONNECTIONS = 8
DEPTH = 16
#: Objects after which connections are made anew, long before a server may close them.
_TURN = 100_000
_PATIENCE = 20.0
#: How every body ends, and nothing else that a server sends.
END = b"~end~"


def fill(port: int, prefix: str, objects: int) -> None:
    """Ask 127.0.0.1:`port` once for each of `objects` targets under `prefix`. NotStarted if one is not answered."""
    for first in range(0, objects, _TURN):
        with ExitStack() as stack:
            connections = [
                stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), _PATIENCE)))
                for _ in range(CONNECTIONS)
            ]
            try:
                _turn(connections, prefix, range(first, min(objects, first + _TURN)))
            except OSError as error:
                raise NotStarted(f"while objects from {first:,} on were asked for: {error}") from None


def _turn(connections: list[socket.socket], prefix: str, numbers: range) -> None:
    """All of them, DEPTH at a time on each connection; a connection is written to again when it has all its answers."""
    waiting: list[tuple[socket.socket, int]] = []
    for at, first in enumerate(range(0, len(numbers), DEPTH)):
        some = numbers[first : first + DEPTH]
        if at >= len(connections):
            _receive(*waiting.pop(0))
        connection = connections[at % len(connections)]
        connection.sendall(_requests(prefix, some))
        waiting.append((connection, len(some)))
    for connection, count in waiting:
        _receive(connection, count)


def _requests(prefix: str, numbers: Iterable[int]) -> bytes:
    words = [f"GET {prefix}{number} HTTP/1.1\r\nHost: www.example.com\r\n\r\n" for number in numbers]
    return "".join(words).encode()


def _receive(connection: socket.socket, count: int) -> None:
    """Until `count` bodies have ended."""
    rest = b""
    while count:
        piece = connection.recv(262144)
        if not piece:
            raise ConnectionError(f"the connection was closed, {count} answers missing")
        received = rest + piece
        count -= received.count(END)
        rest = received[-len(END) + 1 :]
