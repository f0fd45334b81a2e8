"""Clients that stay with their backend, on real sockets: by our cookie, by address, by the application's cookie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cdnlab.forward.explain import mark, parse_hops
from cdnlab.forward.sticky import Stickiness
from cdnlab.net.clock import now, wall
from cdnlab.pool.health import State
from cdnlab.pool.pin_cookie import Refused, Signer
from cdnlab.pool.sticky import Repin
from tests.support.balancers import Running, balancer, topology
from tests.support.peers import OK, Message, Origin, Script, Wire, free_port, until

OURS = b"cdnlab-pin"


def server(name: bytes, *lines: bytes) -> Script:
    """An application that says its name, and the cookies that it sees."""

    async def script(wire: Wire) -> None:
        while True:
            seen = (await wire.request()).all(b"cookie")
            head = [
                b"HTTP/1.1 200 OK",
                b"Server-Name: " + name,
                b"Content-Length: %d" % len(b"".join(seen)),
                *lines,
            ]
            await wire.send(b"\r\n".join([*head, b"", b"".join(seen)]))

    return script


@dataclass
class Three:
    """A balancer before three servers."""

    lb: Running
    servers: list[Origin] = field(default_factory=list)

    @property
    def sticky(self) -> Stickiness:
        """What keeps the clients."""
        found = self.lb.app.forwarders["servers"].sticky
        assert found is not None
        return found

    async def ask(self, *cookies: bytes, source: str | None = None, target: bytes = b"/") -> Message:
        """One request on a connection of its own."""
        lines = [b"Cookie: " + cookie for cookie in cookies]
        async with await self.lb.client(source) as client:
            return await client.get(target, *lines)

    def down(self, name: bytes, state: State = State.DOWN) -> None:
        """Have the checks call a server dead."""
        pool = self.lb.app.forwarders["servers"].pool
        pool.backend(name.decode()).health.state = state
        pool.usable_changed()


@asynccontextmanager
async def three(*lines: bytes, pool: dict[str, Any] | None = None, **sticky: Any) -> AsyncIterator[Three]:
    names = (b"server-1", b"server-2", b"server-3")
    settings = {"sticky": sticky or {"mode": "cookie"}, **(pool or {})}
    async with (
        Origin(server(names[0], *lines)) as one,
        Origin(server(names[1], *lines)) as two,
        Origin(server(names[2], *lines)) as third,
        balancer(one, two, third, pool=settings) as lb,
    ):
        yield Three(lb, [one, two, third])


def who(answer: Message) -> bytes:
    assert answer.status == 200, answer.head
    found = answer.one(b"server-name")
    assert found is not None
    return found


def pin(answer: Message) -> bytes:
    """name=value of the cookie that was set."""
    said = answer.one(b"set-cookie")
    assert said is not None, answer.head
    return said.partition(b";")[0]


# -- our cookie ----------------------------------------------------------------------


async def test_a_client_with_our_cookie_stays_and_is_told_once() -> None:
    async with three() as lab:
        first = await lab.ask()
        said = first.one(b"set-cookie") or b""
        assert said.startswith(OURS + b"=")
        assert said.endswith(b"; Path=/; HttpOnly; SameSite=Lax")
        assert b"server" not in said
        for _ in range(6):
            again = await lab.ask(pin(first))
            assert who(again) == who(first)
            assert again.one(b"set-cookie") is None
        assert lab.sticky.made == 1
        others = {who(await lab.ask()) for _ in range(6)}
        assert len(others) == 3, "new clients are balanced"


async def test_on_one_connection_too() -> None:
    async with three() as lab, await lab.lb.client() as client:
        first = await client.get()
        answers = [await client.get(b"/", b"Cookie: " + pin(first)) for _ in range(4)]
        assert {who(answer) for answer in answers} == {who(first)}
        assert [answer.one(b"set-cookie") for answer in answers] == [None] * 4


async def test_our_cookie_goes_no_further_and_others_do() -> None:
    async with three() as lab:
        mine = pin(await lab.ask())
        assert (await lab.ask(b"a=b; " + mine + b"; c=d")).body == b"a=b; c=d"
        assert (await lab.ask(mine)).body == b""
        assert (await lab.ask(b"a=b", mine)).body == b"a=b"


@pytest.mark.parametrize(
    "spoil", ["forged", "cut", "foreign key", "unknown key", "other pool", "other route"]
)
async def test_a_cookie_that_is_not_ours_pins_nobody_and_is_replaced(spoil: str) -> None:
    async with three() as lab:
        mine = pin(await lab.ask()).partition(b"=")[2]
        kid, keys = lab.lb.node.secrets.cookie_keys.popitem()
        name, refused = "server-1", Refused.NO_MATCH
        if spoil == "forged":
            value = mine[:-1] + (b"A" if mine[-1:] != b"A" else b"Q")
        elif spoil == "cut":
            value, refused = mine[:-1], Refused.MALFORMED
        elif spoil == "foreign key":
            value = Signer({kid: b"x" * 32}, kid, "/", "servers").value(name, bytes(8))
        elif spoil == "unknown key":
            value, refused = (
                Signer({"9": b"x" * 32}, "9", "/", "servers").value(name, bytes(8)),
                Refused.UNKNOWN_KEY,
            )
        elif spoil == "other pool":
            value = Signer({kid: keys}, kid, "/", "others").value(name, bytes(8))
        else:
            value = Signer({kid: keys}, kid, "/elsewhere", "servers").value(name, bytes(8))
        answers = [await lab.ask(OURS + b"=" + value) for _ in range(6)]
        assert len({who(answer) for answer in answers}) == 3, "it is balanced as a new client"
        assert all(answer.one(b"set-cookie") for answer in answers)
        assert lab.sticky.refused[refused] == 6
        assert sum(lab.sticky.refused.values()) == 6


async def test_shown_by_another_client_it_pins_that_one_too() -> None:
    """It is nobody's identity."""
    async with three() as lab:
        first = await lab.ask(source="127.0.0.1")
        assert {who(await lab.ask(pin(first), source=f"127.0.0.{n}")) for n in range(2, 6)} == {who(first)}


