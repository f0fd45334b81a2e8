"""The lease against a real store, and whole balancers as processes that are killed and frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from cdnlab.net.clock import now
from cdnlab.net.tasks import cancel_all, spawn
from cdnlab.node.log import Events
from cdnlab.node.store import Store, StoreAway
from lb.failover import State
from lb.failover_lease import Direct, Failover, Lease, keys, make, seed
from lb.vip import Vip
from tests.node.conftest import Valkey, valkey  # noqa: F401

WITHIN = 5.0
SOON = 0.01


async def until(condition: Callable[[], object], within: float = 10.0) -> float:
    """Wait for a condition; how many seconds it took."""
    begun = now()
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - much of it happens in other processes
            await asyncio.sleep(SOON)
    return now() - begun


async def running(valkey: Valkey) -> Store:  # noqa: F811
    valkey.start()
    await valkey.answering()
    store = Store(valkey.url, Events())
    await store.start()
    return store


@pytest_asyncio.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:  # noqa: F811
    """A store that was created for this test: nobody has ever held the VIP."""
    store = await running(valkey)
    await store.call(*seed("lab", "main"))
    yield store
    await cancel_all()
    await store.stop()


def lease(store: Store, node: str, seconds: float = 1.0) -> Lease:
    return Lease(Direct(store.client), lab="lab", vip="main", node=node, lease=seconds)


# -- the scripts ----------------------------------------------------------------------------------------------


async def test_the_first_claim_wins_and_takes_a_number(store: Store) -> None:
    a, b = lease(store, "lb-a"), lease(store, "lb-b")
    seen = await a.watch(WITHIN)
    assert (seen.held, seen.token) == (False, 0)
    assert await b.watch(WITHIN) == seen, "one memory"
    assert await a.claim(seen, 0, WITHIN) == 1
    assert await b.claim(seen, 0, WITHIN) is None
    assert (await b.watch(WITHIN)).held
    assert b.holder == "lb-a"
    assert 900 < await store.call("PTTL", keys("lab", "main")[0]) <= 1000


async def test_a_store_that_only_reads_is_away_to_who_holds_and_to_who_waits(store: Store) -> None:
    a, b = lease(store, "lb-a", 0.05), lease(store, "lb-b", 0.05)
    seen = await b.watch(WITHIN)
    assert await a.claim(seen, 0, WITHIN) == 1
    await store.call("REPLICAOF", "127.0.0.1", "1")
    for asked in (lambda: a.renew(1, WITHIN), lambda: b.watch(WITHIN)):
        with pytest.raises(StoreAway, match="read only replica"):
            await asked()
    await store.client.execute_command("REPLICAOF", "NO", "ONE")
    assert await a.renew(1, WITHIN), "nobody has claimed it meanwhile"


async def test_only_what_was_watched_is_claimed(store: Store) -> None:
    a, b = lease(store, "lb-a"), lease(store, "lb-b")
    seen = await b.watch(WITHIN)
    await a.claim(seen, 0, WITHIN)
    await a.release(WITHIN)
    assert await b.claim(seen, 0, WITHIN) is None, "vacant again, but another has held it since"
    seen = await b.watch(WITHIN)
    await store.call("FLUSHALL")
    assert await b.claim(seen, 0, WITHIN) is None, "another memory"
    seen = await b.watch(WITHIN)
    assert seen.token == -1
    assert await b.claim(seen, 7, WITHIN) == 8, "a token never goes back"


async def test_renewal_keeps_what_is_ours_and_puts_back_what_nobody_took(store: Store) -> None:
    a, b = lease(store, "lb-a"), lease(store, "lb-b")
    token = await a.claim(await a.watch(WITHIN), 0, WITHIN)
    assert token == 1
    assert await a.renew(token, WITHIN)
    await store.call("FLUSHALL")
    assert await a.renew(token, WITHIN)
    assert (await b.watch(WITHIN))[:2] == (True, 1)
    assert not await b.renew(5, WITHIN), "held by another"
    await a.release(WITHIN)
    assert await b.claim(await b.watch(WITHIN), 0, WITHIN) == 2
    await b.release(WITHIN)
    assert not await a.renew(token, WITHIN), "vacant, but another has held it since"


async def test_only_the_owner_releases(store: Store) -> None:
    a, b = lease(store, "lb-a"), lease(store, "lb-b")
    await a.claim(await a.watch(WITHIN), 0, WITHIN)
    assert not await b.release(WITHIN)
    assert await a.release(WITHIN)
    assert not await a.release(WITHIN)


async def test_a_frozen_store_costs_its_time_and_no_more(store: Store, valkey: Valkey) -> None:  # noqa: F811
    a = lease(store, "lb-a")
    await a.watch(WITHIN)
    valkey.signal(signal.SIGSTOP)
    begun = now()
    with pytest.raises(StoreAway, match=r"no answer within 0\.06 s"):
        await a.watch(0.06)
    assert 0.06 <= now() - begun < 1.0
    valkey.signal(signal.SIGCONT)
    await a.watch(WITHIN)


async def test_a_store_that_is_gone_is_away_at_once(store: Store, valkey: Valkey) -> None:  # noqa: F811
    valkey.stop()
    with pytest.raises(StoreAway):
        await lease(store, "lb-a").watch(WITHIN)


# -- two balancers in one process -----------------------------------------------------------------------------


class Pair:
    """Two balancers' failovers for one VIP without sockets."""

    def __init__(self, store: Store, seconds: float = 1.0) -> None:
        self.events = Events()
        self.failovers = [
            make(
                Vip("main"),
                store,
                lab="lab",
                node=node,
                lease=seconds,
                renew=seconds / 4,
                events=self.events,
            )
            for node in ("lb-a", "lb-b")
        ]
        self.tasks = [spawn(failover.run(), "failover") for failover in self.failovers]

    def holders(self) -> list[Failover]:
        return [failover for failover in self.failovers if failover.vip.deadline > now()]


