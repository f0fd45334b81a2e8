"""What an idle keep-alive connection costs an edge in memory."""

from __future__ import annotations

import resource
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.cost import resident_bytes
from bench.programs import free_port, running, wait_for_answer

CONNECTIONS = 5000
_REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\nCookie: session=%08d\r\n\r\n"
_BODY = b"x" * 1024


def bytes_per_connection(directory: Path, cores: tuple[int, int]) -> float:
    """Growth of an edge's VmRSS by 5,000 connections that had one answer each, in bytes per connection.

    The kernel's socket buffers are not in it. The edge is new each time: what its allocator kept would hide growth.
    """
    _allow_files(CONNECTIONS + 200)
    port, log = free_port(), directory / "log"
    with _origin() as behind, ExitStack() as stack:
        words = [sys.executable, "-m", "edge", "--listen", f"127.0.0.1:{port}", "--admin", "off"]
        edge = stack.enter_context(
            running([*words, "--origin", f"http://127.0.0.1:{behind}"], cores[:1], log)
        )
        wait_for_answer(edge, port, "/", log)
        for number in range(200):  # what is imported or remembered once is not a connection's
            with closing(_connection(port, number)):
                pass
        before = resident_bytes(edge.pid)
        for number in range(CONNECTIONS):
            stack.enter_context(closing(_connection(port, number)))
        return (resident_bytes(edge.pid) - before) / CONNECTIONS


def _connection(port: int, number: int) -> socket.socket:
    """An open connection on which one whole answer came."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(_REQUEST % number)
    received = b""
    while not received.endswith(_BODY):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"connection {number} was closed after {received[:80]!r}")
        received += piece
    return connection


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard) if hard >= 0 else count, hard))


class _Answer(BaseHTTPRequestHandler):
    """1 KiB that may be stored."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Cache-Control", "public, max-age=86400")
        self.send_header("Content-Length", str(len(_BODY)))
        self.end_headers()
        self.wfile.write(_BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the bench prints the bench."""


@contextmanager
def _origin() -> Iterator[int]:
    """The port of an origin in this process."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