async def test_the_first_of_several_that_is_good_counts() -> None:
    async with three() as lab:
        first = await lab.ask()
        assert who(await lab.ask(OURS + b"=nonsense; " + pin(first))) == who(first)


async def test_draining_keeps_who_is_there_and_lets_nobody_in() -> None:
    async with three() as lab:
        first = await lab.ask()
        home = who(first).decode()
        lab.lb.app.forwarders["servers"].pool.drain(home)
        assert {who(await lab.ask(pin(first))).decode() for _ in range(4)} == {home}
        assert home not in {who(await lab.ask()).decode() for _ in range(8)}
        lab.lb.app.forwarders["servers"].pool.enable(home)
        lab.lb.app.forwarders["servers"].pool.set_weight(home, 0)
        assert {who(await lab.ask(pin(first))).decode() for _ in range(4)} == {home}
        assert sum(lab.sticky.repins.values()) == 0


async def test_a_dead_one_s_clients_are_moved_once_and_stay_there() -> None:
    async with three() as lab:
        first = await lab.ask()
        lab.down(who(first))
        # the old cookie, again and again: a browser sends several requests before it has seen the new one
        answers = [await lab.ask(pin(first)) for _ in range(6)]
        assert len({who(answer) for answer in answers}) == 1
        assert who(answers[0]) != who(first)
        assert lab.sticky.repins[Repin.DOWN] == 1
        assert who(await lab.ask(pin(answers[0]))) == who(answers[0])
        lab.down(who(first), State.UP)
        assert who(await lab.ask(pin(first))) == who(answers[0]), "what comes back gets nobody back"
        assert who(await lab.ask(pin(answers[0]))) == who(answers[0])


async def test_on_a_standing_connection_a_dead_one_is_left_too() -> None:
    async with three() as lab, await lab.lb.client() as client:
        cookie = b"Cookie: " + pin(await client.get())
        before = await client.get(b"/", cookie)
        lab.down(who(before))
        after = [await client.get(b"/", cookie) for _ in range(3)]
        assert len({who(answer) for answer in after}) == 1
        assert who(after[0]) != who(before)
        assert sum(lab.sticky.repins.values()) == 1


async def test_an_ejected_one_s_clients_are_moved() -> None:
    async with three() as lab:
        first = await lab.ask()
        pool = lab.lb.app.forwarders["servers"].pool
        pool.backend(who(first).decode()).ejected_until = now() + 60
        pool.usable_changed()
        assert who(await lab.ask(pin(first))) != who(first)
        assert lab.sticky.repins[Repin.EJECTED] == 1


