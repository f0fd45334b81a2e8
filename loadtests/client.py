"""One connection of one client that stands somewhere, spoken to in HTTP/1.1 under gevent.

Decides where a connection comes from, when it is kept, and when a request may be sent once more. Must not know
places, pages, what a body should be, nor Locust.

Sockets are ours, since a client stands where its source address says; the answers are read by geventhttpclient's
parser (llhttp), which comes with Locust. Of the designs that were tried, CPU per request of 1, 16 and 64 KB on one
machine: this one 72, 76 and 130 µs; geventhttpclient's whole client with its socket factory overridden 80, 105 and
230; http.client under gevent's patches 145, 165 and 200; urllib3 240; Locust's FastHttpUser, which cannot choose an
address, 155; its HttpUser (requests) 900.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from time import perf_counter
from urllib.parse import urlsplit

import gevent.socket
from geventhttpclient.response import HTTPConnectionClosed, HTTPSocketResponse

CONNECT_TIMEOUT = 5.0
ANSWER_TIMEOUT = 60.0  # seconds without a byte; the lab's own tiers give up after as long
READ = 64 * 1024
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))  # RFC 9110 §9.2.2
BIND_ADDRESS_NO_PORT = 24
"""ip(7): the port is chosen when the connection is made, so that one address can have more than 28,000 of them.
Python names it from 3.12 on."""


class BadServer(ValueError):
    """A URL that names nothing that could be asked; the text says why."""


class Broken(Exception):
    """No whole answer came. The text is one of a few, so that statistics can count it."""


class Unbindable(Broken):
    """The address to connect from is not one of this machine's."""


@dataclass(frozen=True, slots=True)
class Server:
    """What is asked: the host as named, which goes into Host, and the address that is connected to."""

    host: str
    port: int
    address: str

    @property
    def authority(self) -> str:
        """host:port for Host and for people."""
        named = f"[{self.host}]" if ":" in self.host else self.host
        return named if self.port == 80 else f"{named}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether an address of 127/8 can be bound to reach it."""
        address = ip_address(self.address)
        return address.version == 4 and address.is_loopback


def server(url: str) -> Server:
    """The server of `http://host:port`; BadServer for what is none, or has no address."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme != "http":
        raise BadServer(f"{url}: the lab listens for plain HTTP; name it as http://HOST:PORT")
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError as error:
        raise BadServer(f"{url}: {error}") from None
    if not host or parts.path.strip("/") or parts.query:
        raise BadServer(f"{url}: not a server; name it as http://HOST:PORT, without a path")
    try:
        found = gevent.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise BadServer(f"{url}: {host} has no address; is it spelt right?") from None
    return Server(host, port, min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


@dataclass(slots=True)
class Answer:
    """A whole answer: its fields by lower-case name, and how long it took from the request's first byte, or from the
    first byte of the connection's handshake where one was made for it."""

    status: int
    fields: Mapping[str, str]
    body: bytes
    seconds: float


class Client:
    """One keep-alive connection, opened when it is needed. One request at a time."""

    def __init__(
        self, server: Server, source: str | None = None, fields: Mapping[str, str] | None = None
    ) -> None:
        """`source`: the address to connect from. `fields`: sent with each request; Host is added."""
        self._server = server
        self._source = source
        head = {"Host": server.authority, **(fields or {})}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self._socket: gevent.socket.socket | None = None
        self.connections = 0

    def ask(self, path: str, fields: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """The answer to a request without a body. Broken if none came whole."""
        more = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items())
        request = f"{method} {path} HTTP/1.1\r\n{self._head}{more}\r\n".encode("latin-1")
        started = perf_counter()
        kept = self._socket is not None
        try:
            return self._exchange(request, method, started)
        except _Stale:
            # The server closed a connection that was idle, as it may at any time (RFC 9112 §9.3.1).
            if not kept or method not in IDEMPOTENT:
                raise Broken("connection closed before an answer") from None
        try:
            return self._exchange(request, method, started)
        except _Stale:
            raise Broken("connection closed before an answer") from None

    def connect(self) -> None:
        """Open the connection before the first request. Broken if it can't be."""
        if self._socket is None:
            self._socket = self._connect()

    def close(self) -> None:
        """Let go of the connection; the next request makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: bytes, method: str, started: float) -> Answer:
        sock = self._socket if self._socket is not None else self._connect()
        self._socket = (
            None  # whatever ends this early, also a kill, leaves a connection that is not used again
        )
        try:
            _send(sock, request)
            response = HTTPSocketResponse(sock, block_size=READ, method=method)
            body = response.read()
        except BaseException as error:
            sock.close()
            raise _meaning(error) from error
        if response.should_close():
            sock.close()
        else:
            self._socket = sock
        return Answer(response.status_code, _fields(response.items()), body, perf_counter() - started)

    def _connect(self) -> gevent.socket.socket:
        server, self.connections = self._server, self.connections + 1
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        sock = gevent.socket.socket(family, socket.SOCK_STREAM)
        try:
            if self._source is not None:
                sock.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
                sock.bind((self._source, 0))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(CONNECT_TIMEOUT)
            sock.connect((server.address, server.port))
            sock.settimeout(ANSWER_TIMEOUT)
        except TimeoutError:
            sock.close()
            raise Broken(f"no connection within {CONNECT_TIMEOUT:.0f} s") from None
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRNOTAVAIL and self._source is not None:
                raise Unbindable("no connection: its address is not this machine's") from None
            raise Broken(f"no connection: {_reason(error)}") from error
        except BaseException:
            sock.close()
            raise
        return sock


class _Stale(Exception):
    """The connection was closed before a byte of the answer."""


def _send(sock: gevent.socket.socket, request: bytes) -> None:
    try:
        sock.sendall(request)
    except (BrokenPipeError, ConnectionResetError):
        raise _Stale from None


def _meaning(error: BaseException) -> BaseException:
    """What an exception of an exchange is to the caller."""
    if isinstance(error, HTTPConnectionClosed):
        return _Stale()
    if isinstance(error, ConnectionResetError):  # the parser says HTTPConnectionClosed before the first byte
        return Broken("answer cut short")
    if isinstance(error, TimeoutError):
        return Broken(f"no byte of an answer within {ANSWER_TIMEOUT:.0f} s")
    if isinstance(error, HTTPException):
        cut = any(word in str(error) for word in ("ncomplete", "EOF", "closed"))
        return Broken("answer cut short" if cut else "answer that is not HTTP")
    if isinstance(error, OSError):
        return Broken(f"connection broken: {_reason(error)}")
    return error


def _reason(error: OSError) -> str:
    return "refused" if error.errno == errno.ECONNREFUSED else (error.strerror or str(error)).lower()


def _fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Fields by lower-case name; several lines of one name are one list (RFC 9110 §5.3)."""
    fields: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        fields[key] = f"{fields[key]}, {value}" if key in fields else value
    return fields
