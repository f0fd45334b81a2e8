"""The client on real sockets: one connection, from its address, retried where that is safe."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from time import sleep

import pytest

from loadtests.client import BadServer, Broken, Client, Server, Unbindable, server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = list[list[bytes | None]]
RESET = b"!"
"""At an answer's end: the connection is reset after it, as by a process that is killed, instead of closed."""


class Peer:
    """A server that answers the n-th connection's requests with what a script says; None closes it unasked."""

    def __init__(self, script: Script) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.asked: list[list[bytes]] = []
        self.sources: list[str] = []
        self.port: int = self.listener.getsockname()[1]
        self._script = script
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        for answers in self._script:
            try:
                connection, (source, _) = self.listener.accept()
            except OSError:
                return
            self.sources.append(source)
            self.asked.append([])
            with connection:
                self._answer(connection, answers)

    def _answer(self, connection: socket.socket, answers: list[bytes | None]) -> None:
        connection.settimeout(10)
        for answer in answers:
            if answer is None:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(4096)
                if not piece:
                    return
                head += piece
            self.asked[-1].append(head)
            connection.sendall(answer.removesuffix(RESET))
            if answer.endswith(RESET):
                sleep(0.1)  # a reset overtakes what has not been read yet
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return


@contextmanager
def peer(*script: list[bytes | None]) -> Iterator[tuple[Peer, Callable[..., Client]]]:
    played = Peer(list(script))
    clients: list[Client] = []

    def client(source: str | None = "127.82.1.150", **fields: str) -> Client:
        clients.append(Client(Server("127.0.0.1", played.port, "127.0.0.1"), source, fields))
        return clients[-1]

    try:
        yield played, client
    finally:
        for made in clients:
            made.close()
        played.listener.shutdown(socket.SHUT_RDWR)
        played.listener.close()
        played.thread.join(10)


def test_one_connection_from_its_address() -> None:
    with peer([OK, OK, OK]) as (played, client):
        asker = client(Accept="*/*")
        for number in range(3):
            answer = asker.ask(f"/{number}", {"If-None-Match": '"a"'})
            assert (answer.status, answer.body) == (200, b"ok")
        asker.close()
    assert played.sources == ["127.82.1.150"]
    first = played.asked[0][0].decode()
    assert first.startswith(f"GET /0 HTTP/1.1\r\nHost: 127.0.0.1:{played.port}\r\n")
    assert 'Accept: */*\r\nIf-None-Match: "a"\r\n\r\n' in first


def test_a_connection_that_the_server_closed_is_retried_once() -> None:
    with peer([OK, None], [OK, OK]) as (played, client):
        asker = client()
        assert [asker.ask("/").body for _ in range(3)] == [b"ok"] * 3
        asker.close()
    assert [len(asked) for asked in played.asked] == [1, 2]
    assert asker.connections == 2


def test_a_second_one_that_is_closed_is_a_failure() -> None:
    with peer([OK, None], [None], [OK]) as (played, client):
        asker = client()
        asker.ask("/")
        with pytest.raises(Broken, match="closed before an answer"):
            asker.ask("/")
    assert len(played.sources) <= 2


def test_a_new_connection_that_is_closed_is_not_retried() -> None:
    with peer([None], [OK]) as (_, client), pytest.raises(Broken, match="closed before an answer"):
        client().ask("/")


def test_a_post_is_not_sent_twice() -> None:
    with peer([OK, None], [OK]) as (played, client):
        asker = client()
        asker.ask("/")
        with pytest.raises(Broken, match="closed before an answer"):
            asker.ask("/", method="POST")
        assert played.sources == ["127.82.1.150"]


def test_a_kept_connection_that_is_reset_before_an_answer_is_retried() -> None:
    with peer([OK, RESET], [OK]) as (played, client):
        asker = client()
        assert [asker.ask("/").body for _ in range(2)] == [b"ok"] * 2
    assert [len(asked) for asked in played.asked] == [2, 1]


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ],
)
def test_an_answer_that_had_begun_is_not_asked_for_again(begun: bytes) -> None:
    with peer([OK, begun + RESET], [OK]) as (played, client):
        asker = client()
        asker.ask("/")
        with pytest.raises(Broken, match="cut short"):
            asker.ask("/")
        assert played.sources == ["127.82.1.150"]


@pytest.mark.parametrize(
    "answer, said",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "cut short"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "not HTTP"),
    ],
)
def test_answers_that_are_none(answer: bytes, said: str) -> None:
    with peer([answer]) as (_, client), pytest.raises(Broken, match=said):
        client().ask("/")


@pytest.mark.parametrize(
    "answer, kept",
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: 1\r\n\r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, True),
    ],
)
def test_a_connection_is_kept_where_it_can_be(answer: bytes, kept: bool) -> None:
    with peer([answer, OK] if kept else [answer], [OK]) as (played, client):
        asker = client()
        assert [asker.ask("/").body for _ in range(2)] == [b"ok", b"ok"]
        asker.close()
        assert len(played.sources) == (1 if kept else 2)


def test_answers_without_a_body() -> None:
    bare = b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\nContent-Length: 99\r\n\r\n'
    with peer([bare, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", OK]) as (_, client):
        asker = client()
        assert (asker.ask("/").status, asker.ask("/", method="HEAD").body, asker.ask("/").body) == (
            304,
            b"",
            b"ok",
        )


def test_lines_of_one_name_are_one_list() -> None:
    with peer([b"HTTP/1.1 200 OK\r\nVIA: 1.1 a\r\nVia: 1.1 b\r\nContent-Length: 0\r\n\r\n"]) as (_, client):
        assert client().ask("/").fields["via"] == "1.1 a, 1.1 b"


def test_nobody_listens() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Broken, match="no connection: refused"):
        Client(Server("127.0.0.1", port, "127.0.0.1")).ask("/")


def test_an_address_that_is_not_ours() -> None:
    with peer([OK]) as (_, client), pytest.raises(Unbindable, match="not this machine's"):
        client("198.18.82.100").ask("/")


@pytest.mark.parametrize(
    "url, found",
    [
        ("http://127.0.0.1:8080", Server("127.0.0.1", 8080, "127.0.0.1")),
        ("http://127.0.0.1:8080/", Server("127.0.0.1", 8080, "127.0.0.1")),
        ("127.0.0.1:8080", Server("127.0.0.1", 8080, "127.0.0.1")),
        ("http://[::1]:81", Server("::1", 81, "::1")),
        ("http://127.0.0.1", Server("127.0.0.1", 80, "127.0.0.1")),
    ],
)
def test_servers(url: str, found: Server) -> None:
    assert server(url) == found
    assert found.authority.endswith("]:81") or found.authority.startswith("127.0.0.1")


@pytest.mark.parametrize(
    "url", ["", "https://127.0.0.1", "http://", "http://a:x", "http://a/path", "http://no.invalid:1"]
)
def test_what_is_no_server(url: str) -> None:
    with pytest.raises(BadServer):
        server(url)