async def test_a_removed_one_s_clients_are_moved() -> None:
    async with three() as lab, await lab.lb.client() as client:
        cookie = b"Cookie: " + pin(await client.get())
        before = await client.get(b"/", cookie)
        lab.lb.app.forwarders["servers"].pool.remove(who(before).decode())
        assert who(await client.get(b"/", cookie)) != who(before)
        assert who(await lab.ask(cookie.partition(b" ")[2])) != who(before)
        assert lab.sticky.repins[Repin.REMOVED] == 1
        assert lab.sticky.refused[Refused.NO_MATCH] == 0, "it is known for what it is"


async def test_one_that_refuses_loses_its_clients_before_any_check_says_so() -> None:
    async with Origin(server(b"server-1")) as one, Origin(server(b"server-2")) as two:
        gone = free_port()
        settings = {"sticky": {"mode": "cookie"}}
        async with balancer(gone, one, two, pool=settings) as lb:
            keys = lb.node.secrets.cookie_keys
            kid = next(iter(keys))
            cookie = OURS + b"=" + Signer(keys, kid, "/", "servers").value("server-1", bytes(8))  # at `gone`
            lab = Three(lb)
            answer = await lab.ask(cookie)
            assert who(answer) in (b"server-1", b"server-2")
            assert lab.sticky.repins[Repin.CONNECT_FAILED] == 1
            assert {who(await lab.ask(cookie)) for _ in range(3)} == {who(answer)}
            assert {who(await lab.ask(pin(answer))) for _ in range(3)} == {who(answer)}


async def test_all_that_a_client_sends_at_once_is_moved_to_one_place() -> None:
    """Six requests find the backend dead, and go six ways; the client is told of one."""
    settings = {"sticky": {"mode": "cookie"}}
    async with (
        Origin(server(b"server-1")) as one,
        Origin(server(b"server-2")) as two,
        balancer(free_port(), one, two, pool=settings) as lb,
    ):
        keys, lab = lb.node.secrets.cookie_keys, Three(lb)
        cookie = OURS + b"=" + Signer(keys, next(iter(keys)), "/", "servers").value("server-1", bytes(8))
        answers = await asyncio.gather(*(lab.ask(cookie) for _ in range(6)))
        assert sum(lab.sticky.repins.values()) == 1
        told = {pin(answer): who(answer) for answer in answers if answer.one(b"set-cookie")}
        assert len(set(told.values())) == 1
        home = next(iter(told.values()))
        for each in (cookie, *told):
            assert {who(await lab.ask(each)) for _ in range(3)} == {home}


async def test_in_a_panic_nobody_is_moved() -> None:
    async with three(pool={"panic": 1.0}) as lab:
        first = await lab.ask()
        lab.down(who(first))
        assert lab.lb.app.forwarders["servers"].pool.panic
        assert who(await lab.ask(pin(first))) == who(first)


async def test_without_any_backend_left_the_answer_is_503_and_no_cookie() -> None:
    async with three() as lab:
        first = await lab.ask()
        for name in (b"server-1", b"server-2", b"server-3"):
            lab.down(name)
        answer = await lab.ask(pin(first))
        assert answer.status == 503
        assert answer.one(b"set-cookie") is None
        for name in (b"server-1", b"server-2", b"server-3"):
            lab.down(name, State.UP)
        assert who(await lab.ask(pin(first))) == who(first), "nobody was moved where there was nowhere to go"


async def test_rotated_both_keys_hold_and_the_cookie_is_renewed() -> None:
    async with three() as lab:
        first = await lab.ask()
        (kid, key), new = next(iter(lab.lb.node.secrets.cookie_keys.items())), b"n" * 32
        lab.sticky.use_keys({kid: key, "2": new}, "2")
        renewed = await lab.ask(pin(first))
        assert who(renewed) == who(first)
        assert pin(renewed).startswith(OURS + b"=2.")
        again = await lab.ask(pin(renewed))
        assert (who(again), again.one(b"set-cookie")) == (who(first), None)
        lab.sticky.use_keys({"2": new, "3": b"o" * 32}, "3")
        assert who(await lab.ask(pin(renewed))) == who(first)
        assert (await lab.ask(pin(first))).one(b"set-cookie") is not None
        assert lab.sticky.refused[Refused.UNKNOWN_KEY] == 1


