"""To which of several sockets under one address the kernel gives new connections, and how we make sure it is ours."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from cdnlab.net.listening import listeners
from lb.steer import Steered
from lb.vip import open_steered

#: With hashing alone, this many connections all to one of two sockets is less likely than 2 ** -63.
MANY = 64


class Member:
    """One balancer's sockets under the address."""

    def __init__(self, host: str, port: int) -> None:
        self.steered = open_steered(host, port)
        self.sockets: list[socket.socket] = []

    def hold(self) -> None:
        self.sockets.append(self.steered.open())

    def accepted(self) -> int:
        """Accept and close all that wait."""
        count = 0
        for sock in self.sockets:
            try:
                while True:
                    sock.accept()[0].close()
                    count += 1
            except BlockingIOError:
                pass
        return count

    def leave(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.sockets.clear()
        self.steered.forget()

    def close(self) -> None:
        self.leave()
        self.steered.close()


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1"])
def members(request: pytest.FixtureRequest) -> Iterator[list[Member]]:
    host = str(request.param)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            pytest.skip(f"this machine has no {host}: {error.strerror}")
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Member(host, port))) for _ in range(4)]


def connect(to: Steered) -> None:
    """MANY connections, each established, so that each lies in the queue of the socket the kernel chose."""
    host, port = to.address
    for _ in range(MANY):
        socket.create_connection(("127.0.0.1" if host == "0.0.0.0" else host, port), 5).close()


def shares(members: list[Member]) -> list[int]:
    connect(members[0].steered)
    return [member.accepted() for member in members]


def test_nobody_listens_until_somebody_holds(members: list[Member]) -> None:
    assert list(listeners(*members[0].steered.address)) == []
    with pytest.raises(ConnectionRefusedError):
        connect(members[0].steered)


def test_the_newest_holder_gets_every_connection(members: list[Member]) -> None:
    a, b, c, _ = members
    a.hold()
    assert shares(members) == [MANY, 0, 0, 0]
    b.hold()  # a is frozen: it still listens
    assert shares(members) == [0, MANY, 0, 0]
    c.hold()
    assert shares(members) == [0, 0, MANY, 0]


def test_who_leaves_takes_nothing_along(members: list[Member]) -> None:
    a, b, _, _ = members
    a.hold()
    b.hold()
    assert not b.steered.moved()
    a.leave()  # it thawed, saw that it is late, and stopped listening
    assert shares(members) == [0, MANY, 0, 0]


def test_a_member_that_leaves_moves_others_and_the_holder_steers_anew(members: list[Member]) -> None:
    a, b, c, d = members
    for member in members:
        member.hold()
    assert shares(members) == [0, 0, 0, MANY]
    b.leave()  # the kernel moves d to b's index, and d's old index no longer exists
    assert d.steered.moved()
    d.hold()
    assert not d.steered.moved()
    assert shares(members) == [0, 0, 0, MANY]
    a.leave()
    c.leave()
    assert d.steered.moved()
    d.hold()
    assert shares(members) == [0, 0, 0, MANY]


def test_who_leaves_while_another_joins_is_noticed(
    members: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c, _ = members
    a.hold()
    b.hold()

    def leave_when_three(host: str, port: int) -> Iterator[str]:
        if len(list(listeners(host, port))) == 3 and a.sockets:
            a.leave()  # c is listening, and does not know its index yet: the kernel moves it to a's
        return listeners(host, port)

    monkeypatch.setattr("lb.steer.listeners", leave_when_three)
    c.hold()
    assert c.steered.moved()
    c.hold()
    assert not c.steered.moved()
    assert shares(members) == [0, 0, MANY, 0]


def test_without_a_descriptor_to_look_with_nothing_is_guessed(members: list[Member]) -> None:
    a = members[0]
    a.hold()
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open("/dev/null") as lowest:
        free = lowest.fileno()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        with pytest.raises(OSError, match="Too many open files"):
            a.steered.moved()
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, hard))  # enough for a socket, not to look
        with pytest.raises(OSError, match="Too many open files"):
            a.hold()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    assert not a.steered.moved()
    assert shares(members) == [MANY, 0, 0, 0]


def test_who_cannot_look_does_not_hold(members: list[Member], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb.steer.listeners", lambda *_: iter(()))
    with pytest.raises(OSError, match="does not tell who listens"):
        members[0].hold()


def test_who_holds_nothing_need_not_look(members: list[Member]) -> None:
    a, b, _, _ = members
    a.hold()
    assert not b.steered.moved()
    a.leave()
    assert not a.steered.moved()


def test_other_ports_and_addresses_do_not_count(members: list[Member]) -> None:
    a = members[0]
    host, port = a.steered.address
    with socket.create_server(("127.0.0.2", 0)) as other:
        a.hold()
        assert len(list(listeners(host, port))) == 1
        assert len(list(listeners("127.0.0.2", other.getsockname()[1]))) == 1