async def test_a_planned_handover_is_quick(store: Store) -> None:
    pair = Pair(store)
    await until(pair.holders)
    (first,) = pair.holders()
    assert first.status() | {"since": 0} == {
        "name": "main",
        "state": "active",
        "holder": first.lease.node,
        "token": 1,
        "since": 0,
        "reason": "the lease was granted",
    }
    (second,) = (failover for failover in pair.failovers if failover is not first)
    await until(lambda: now() - second.machine.watch.since > 1.0)
    await first.stop()
    assert first.vip.deadline > now() + 1000, "what runs may finish"
    assert await until(lambda: second.machine.state is State.ACTIVE) < 0.9, "sooner than a lease"
    assert second.status()["token"] == 2
    assert [entry["subject"] for entry in pair.events.after(0)["entries"]].count("main") == 5
    assert second.transitions == {State.INITIALIZE: 0, State.BACKUP: 1, State.ACTIVE: 1}


async def test_who_cannot_accept_leaves_it_to_another(store: Store) -> None:
    pair = Pair(store)
    broken, sound = pair.failovers
    closed = socket.create_server(("127.0.0.1", 0))
    closed.close()
    broken.vip.add(closed, asyncio.Protocol, lambda reason: None)
    await until(lambda: sound.machine.state is State.ACTIVE)
    assert pair.holders() == [sound]
    assert not broken.vip.accepting
    assert sound.machine.state is State.ACTIVE


async def test_without_a_seed_a_lease_is_watched_first(valkey: Valkey) -> None:  # noqa: F811
    store = await running(valkey)
    pair = Pair(store, 0.4)
    assert await until(pair.holders) >= 0.4
    await cancel_all()
    assert all(failover.vip.deadline < 0 for failover in pair.failovers), "ended otherwise: let go"
    await store.stop()


@pytest.mark.parametrize("how", ["frozen", "restarted blank"])
async def test_the_holder_stays_while_the_store_is_away(how: str, store: Store, valkey: Valkey) -> None:  # noqa: F811
    pair = Pair(store)
    await until(pair.holders)
    (holder,) = pair.holders()
    valkey.signal(signal.SIGSTOP)
    if how != "frozen":
        valkey.stop()
    begun = now()
    while now() < begun + 1.6:
        assert pair.holders() == [holder]
        await asyncio.sleep(0.02)
    if how == "frozen":
        valkey.signal(signal.SIGCONT)
    else:
        valkey.start()
        await valkey.answering()
    begun = now()
    while now() < begun + 1.1:
        assert pair.holders() == [holder]
        await asyncio.sleep(0.02)
    assert holder.machine.token == 1
    assert await lease(store, "lb-c").watch(WITHIN) == (True, 1, holder_epoch(pair))


def holder_epoch(pair: Pair) -> str:
    return next(
        failover.machine.watch.epoch for failover in pair.failovers if failover.machine.state is State.BACKUP
    )