async def test_attributes_and_name_as_the_settings_say() -> None:
    async with three(mode="cookie", cookie="ROUTE", same_site="strict", secure=True, path="/shop") as lab:
        said = (await lab.ask()).one(b"set-cookie") or b""
        assert said.startswith(b"ROUTE=")
        assert said.endswith(b"; Path=/shop; HttpOnly; SameSite=Strict; Secure")


async def test_it_is_sent_beside_the_application_s_own() -> None:
    async with three(b"Set-Cookie: a=b", b"Set-Cookie: c=d") as lab:
        cookies = (await lab.ask()).all(b"set-cookie")
        assert cookies[:2] == [b"a=b", b"c=d"]
        assert cookies[2].startswith(OURS)


# -- the client's address ----------------------------------------------------------------------


async def test_by_address_a_client_stays_and_gets_no_cookie() -> None:
    async with three(mode="source") as lab:
        homes = {}
        for host in range(2, 8):
            source = f"127.0.0.{host}"
            answers = [await lab.ask(source=source) for _ in range(3)]
            assert len({who(answer) for answer in answers}) == 1
            assert all(answer.one(b"set-cookie") is None for answer in answers)
            homes[source] = who(answers[0])
        assert len(set(homes.values())) == 3
        assert lab.sticky.made == lab.sticky.table.count == 6
        lab.down(homes["127.0.0.2"])
        moved = {who(await lab.ask(source="127.0.0.2")) for _ in range(3)}
        assert len(moved) == 1
        assert moved != {homes["127.0.0.2"]}
        assert lab.sticky.repins[Repin.DOWN] == 1


async def test_a_network_is_one_client_if_the_prefix_says_so() -> None:
    async with three(mode="source", prefix4=24) as lab:
        assert len({who(await lab.ask(source=f"127.0.0.{host}")) for host in range(2, 8)}) == 1
        assert lab.sticky.table.count == 1


# -- the application's cookie ----------------------------------------------------------------------


async def logging_in(wire: Wire, name: bytes) -> None:
    """Gives a session cookie at /login, and says who it is."""
    number = 0
    while True:
        target = (await wire.request()).line.split()[1]
        number += 1
        lines = [b"HTTP/1.1 200 OK", b"Server-Name: " + name, b"Content-Length: 0"]
        if target == b"/login":
            lines += [
                b"Set-Cookie: theme=dark",
                b"Set-Cookie: sid=%b-%d-%d; Path=/" % (name, wire.number, number),
            ]
        elif target == b"/logout":
            lines += [b"Set-Cookie: sid=; Max-Age=0"]
        await wire.send(b"\r\n".join([*lines, b"", b""]))


@asynccontextmanager
async def learning(**sticky: Any) -> AsyncIterator[Three]:
    async with (
        Origin(lambda wire: logging_in(wire, b"server-1")) as one,
        Origin(lambda wire: logging_in(wire, b"server-2")) as two,
        Origin(lambda wire: logging_in(wire, b"server-3")) as third,
        balancer(one, two, third, pool={"sticky": {"mode": "learn", "cookie": "sid", **sticky}}) as lb,
    ):
        yield Three(lb)


async def test_the_application_s_cookie_is_learned_when_it_is_set() -> None:
    async with learning() as lab:
        assert len({who(await lab.ask()) for _ in range(6)}) == 3
        for _ in range(4):
            answer = await lab.ask(target=b"/login")
            cookie = answer.all(b"set-cookie")[1].partition(b";")[0]
            assert {who(await lab.ask(b"theme=dark; " + cookie)) for _ in range(4)} == {who(answer)}
        assert lab.sticky.made == lab.sticky.table.count == 4
        assert len({who(await lab.ask(b"sid=nobody knows it")) for _ in range(6)}) == 3


async def test_a_learned_client_is_moved_when_its_server_dies_and_stays_there() -> None:
    async with learning() as lab:
        answer = await lab.ask(target=b"/login")
        cookie = answer.all(b"set-cookie")[1].partition(b";")[0]
        lab.down(who(answer))
        moved = {who(await lab.ask(cookie)) for _ in range(4)}
        assert len(moved) == 1
        assert moved != {who(answer)}
        assert lab.sticky.repins[Repin.DOWN] == 1


async def test_logging_out_learns_nothing() -> None:
    async with learning() as lab:
        await lab.ask(target=b"/logout")
        assert lab.sticky.table.count == 0


