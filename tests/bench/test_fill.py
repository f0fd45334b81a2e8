"""Filling: each target is asked for once, whatever pieces the answers come in; a server that gives up is an error."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.fill import CONNECTIONS, DEPTH, END, fill
from bench.programs import NotStarted

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(END)


@contextmanager
def server(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """A port where each request's path is answered with what `answer` says, byte by byte at the end; b"" closes."""

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while line := self.rfile.readline():
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                reply = answer(line.split()[1])
                if not reply:
                    return
                for piece in (reply[:-3], reply[-3:-1], reply[-1:]):
                    self.wfile.write(piece)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = CONNECTIONS

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that has given up is no error here."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


@pytest.mark.parametrize("count", [1, DEPTH + 1, CONNECTIONS * DEPTH * 3 + 5])
def test_each_target_is_asked_for_once(count: int) -> None:
    asked: list[bytes] = []

    def answer(path: bytes) -> bytes:
        asked.append(path)
        return HEAD + END

    with server(answer) as port:
        fill(port, "/o/", count)
    assert sorted(asked) == sorted(b"/o/%d" % number for number in range(count))


def test_a_server_that_closes_is_named_as_the_reason() -> None:
    with (
        server(lambda path: b"" if path == b"/o/40" else HEAD + END) as port,
        pytest.raises(NotStarted, match=re.compile("closed|reset", re.IGNORECASE)),
    ):
        fill(port, "/o/", 200)