# -- balancers as processes -----------------------------------------------------------------------------------

PROGRAM = """
import asyncio, sys, uvloop
from cdnlab.net.clock import now
from cdnlab.net.tasks import spawn
from cdnlab.node.log import Events
from cdnlab.node.store import Store
from lb import failover_lease
from lb.vip import Vip, inherited

name, descriptor, url = sys.argv[1], int(sys.argv[2]), sys.argv[3]
vip = Vip("main")
connections = set()

class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        if now() > vip.deadline:
            transport.abort()
            return
        connections.add(transport)
    def data_received(self, data):
        if now() > vip.deadline:
            self.transport.abort()
        else:
            self.transport.write(name.encode() + b"\\n")
    def connection_lost(self, error):
        connections.discard(self.transport)

async def main():
    store = Store(url, Events(name))
    await store.start()
    vip.add(inherited(descriptor), Answer, lambda reason: [each.abort() for each in list(connections)])
    failover = failover_lease.make(vip, store, lab="lab", node=name, lease=1.0, renew=0.25, events=Events(name))
    await failover.run()

uvloop.run(main())
"""


@contextmanager
def balancers(valkey: Valkey) -> Iterator[tuple[socket.socket, dict[str, subprocess.Popen[bytes]]]]:  # noqa: F811
    """lb-a and lb-b over one listening socket that both have inherited."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        root = str(Path(__file__).parents[2])
        started = {
            name: subprocess.Popen(
                [sys.executable, "-c", PROGRAM, name, str(sock.fileno()), valkey.url],
                pass_fds=[sock.fileno()],
                cwd=root,
                env=os.environ | {"PYTHONPATH": root},
            )
            for name in ("lb-a", "lb-b")
        }
        try:
            yield sock, started
        finally:
            for process in started.values():
                process.kill()
                process.wait()


class Client:
    """One connection to the VIP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, sock: socket.socket) -> Client:
        return cls(*await asyncio.open_connection(*sock.getsockname()))

    async def ask(self) -> str:
        """Who answers; "" if the connection was aborted."""
        try:
            self.writer.write(b"who?\n")
            return (await self.reader.readline()).decode().strip()
        except ConnectionError:
            return ""


async def who(sock: socket.socket) -> str:
    """Ask over a new connection; an aborted one is tried again."""
    while True:
        client = await Client.connect(sock)
        answer = await client.ask()
        client.writer.transport.abort()
        if answer:
            return answer


async def timed(answer: Awaitable[str]) -> tuple[str, float]:
    begun = now()
    return await answer, now() - begun


async def test_a_killed_holder_is_followed_within_two_seconds(store: Store, valkey: Valkey) -> None:  # noqa: F811
    with balancers(valkey) as (sock, started):
        first = await who(sock)
        other = "lb-a" if first == "lb-b" else "lb-b"
        await asyncio.sleep(0.3)  # both have looked at the lease
        started[first].kill()
        assert await timed(who(sock)) == (other, pytest.approx(1.0, abs=1.0))


async def test_a_frozen_holder_is_followed_and_answers_nothing_when_it_thaws(
    store: Store,
    valkey: Valkey,  # noqa: F811
) -> None:
    with balancers(valkey) as (sock, started):
        first = await who(sock)
        other = "lb-a" if first == "lb-b" else "lb-b"
        old = [await Client.connect(sock) for _ in range(50)]
        assert [await client.ask() for client in old] == [first] * 50
        await asyncio.sleep(0.3)
        os.kill(started[first].pid, signal.SIGSTOP)
        asked = [asyncio.create_task(client.ask()) for client in old[:25]]
        assert await timed(who(sock)) == (other, pytest.approx(1.0, abs=1.0))
        os.kill(started[first].pid, signal.SIGCONT)
        assert await asyncio.gather(*asked) == [""] * 25, "what was asked while it was frozen"
        assert [await client.ask() for client in old[25:]] == [""] * 25, "idle connections"
        assert [await who(sock) for _ in range(20)] == [other] * 20
        for client in old:
            client.writer.transport.abort()


async def test_a_question_that_is_cancelled_before_it_begins_leaves_nothing(store: Store) -> None:
    asked = spawn(lease(store, "lb-a").watch(WITHIN), "asked")
    await asyncio.sleep(0)  # its own task for the question is made, and has not begun
    await cancel_all()
    assert asked.cancelled()