async def test_the_table_stays_within_its_bound() -> None:
    async with learning(table_max=5) as lab, await lab.lb.client() as client:
        for _ in range(30):
            await client.get(b"/login")
        assert lab.sticky.table.count == 5
        assert lab.sticky.table.evicted == 25


# -- beside everything else ----------------------------------------------------------------------


async def test_off_there_is_nothing() -> None:
    async with Origin() as origin, balancer(origin) as lb, await lb.client() as client:
        answer = await client.get(b"/", b"Cookie: cdnlab-pin=x")
        assert answer.one(b"set-cookie") is None
        assert lb.app.forwarders["servers"].sticky is None
        assert "pins" not in lb.app.status()


async def test_a_pinned_client_waits_for_its_own_where_there_is_no_room() -> None:
    """Another one does not know it."""
    async with three(pool={"sticky": {"mode": "cookie"}, "breaker": {"requests": 1, "wait": "5s"}}) as lab:
        first = await lab.ask()
        backend = lab.lb.app.forwarders["servers"].pool.backend(who(first).decode())
        backend.live += 1
        async with await lab.lb.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + pin(first) + b"\r\n\r\n")
            forwarder = lab.lb.app.forwarders["servers"]
            await until(lambda: len(forwarder.pending) == 1, "it waits")
            backend.live -= 1
            forwarder.pending.freed(backend)
            assert who(await client.response()) == who(first)


async def test_an_old_connection_to_one_that_drains_moves_nobody() -> None:
    """It closes what is idle as it likes; that says nothing about itself."""

    def aged(name: bytes) -> Script:
        serve = server(name)

        async def script(wire: Wire) -> None:
            if wire.number:
                await serve(wire)
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\nServer-Name: %b\r\nContent-Length: 0\r\n\r\n" % name)
            await wire.request()

        return script

    async with (
        Origin(aged(b"server-1")) as one,
        Origin(aged(b"server-2")) as two,
        balancer(one, two, pool={"sticky": {"mode": "cookie"}}) as lb,
    ):
        lab = Three(lb)
        first = await lab.ask()
        lb.app.forwarders["servers"].pool.drain(who(first).decode())
        assert who(await lab.ask(pin(first))) == who(first)
        assert sum(lab.sticky.repins.values()) == 0


@pytest.mark.parametrize("then", ["drains", "is down", "is removed"])
async def test_who_waits_for_its_own_is_not_forgotten(then: str) -> None:
    """One that drains keeps its clients; one that is gone can't, and they need not wait until their time is over."""
    async with three(pool={"sticky": {"mode": "cookie"}, "breaker": {"requests": 1, "wait": "60s"}}) as lab:
        first = await lab.ask()
        forwarder = lab.lb.app.forwarders["servers"]
        backend = forwarder.pool.backend(who(first).decode())
        backend.live += 1
        async with await lab.lb.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + pin(first) + b"\r\n\r\n")
            await until(lambda: len(forwarder.pending) == 1, "it waits")
            if then == "drains":
                forwarder.pool.drain(backend.name)
                backend.live -= 1
                forwarder.pending.freed(backend)
            elif then == "is down":
                lab.down(who(first))
            else:
                forwarder.pool.remove(backend.name)
            assert (who(await client.response()) == who(first)) is (then == "drains")
        assert len(forwarder.pending) == 0


