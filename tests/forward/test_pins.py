"""Several nodes' pins over a real store: found by all, kept without it, and moved by whoever notices first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from cdnlab.forward.pins import Pins, cookie_name
from cdnlab.forward.sticky import Stickiness
from cdnlab.net import tasks
from cdnlab.net.clock import now
from cdnlab.node.log import Events
from cdnlab.node.node import Node
from cdnlab.node.secrets import Secrets, make
from cdnlab.node.store import Store
from cdnlab.plan.topology import Topology
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import State
from cdnlab.pool.pool import Pool
from cdnlab.pool.sticky import Hold, Repin
from tests.node.conftest import valkey as valkey

if TYPE_CHECKING:
    from tests.node.conftest import Valkey

SECRETS = Secrets()
NAMES = ("server-1", "server-2", "server-3", "server-4")


def topology(algorithm: str = "random", **sticky: Any) -> Topology:
    backends = [{"name": name, "address": "127.0.0.1", "port": 1 + place} for place, name in enumerate(NAMES)]
    pool = {"backends": backends, "algorithm": algorithm, "sticky": sticky or {"mode": "source"}}
    return Topology.build(
        {
            "name": "pins",
            "vips": [{"address": "127.0.0.1", "port": 0}],
            "nodes": {"lb": {"tier": "lb", "address": "127.0.0.1"}},
            "pools": {"servers": pool},
            "routes": [{"pool": "servers"}],
        }
    )


class One:
    """One node: its store, its pool, its pins."""

    def __init__(self, plan: Topology, url: str | None, state: Path | None = None) -> None:
        self.store = Store(url, Events()) if url else None
        self.node = Node(plan, "lb", state=state, secrets=SECRETS, store=self.store)
        self.pool = Pool("servers", [Backend(name, "127.0.0.1", 1) for name in NAMES], "random")
        self.forwarder: Any = SimpleNamespace(pool=self.pool, sticky=None)
        self.pins = Pins(self.node)
        self.pins.attach(plan, [self.forwarder])

    @property
    def sticky(self) -> Stickiness:
        found: Stickiness = self.forwarder.sticky
        return found

    async def start(self) -> None:
        if self.store is not None:
            await self.store.start()
        self.pins.start()
        await self.pins.loaded()

    def where(self, address: str) -> str:
        hold = self.sticky.find([], address)
        found = self.sticky.where(hold, "", b"", now())
        return found.name if found is not None else ""

    def down(self, name: str) -> None:
        self.pool.backend(name).health.state = State.DOWN
        self.pool.usable_changed()


@asynccontextmanager
async def nodes(url: str | None, count: int = 2, plan: Topology | None = None) -> AsyncIterator[list[One]]:
    every = [One(plan or topology(), url) for _ in range(count)]
    for each in every:
        await each.start()
    try:
        yield every
    finally:
        for each in every:
            each.pins.stop()
            if each.store is not None:
                await each.store.stop()
        await tasks.cancel_all()


async def until(condition: Callable[[], bool]) -> float:
    begun = now()
    while not condition():
        assert now() - begun < 15, "not within the time"
        await asyncio.sleep(0.002)
    return now() - begun


async def test_a_pin_is_everywhere_within_100_ms(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    async with nodes(valkey.url, 3) as (a, b, c):
        homes, took = {}, []
        for host in range(20):
            address = f"192.0.2.{host}"
            homes[address] = a.where(address)
            count = host + 1
            took.append(await until(lambda n=count: b.sticky.table.count == c.sticky.table.count == n))  # type: ignore[misc]
        assert sorted(took)[10] < 0.1  # half of them, since others run on the machine, too
        for address, home in homes.items():
            assert b.where(address) == c.where(address) == home
        assert b.sticky.made == 0
        async with nodes(valkey.url, 1) as (late,):
            assert {address: late.where(address) for address in homes} == homes


async def test_who_notices_first_moves_the_client_for_all(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    async with nodes(valkey.url) as (a, b):
        home = a.where("192.0.2.1")
        await until(lambda: b.sticky.table.count == 1)
        a.down(home)
        moved = a.where("192.0.2.1")
        assert moved != home
        assert a.sticky.repins[Repin.DOWN] == 1
        await until(lambda: b.where("192.0.2.1") == moved)
        assert sum(b.sticky.repins.values()) == 0


async def test_without_the_store_new_clients_are_hashed_so_that_all_come_to_the_same(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    async with nodes(valkey.url) as (a, b):
        before = {f"192.0.2.{host}": a.where(f"192.0.2.{host}") for host in range(10)}
        await until(lambda: b.sticky.table.count == 10)
        valkey.stop()
        await until(lambda: not a.store.up and not b.store.up)  # type: ignore[union-attr]
        assert {address: b.where(address) for address in before} == before, "who is known stays"
        new = [f"198.51.100.{host}" for host in range(40)]
        assert [a.where(address) for address in new] == [b.where(address) for address in new]
        assert len({a.where(address) for address in new}) == len(NAMES)
        valkey.start()
        await until(lambda: a.store.up and b.store.up)  # type: ignore[union-attr]
        async with nodes(valkey.url, 1) as (late,):
            await until(lambda: late.sticky.table.count == 50)
            assert [late.where(address) for address in new] == [a.where(address) for address in new]


async def test_a_node_of_its_own_needs_no_store() -> None:
    async with nodes(None, 1) as (one,):
        home = one.where("192.0.2.1")
        assert {one.where("192.0.2.1") for _ in range(20)} == {home}
        assert one.pins.status()["pins"]["replica"] is None


async def test_what_others_write_wrongly_is_passed_over(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    async with nodes(valkey.url) as (a, b):
        replica = a.pins.replica
        assert replica is not None
        for key, value in (
            (b"x", b"server-1"), (b"servers/short", b"server-1"), (b"other/12345678", b"server-1"),
            (b"servers/12345678", b""), (b"servers/12345678", b"\xff\xfe"), (b"servers/abcdefgh", b"x" * 5000),
        ):  # fmt: skip
            replica.put(key, value, 60)
            await replica.flushed(5)
        a.where("192.0.2.1")
        await until(lambda: b.sticky.table.count >= 1)
        assert b.where("192.0.2.1") == a.where("192.0.2.1")
        assert b.sticky.table.count <= 2


async def test_a_pin_is_forgotten_when_its_life_is_over_and_kept_while_it_is_used() -> None:
    async with nodes(None, 1, topology(mode="source", lifetime="1s")) as (one,):
        used, hold = one.where("192.0.2.1"), one.sticky.find([], "192.0.2.1")
        one.where("192.0.2.2")
        begun = now()
        while now() - begun < 1.6:
            assert one.sticky.where(hold, "", b"", now()) is one.pool.backend(used)
            await asyncio.sleep(0.05)
        await until(lambda: one.sticky.table.count == 1)
        assert one.where("192.0.2.1") == used
        assert one.sticky.made == 2


async def test_keys_are_read_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cdnlab.forward.pins.TICK", 0.01)
    monkeypatch.setattr("cdnlab.node.secrets.STAGED", 0.0)
    state = tmp_path
    make(state / "secrets")
    one = One(topology(mode="cookie"), None, state)
    forgotten: list[bool] = []
    one.pins.start(lambda: forgotten.append(True))
    (state / "secrets" / "cookie_key.2").write_text("cd" * 32)
    await until(lambda: one.pins.status()["pins"]["signs"] == "2")
    assert forgotten
    assert one.pins.status()["pins"]["keys"] == ["1", "2"]
    hold = Hold("/")
    one.sticky.find([], "", "/")
    line = one.sticky.answered(hold, one.pool.backends[0], 200, ())
    assert line.startswith(b"Set-Cookie: cdnlab-pin=2.")
    (state / "secrets" / "cookie_key.2").write_text("no key")
    await until(lambda: "the cookie keys stay as they were" in caplog.text)
    assert one.pins.status()["pins"]["signs"] == "2", "what cannot be read changes nothing"
    await tasks.cancel_all()


async def test_another_version_of_the_topology_keeps_the_pins() -> None:
    async with nodes(None, 1) as (one,):
        homes = {f"192.0.2.{host}": one.where(f"192.0.2.{host}") for host in range(20)}
        one.pins.attach(topology(), [one.forwarder])
        one.pins.attach(topology(mode="source", lifetime="2h", table_max=15), [one.forwarder])
        await until(lambda: one.sticky.table.count == 15)
        kept = [address for address in homes if one.sticky.find([], address).backend is not None]
        assert len(kept) == 15
        assert {one.where(address) == homes[address] for address in kept} == {True}
        one.pins.attach(topology(mode="off"), [one.forwarder])
        assert one.forwarder.sticky is None
        assert one.pins.status() == {}


def test_cookies_of_several_pools_have_several_names() -> None:
    plan = topology(mode="cookie")
    spec = plan.pools["servers"]
    other = spec.model_copy(update={"sticky": spec.sticky.model_copy(update={"cookie": "route"})})
    assert cookie_name({"a": spec, "b": other}, "a") == "cdnlab-pin"
    assert cookie_name({"a": spec, "b": other}, "b") == "route"
    assert cookie_name({"a": spec, "b": spec}, "b") == "cdnlab-pin-b"
