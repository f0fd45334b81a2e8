"""Clients that stay with their origin, whichever edge they come through; and a cookie that no cache ever sees."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cdnlab.plan.topology import Topology
from cdnlab.pool.health import State
from cdnlab.pool.sticky import Repin
from tests.edge.origin import Talk
from tests.support.edges import Answer, Network, network
from tests.support.peers import Origin, Wire, until

OURS = "cdnlab-pin"
EDGES = {"icn": "icn", "fra": "fra"}
#: What an origin says under a path.
PAGES = {
    b"/shared": b"Cache-Control: max-age=60\r\n",
    b"/varies": b"Cache-Control: max-age=60\r\nVary: Cookie\r\n",
    b"/stale": b'Cache-Control: max-age=0\r\nETag: "1"\r\n',
    b"/private": b"Cache-Control: private\r\n",
    b"/large": b"Cache-Control: max-age=60\r\n",
    b"/login": b"Cache-Control: no-store\r\nSet-Cookie: sid=%b\r\n",
    b"/tagged": b'Cache-Control: private\r\nETag: "1"\r\n',
}


@dataclass
class Site:
    """Edges before three origins that say their names, and what they saw."""

    net: Network
    seen: list[tuple[bytes, str, bytes]] = field(default_factory=list)
    """(target, origin, Cookie) of each request."""

    async def ask(self, edge: str, target: str, *fields: str, **more: Any) -> Answer:
        answer = await self.net.ask(edge, target, *fields, **more)
        assert answer.status in (200, 304), answer
        return answer

    def sticky(self, edge: str) -> Any:
        return self.net.apps[edge]._forwarders["servers"].sticky

    def down(self, name: str, state: State = State.DOWN) -> None:
        for app in self.net.apps.values():
            pool = app._forwarders["servers"].pool
            pool.backend(name).health.state = state
            pool.usable_changed()


def who(answer: Answer) -> str:
    return answer.fields["server-name"]


def pin(answer: Answer) -> str:
    """The Cookie line for what the answer set."""
    return "Cookie: " + answer.fields["set-cookie"].partition(";")[0]


async def _unused(talk: Talk) -> None:
    """The origin that the helper brings; nobody is sent there."""


@asynccontextmanager
async def site(places: dict[str, str] | None = None, **settings: Any) -> AsyncIterator[Site]:
    sections = {key: settings.pop(key) for key in ("routes", "edge", "share") if key in settings}
    found: list[tuple[bytes, str, bytes]] = []

    def server(name: str) -> Any:
        async def script(wire: Wire) -> None:
            while True:
                request = await wire.request()
                target = request.line.split()[1]
                found.append((target, name, b"; ".join(request.all(b"cookie"))))
                lines = PAGES.get(target.partition(b"?")[0], b"Cache-Control: no-store\r\n")
                if b"%b" in lines:
                    lines %= b"%b-%d" % (name.encode(), len(found))
                size = 5000 if target == b"/large" else 0
                if request.one(b"if-none-match"):
                    head = b"HTTP/1.1 304 Not Modified\r\nServer-Name: %b\r\n%b\r\n"
                    await wire.send(head % (name.encode(), lines))
                    continue
                head = b"HTTP/1.1 200 OK\r\nServer-Name: %b\r\n%bContent-Length: %d\r\n\r\n" % (
                    name.encode(), lines, size,
                )  # fmt: skip
                await wire.send(head + bytes(size))

        return script

    names = ("server-1", "server-2", "server-3")
    async with (
        Origin(server(names[0])) as one,
        Origin(server(names[1])) as two,
        Origin(server(names[2])) as three,
    ):
        backends = [
            {"name": name, "address": "127.0.0.1", "port": each.port}
            for name, each in zip(names, (one, two, three), strict=True)
        ]
        pool = {"backends": backends, "health": {"kind": "none"}, "sticky": settings or {"mode": "cookie"}}
        edge = {"pool": "servers", **sections.pop("edge", {})}
        async with network(places or EDGES, _unused, pools={"servers": pool}, edge=edge, **sections) as net:
            yield Site(net, found)


async def test_every_edge_honours_every_pin() -> None:
    async with site() as lab:
        for first_edge, other in (("icn", "fra"), ("fra", "icn")):
            first = await lab.ask(first_edge, "/cart")
            for _ in range(4):
                again = await lab.ask(other, "/cart", pin(first))
                assert who(again) == who(first)
                assert "set-cookie" not in again.fields
        assert len({who(await lab.ask("icn", "/cart")) for _ in range(6)}) == 3


async def test_the_client_s_edge_dies_and_its_origin_stays() -> None:
    async with site() as lab:
        first = await lab.ask("icn", "/cart")
        await lab.net.stop("icn")
        assert {who(await lab.ask("fra", "/cart", pin(first))) for _ in range(6)} == {who(first)}


async def test_the_origin_sees_the_client_s_cookies_and_not_ours() -> None:
    async with site() as lab:
        mine = pin(await lab.ask("icn", "/cart")).partition(" ")[2]
        await lab.ask("icn", "/cart", f"Cookie: a=b; {mine}; c=d")
        assert lab.seen[-1][2] == b"a=b; c=d"
        await lab.ask("icn", "/cart", f"Cookie: {mine}")
        assert lab.seen[-1][2] == b""


@pytest.mark.parametrize("target", ["/cart", "/private", "/cart?x=1"])
async def test_an_answer_of_one_s_own_says_it(target: str) -> None:
    async with site() as lab:
        said = (await lab.ask("icn", target)).fields["set-cookie"]
        assert said.startswith(OURS + "=")
        assert said.endswith("; Path=/; HttpOnly; SameSite=Lax")


async def test_what_is_stored_never_does_nor_does_a_hit() -> None:
    async with site() as lab:
        miss = await lab.ask("icn", "/shared")
        hit = await lab.ask("icn", "/shared")
        assert "stored" in miss.caches[0]
        assert "; hit" in hit.caches[0]
        assert "set-cookie" not in miss.fields
        assert "set-cookie" not in hit.fields
        assert b"set-cookie" not in b"".join(
            each.start
            for shard in lab.net.apps["icn"].cache.storage.shards
            for each in shard.values()  # type: ignore[union-attr]
        )
        first = await lab.ask("icn", "/cart")
        assert "hit" in (await lab.ask("icn", "/shared", pin(first))).caches[0]


async def test_what_others_may_have_but_was_not_stored_does_not_either() -> None:
    """A cache behind us might store it."""
    async with site(edge={"object_max": 1024}) as lab:
        answer = await lab.ask("icn", "/large")
        assert "too-large" in answer.caches[0]
        assert "set-cookie" not in answer.fields
        assert "set-cookie" not in (await lab.ask("icn", "/shared", method="HEAD")).fields


async def test_what_a_cache_behind_us_takes_into_what_it_has_does_not_either() -> None:
    """A 304 brings the fields of what is stored; and only here does a cookie take an answer past the cache."""
    async with site() as lab:
        assert "set-cookie" in (await lab.ask("icn", "/tagged")).fields
        confirmed = await lab.ask("icn", "/tagged", 'If-None-Match: "1"')
        assert confirmed.status == 304
        assert "set-cookie" not in confirmed.fields
    async with site(routes=[{"pool": "servers", "cookies": "pass"}]) as lab:
        answer = await lab.ask("icn", "/shared", "Cookie: a=b")
        assert "detail=cookie" in answer.caches[0]
        assert "set-cookie" not in answer.fields
        assert "set-cookie" in (await lab.ask("icn", "/cart", "Cookie: a=b")).fields


async def test_it_counts_for_no_variant() -> None:
    async with site() as lab:
        first = await lab.ask("icn", "/cart")
        await lab.ask("icn", "/varies", "Cookie: lang=ko")
        mine = pin(first).partition(" ")[2]
        assert "hit" in (await lab.ask("icn", "/varies", f"Cookie: lang=ko; {mine}")).caches[0]
        assert "hit" not in (await lab.ask("icn", "/varies", f"Cookie: {mine}")).caches[0]
        assert "hit" in (await lab.ask("icn", "/varies")).caches[0]


async def test_it_takes_nobody_past_a_cache_that_cookies_pass_by() -> None:
    async with site(routes=[{"pool": "servers", "cookies": "pass"}]) as lab:
        first = await lab.ask("icn", "/cart")
        await lab.ask("icn", "/shared")
        assert "hit" in (await lab.ask("icn", "/shared", pin(first))).caches[0]
        passed = await lab.ask("icn", "/shared", pin(first) + "; a=b")
        assert "detail=cookie" in passed.caches[0]
        assert who(passed) == who(first)


async def test_a_route_that_strips_cookies_pins_nobody() -> None:
    async with site(routes=[{"pool": "servers", "cookies": "strip"}]) as lab:
        answers = [await lab.ask("icn", "/cart") for _ in range(6)]
        assert all("set-cookie" not in answer.fields for answer in answers)
        assert len({who(answer) for answer in answers}) == 3


async def test_repeated_on_one_connection() -> None:
    """What a connection repeats is remembered without its pin, and the pin with it."""
    async with site() as lab:
        first = await lab.ask("icn", "/cart")
        host, port = lab.net.topology.data_address("icn")
        sock = socket.create_connection((host, port))
        sock.setblocking(False)
        async with Wire(sock) as client:
            for target in (b"/cart", b"/shared", b"/shared", b"/cart", b"/cart", b"/shared"):
                answer = await client.get(target, pin(first).encode())
                assert answer.one(b"set-cookie") is None
                if target == b"/cart":
                    assert answer.one(b"server-name") == who(first).encode()
            other = await client.get(b"/cart", b"Cookie: a=b")
            assert answer.one(b"set-cookie") is None
            assert other.one(b"set-cookie") is not None
        assert all(OURS.encode() not in cookies for _, _, cookies in lab.seen)


async def test_a_dead_origin_s_clients_are_moved_everywhere_to_where_they_are_told() -> None:
    async with site() as lab:
        first = await lab.ask("icn", "/cart")
        lab.down(who(first))
        moved = await lab.ask("icn", "/cart", pin(first))
        assert who(moved) != who(first)
        assert lab.sticky("icn").repins[Repin.DOWN] == 1
        assert {who(await lab.ask("fra", "/cart", pin(moved))) for _ in range(4)} == {who(moved)}


async def test_a_draining_origin_keeps_its_clients() -> None:
    async with site() as lab:
        first = await lab.ask("icn", "/cart")
        for app in lab.net.apps.values():
            app._forwarders["servers"].pool.drain(who(first))
        assert {who(await lab.ask(edge, "/cart", pin(first))) for edge in EDGES for _ in range(3)} == {
            who(first)
        }


async def test_a_miss_is_asked_where_its_client_is_pinned() -> None:
    """Nobody knows yet whose page it will be."""
    async with site() as lab:
        first = await lab.ask("icn", "/cart")
        for number in range(6):
            assert who(await lab.ask("icn", f"/private?{number}", pin(first))) == who(first)


async def test_by_address_behind_a_balancer_it_is_the_client_s_own() -> None:
    async with site(mode="source") as lab:
        homes = set()
        for host in range(1, 13):
            line = f"X-Forwarded-For: 192.0.2.{host}"
            every = [await lab.ask("icn", "/cart", line, trusted=True) for _ in range(3)]
            assert len({who(answer) for answer in every}) == 1
            assert "set-cookie" not in every[0].fields
            homes.add(who(every[0]))
        assert len(homes) == 3
        lone = {
            who(await lab.ask("icn", "/cart", f"X-Forwarded-For: 192.0.2.{host}")) for host in range(1, 13)
        }
        assert len(lone) == 1, "a stranger's word about who it is counts for nothing"


async def test_the_application_s_cookie_is_learned() -> None:
    async with site(mode="learn", cookie="sid") as lab:
        for _ in range(4):
            answer = await lab.ask("icn", "/login")
            cookie = "Cookie: theme=dark; " + answer.fields["set-cookie"]
            assert {who(await lab.ask("icn", "/cart", cookie)) for _ in range(4)} == {who(answer)}
            assert lab.seen[-1][2].startswith(b"theme=dark; sid="), "it is the application's, and goes there"


async def test_through_another_edge_the_pin_travels_and_is_told_once() -> None:
    """An unsafe request goes by the owner of its key, who asks the origin."""
    places = {"icn-1": "icn", "icn-2": "icn"}
    async with site(places, edge={"pool": "servers", "share": True}) as lab:
        await until(lab.net.settled, "the edges see each other")
        target = lab.net.owned_by("icn-2", seen_from="icn-1", prefix="/buy")
        first = await lab.ask("icn-1", target, method="POST")
        assert first.fields["set-cookie"].startswith(OURS)
        for _ in range(4):
            again = await lab.ask("icn-1", target, pin(first), method="POST")
            assert who(again) == who(first)
            assert "set-cookie" not in again.fields
        assert lab.sticky("icn-2").made == 1
        assert lab.sticky("icn-1").made == 0
        assert all(OURS.encode() not in cookies for _, _, cookies in lab.seen)


async def test_it_is_taken_up_and_given_up_while_requests_run() -> None:
    async with site(mode="off") as lab:
        app = lab.net.apps["icn"]
        off, said = lab.net.topology, lab.net.topology.model_dump(exclude_unset=True)
        said["pools"]["servers"]["sticky"] = {"mode": "cookie"}
        assert app.node.prepare is not None
        app.node.prepare(Topology.build(said))()
        first = await lab.ask("icn", "/cart")
        assert {who(await lab.ask("icn", "/cart", pin(first))) for _ in range(4)} == {who(first)}
        app.node.prepare(off)()
        assert "set-cookie" not in (await lab.ask("icn", "/cart")).fields
        app.node.prepare(Topology.build(said))()
        assert {who(await lab.ask("icn", "/cart", pin(first))) for _ in range(4)} == {who(first)}
        assert len(app._forwarders["servers"].pool.watchers) < 10


async def test_off_there_is_nothing() -> None:
    async with site(mode="off") as lab:
        answer = await lab.ask("icn", "/cart", f"Cookie: {OURS}=x")
        assert "set-cookie" not in answer.fields
        assert lab.seen[-1][2] == f"{OURS}=x".encode()
        assert "pins" not in lab.net.apps["icn"].status()