async def test_other_settings_while_an_answer_is_awaited() -> None:
    """They know nothing of the route that its request came by, and its client is told with the next answer."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(wire: Wire) -> None:
        while True:
            await wire.request()
            asked.set()
            await go.wait()
            await wire.send(OK)

    def settings(lifetime: str) -> dict[str, Any]:
        return {"sticky": {"mode": "cookie", "lifetime": lifetime}}

    async with (
        Origin(slow) as one,
        balancer(one, pool=settings("1h")) as lb,
        await lb.client() as client,
    ):
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(asked.wait(), 5)
        assert lb.node.prepare is not None
        lb.node.prepare(topology(one, pool=settings("2h")))()
        go.set()
        assert (await client.response()).status == 200
        assert (await client.get()).one(b"set-cookie") is not None
        assert lb.backend().live == 0


async def test_a_pool_s_servers_do_not_see_another_pool_s_pins() -> None:
    """A browser shows every cookie whose path fits, here those of both."""
    async with Origin(server(b"server-1")) as one, Origin(server(b"server-2")) as two:
        pool = (
            topology(one, pool={"sticky": {"mode": "cookie"}}).pools["servers"].model_dump(exclude_unset=True)
        )
        other = (
            topology(two, pool={"sticky": {"mode": "cookie"}}).pools["servers"].model_dump(exclude_unset=True)
        )
        routes = [{"pool": "servers"}, {"pool": "other", "path": "/other"}]
        plan = topology(one, pools={"servers": pool, "other": other}, routes=routes)
        async with balancer(plan=plan) as lb:
            lab = Three(lb)
            shown = [pin(await lab.ask(target=target)) for target in (b"/", b"/other")]
            assert [each.partition(b"=")[0] for each in shown] == [OURS + b"-servers", OURS + b"-other"]
            for target in (b"/", b"/other"):
                answer = await lab.ask(b"a=b; " + b"; ".join(shown) + b"; c=d", target=target)
                assert answer.body == b"a=b; c=d"
                assert answer.one(b"set-cookie") is None


async def test_who_begins_with_an_upgrade_is_pinned_by_it() -> None:
    async def upgrades(wire: Wire) -> None:
        await wire.request()
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello")
        await wire.rest()

    async with (
        Origin(upgrades) as one,
        Origin(upgrades) as two,
        balancer(one, two, pool={"sticky": {"mode": "cookie"}}) as lb,
    ):
        ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n%b\r\n"
        cookie = b""
        for _ in range(3):
            async with await lb.client() as client:
                await client.send(ask % cookie)
                answer = await client.interim()
                assert (answer.status, await client.exactly(5)) == (101, b"hello")
                assert bool(cookie) is (answer.one(b"set-cookie") is None)
                cookie = cookie or b"Cookie: " + pin(answer) + b"\r\n"
        assert sorted((one.connections, two.connections)) == [0, 3]


async def test_each_route_has_a_pin_of_its_own() -> None:
    routes = [{"pool": "servers", "path": "/api"}, {"pool": "servers"}]
    async with (
        Origin(server(b"server-1")) as one,
        Origin(server(b"server-2")) as two,
        balancer(one, two, pool={"sticky": {"mode": "cookie"}}, routes=routes) as lb,
    ):
        lab = Three(lb)
        site, api = await lab.ask(), await lab.ask(target=b"/api/x")
        assert (api.one(b"set-cookie") or b"").endswith(b"; Path=/api; HttpOnly; SameSite=Lax")
        assert who(api) != who(site)
        both = pin(api) + b"; " + pin(site)  # as a browser sends them: the longer path first
        assert {who(await lab.ask(both, target=b"/api/x")) for _ in range(3)} == {who(api)}
        assert {who(await lab.ask(pin(site))) for _ in range(3)} == {who(site)}


async def test_what_is_counted_is_shown() -> None:
    async with three() as lab:
        first = await lab.ask()
        lab.down(who(first))
        await lab.ask(pin(first))
        await lab.ask(OURS + b"=nonsense")
        (row,) = lab.lb.app.status()["pins"]["pools"]
        assert (row["pool"], row["mode"], row["pins"]) == ("servers", "cookie", 1)
        assert (row["repins"], row["refused"]) == ({"down": 1}, {"malformed": 1})
        values = {
            (sample.name, *(value for _, value in sample.labels)): sample.value
            for family in lab.lb.app.metrics()
            for sample in family.samples
        }
        assert values["cdnlab_pool_pins_made_total", "servers"] == 2
        assert values["cdnlab_pool_repins_total", "servers", "down"] == 1
        assert values["cdnlab_pool_pin_cookies_refused_total", "servers", "malformed"] == 1


async def test_who_asks_for_the_way_is_told_of_the_pin() -> None:
    async with three() as lab:
        first = await lab.ask()
        value = mark(lab.lb.node.secrets.explain_key, b"GET", b"/", int(wall()) + 60)
        lab.down(next(name for name in (b"server-1", b"server-2", b"server-3") if name != who(first)))
        async with await lab.lb.client() as client:
            answer = await client.get(b"/", b"Cookie: " + pin(first), b"Cdnlab-Explain: " + value)
        (hop,) = parse_hops(answer.one(b"cdnlab-hop") or b"")
        assert hop.choice == who(first).decode()
        assert sorted(reason for _, reason in hop.passed) == ["down", "not_kept"]
