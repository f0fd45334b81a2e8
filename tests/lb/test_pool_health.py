"""What becomes of backends that die, freeze, fail and return behind a balancer: real processes, real sockets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import pytest

from cdnlab.plan.pools import EjectionSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import State
from tests.support.balancers import Running, balancer
from tests.support.peers import OK, Origin, Wire, until
from tests.support.servers import Server

pytestmark = pytest.mark.scenario

CHECKS = {"kind": "http", "interval": 0.2, "timeout": 0.3, "rise": 2, "fall": 2}
UNCHECKED = {"kind": "none"}
UNWILLING = b"HTTP/1.1 503 Draining\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Server(name)) for name in ("server-1", "server-2", "server-3")]


@asynccontextmanager
async def before(servers: list[Server], **pool: Any) -> AsyncIterator[Running]:
    ports = [server.port for server in servers]
    async with balancer(*ports, pool={"health": CHECKS, **pool}) as lb:
        if pool.get("health", CHECKS)["kind"] != "none":
            await until(lambda: all(each.health.state is State.UP for each in members(lb)), "all are up")
        yield lb


def members(lb: Running) -> tuple[Backend, ...]:
    return lb.app.forwarders["servers"].pool.backends


def row(lb: Running, number: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = lb.app.status()["backends"]
    return found[number]


def events(lb: Running, kind: str, subject: str = "") -> list[str]:
    found = lb.node.events.after(None)["entries"]
    return [each["text"] for each in found if each["kind"] == kind and subject in ("", each["subject"])]


def metric(lb: Running, name: str, **labels: str) -> float:
    (found,) = [
        value
        for family in lb.app.metrics()
        for sample, pairs, value in family.samples
        if sample == name and labels.items() <= dict(pairs).items()
    ]
    return float(found)


class Load:
    """Clients that ask one after the other for as long as it lasts; who answered what."""

    def __init__(self, lb: Running, clients: int = 4) -> None:
        self.lb = lb
        self.clients = clients
        self.seen: Counter[tuple[int, str]] = Counter()
        self._over = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        wires = [await self.lb.client() for _ in range(self.clients)]
        self._tasks = [asyncio.ensure_future(self._ask(wire)) for wire in wires]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _ask(self, wire: Wire) -> None:
        async with wire:
            while not self._over:
                answer = await wire.get()
                self.seen[answer.status, answer.body.decode()] += 1
                await asyncio.sleep(0.001)  # leave some of the machine to the servers

    async def more(self, count: int) -> Counter[tuple[int, str]]:
        """The next `count` answers, at least."""
        start = self.seen.copy()
        total = start.total() + count
        await until(lambda: self.seen.total() >= total, f"{count} more answers")
        return self.seen - start


async def test_a_killed_server_costs_nobody_anything_and_returns_when_it_is_started(
    servers: list[Server],
) -> None:
    async with before(servers) as lb, Load(lb) as load:
        victim = members(lb)[0]
        await load.more(100)
        servers[0].kill()
        await until(lambda: victim.health.state is State.DOWN, "its checks call it down")
        answers = await load.more(100)
        assert {status for status, _ in load.seen} == {200}, "every request was answered"
        assert {name for _, name in answers} == {"server-2", "server-3"}
        assert "connection refused" in events(lb, "health", "server-1")[-1]
        assert (row(lb, 0)["state"], row(lb, 0)["usable"]) == ("down", False)
        assert row(lb, 0)["since"] is not None

        servers[0].start()
        await until(lambda: victim.usable, "it is used again")
        answers = await load.more(100)
        assert {name for _, name in answers} == {"server-1", "server-2", "server-3"}
        assert {status for status, _ in load.seen} == {200}
        if ejections := events(lb, "ejection", "server-1"):  # requests were faster than the checks
            assert ejections[-1].endswith("its checks saw it fail and recover")
            assert not victim.ejected_until
        assert metric(lb, "cdnlab_pool_checks_total", backend="server-1", result="failed") >= 2


async def test_five_refused_connections_eject_before_the_checks_know(servers: list[Server]) -> None:
    """The next check is asked for at once, though the interval is an hour."""
    slow = {**CHECKS, "interval": 3600.0, "interval_down": 0.1}
    async with before(servers, health=slow) as lb, Load(lb) as load:
        victim = members(lb)[0]
        servers[0].kill()
        await until(lambda: victim.ejected_until, "it is ejected")
        await until(lambda: victim.health.state is State.DOWN, "and its checks were made at once")
        servers[0].start()
        await until(lambda: victim.usable, "it is used again long before the ejection's 30 s")
        await load.more(50)
        assert {status for status, _ in load.seen} == {200}
        texts = events(lb, "ejection", "server-1")
        assert len(texts) == 2
        assert texts[0].startswith(
            "up -> ejected: 5 requests failed in a row, the last because no connection"
        )
        assert texts[1] == "ejected -> up: its checks saw it fail and recover"


async def test_a_frozen_server_is_called_down_and_whoever_waits_is_answered_by_another(
    servers: list[Server],
) -> None:
    async with before(servers) as lb, Load(lb) as load:
        victim = members(lb)[1]
        await load.more(30)
        servers[1].freeze()
        await until(lambda: victim.health.state is State.DOWN, "its checks call it down")
        answers = await load.more(100)
        assert {status for status, _ in load.seen} == {200}
        assert (200, "server-1") in answers
        assert events(lb, "health", "server-2")[-1] == "up -> down: no answer within 0.3 s"
        servers[1].thaw()
        await until(lambda: victim.usable, "it is used again")
        assert (200, "server-2") in await load.more(100)


async def test_one_that_fails_a_share_of_requests_is_ejected_returns_and_starts_slowly(
    servers: list[Server],
) -> None:
    """Its checks pass all the time: only real requests show it."""
    ejection = {
        "consecutive": 0,
        "statuses": ["500-599"],
        "minimum_requests": 30,
        "interval": 0.3,
        "time": 0.8,
    }
    async with before(servers, ejection=ejection, slow_start=2.0) as lb, Load(lb) as load:
        victim = members(lb)[2]
        servers[2].fail_every(3)
        await until(lambda: victim.ejected_until, "it is ejected")
        assert victim.health.state is State.UP
        (text,) = events(lb, "ejection", "server-3")
        assert text.startswith("up -> ejected: 6"), text
        assert "% of " in text
        shown = row(lb, 2)
        assert (shown["state"], shown["usable"], shown["ejections"]) == ("ejected", False, 1)
        assert "answers were good" in shown["reason"]
        assert metric(lb, "cdnlab_pool_backend_ejected", backend="server-3") == 1
        assert metric(lb, "cdnlab_pool_ejections_total", backend="server-3", cause="success_rate") == 1
        servers[2].fail_every(0)
        await until(lambda: victim.usable, "its time is over")
        assert "slow start" in row(lb, 2)["reason"]
        before_ramp = served(lb)
        await until(lambda: victim.ramp == 1, "it has all of its weight")
        after_ramp = served(lb)
        texts = events(lb, "slow_start", "server-3")
        assert texts[0] == "slow start: 10% of its weight, all of it in 2 s"
        await until(lambda: len(events(lb, "slow_start", "server-3")) == 2, "that it is over is said")
        await load.more(150)
        # evenly from a tenth to all of it, beside two that have all of theirs: some 20 % on the way, then a third
        assert 0.1 < share_of_third(before_ramp, after_ramp) < 0.27
        assert 0.3 < share_of_third(after_ramp, served(lb)) < 0.37


def served(lb: Running) -> list[int]:
    return [each.served for each in members(lb)]


def share_of_third(before: list[int], after: list[int]) -> float:
    parts = [late - early for early, late in zip(before, after, strict=True)]
    return parts[2] / sum(parts)


async def test_any_status_may_count_as_a_failure(servers: list[Server]) -> None:
    async with before(servers, ejection={"consecutive": 3, "statuses": ["404", "500"]}) as lb, Load(lb):
        assert lb.app.forwarders["servers"].wary == 404
        servers[0].fail_every(1)
        await until(lambda: members(lb)[0].ejected_until, "it is ejected")
        spec = lb.node.topology.pools["servers"].model_copy(
            update={"ejection": EjectionSpec(statuses=((429, 429),))}
        )
        lb.app.upkeeps["servers"].take_up(spec)
        assert lb.app.forwarders["servers"].wary == 429
        assert members(lb)[0].ejected_until, "new settings end no ejection"


async def test_if_all_fail_most_stay(servers: list[Server]) -> None:
    ejection = {"consecutive": 3, "statuses": ["500"]}
    async with before(servers, ejection=ejection) as lb, Load(lb) as load:
        for server in servers:
            server.fail_every(1)
        await until(lambda: any(each.ejected_until for each in members(lb)), "one is ejected")
        await load.more(60)
        assert sum(each.usable for each in members(lb)) == 2
        assert metric(lb, "cdnlab_pool_ejections_refused_total", pool="servers") >= 1


async def test_one_that_may_not_be_ejected_is_checked_at_once(servers: list[Server]) -> None:
    """The ceiling is reached, and the checks come once an hour: the killed one is found out all the same."""
    slow = {**CHECKS, "interval": 3600.0, "interval_down": 3600.0, "fall": 3}
    ejection = {"max_share": 0.1}
    async with before(servers, health=slow, ejection=ejection) as lb, Load(lb) as load:
        pool = lb.app.forwarders["servers"].pool
        pool.backend("server-1").ejected_until = float("inf")
        pool.usable_changed()
        servers[1].kill()
        await until(lambda: pool.backend("server-2").health.state is State.DOWN, "it is called down")
        assert not pool.backend("server-2").ejected_until
        assert {name for _, name in await load.more(30)} == {"server-3"}


async def test_panic_uses_all_and_says_so(servers: list[Server]) -> None:
    async with before(servers, panic=0.5) as lb, Load(lb) as load:
        servers[0].freeze()
        await until(lambda: not members(lb)[0].usable, "one is down")
        assert not lb.app.status()["pools"][0]["panic"]
        servers[1].kill()
        await until(lambda: lb.app.status()["pools"][0]["panic"], "two of three are down")
        assert events(lb, "panic") == ["panic: 1 of 3 backends are usable, less than 50%; all are used"]
        assert metric(lb, "cdnlab_pool_panic", pool="servers") == 1
        assert row(lb, 0)["reason"].endswith("it is used all the same, since the pool panics")
        servers[0].thaw()
        await until(lambda: members(lb)[0].usable, "one is back")
        assert events(lb, "panic")[-1].startswith("no panic any more: 2 of 3")
        await load.more(30)


async def test_one_that_answers_its_checks_badly_keeps_what_it_has() -> None:
    """A backend that drains: its checks are answered 503, and the request that it works on is finished there."""
    draining, release = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            if b"cdnlab-check" in request.head:
                await wire.send(UNWILLING if draining.is_set() else OK)
                return
            await release.wait()
            await wire.send(OK)

    async with (
        Origin(script) as slow,
        Origin() as other,
        balancer(slow, other, pool={"health": {**CHECKS, "interval": 0.05}}) as lb,
        await lb.client() as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: members(lb)[0].live, "the request is there")
        draining.set()
        await until(lambda: members(lb)[0].health.state is State.DOWN, "it is called down")
        release.set()
        assert (await client.response()).status == 200
        assert [each for each in other.requests if b"cdnlab-check" not in each.head] == []
        assert lb.app.forwarders["servers"].abandoned == 0


async def test_who_is_added_while_requests_run_is_checked_ramped_and_used(servers: list[Server]) -> None:
    new = servers.pop()
    async with before(servers, slow_start=1.0) as lb, Load(lb) as load:
        pool = lb.app.forwarders["servers"].pool
        added = Backend("server-3", "127.0.0.1", new.port)
        pool.add(added)
        assert added.share == pytest.approx(0.1)
        await until(lambda: added.health.state is State.UP, "it is checked")
        await until(lambda: added.ramp == 1, "it has all of its weight")
        assert (200, "server-3") in await load.more(50)
        pool.remove("server-1")
        await load.more(20)
        answers = await load.more(50)
        assert {name for _, name in answers} == {"server-2", "server-3"}
        assert {status for status, _ in load.seen} == {200}


async def test_a_drained_server_finishes_what_it_has_and_gets_nothing_new(servers: list[Server]) -> None:
    async with before(servers, health=UNCHECKED) as lb, Load(lb) as load:
        pool = lb.app.forwarders["servers"].pool
        await load.more(30)
        pool.drain("server-2")
        await until(lambda: pool.backend("server-2").live == 0, "what it had is finished")
        answers = await load.more(50)
        assert {name for _, name in answers} <= {"server-1", "server-2", "server-3"}
        answers = await load.more(50)
        assert {name for _, name in answers} == {"server-1", "server-3"}
        assert row(lb, 1)["state"] == "draining"
        assert metric(lb, "cdnlab_pool_backend_draining", backend="server-2") == 1
        pool.enable("server-2")
        assert (200, "server-2") in await load.more(50)
        assert {status for status, _ in load.seen} == {200}
