"""The store's client against a real server that is killed, frozen, loading, and started again."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cdnlab.net.clock import now
from cdnlab.net.faults import Fault, Faults
from cdnlab.node.log import Events
from cdnlab.node.store import BadStoreUrl, Store, StoreAway, StoreRefused, redacted
from tests.support.certificates import self_signed

if TYPE_CHECKING:
    from tests.node.conftest import Valkey


def told(events: Events) -> list[bool]:
    return [event["facts"]["up"] for event in events.after(0)["entries"]]


def value(store: Store, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    families = {family.spec.name: family for family in store.families()}
    samples = families[name].samples
    return {sample.labels: sample.value for sample in samples}


async def until(condition: Callable[[], bool], changed: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await changed()


async def test_values_scripts_and_expiry(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    store = Store(valkey.url, Events())
    await store.start()
    assert store.up
    assert await store.get("absent") is None
    assert await store.set("k", b"v", seconds=100)
    assert await store.get("k") == b"v"
    assert not await store.set("k", "other", only_new=True)
    assert await store.eval("return {KEYS[1], ARGV[1]}", ["k"], [7]) == [b"k", b"7"]
    assert 99_000 < await store.call("PTTL", "k") <= 100_000
    assert value(store, "cdnlab_store_up") == {(): 1}
    assert store.status()["state"] == "up"
    await store.stop()


async def test_an_error_of_the_server_is_refused_and_the_store_stays_up(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    store = Store(valkey.url, Events())
    await store.start()
    with pytest.raises(StoreRefused, match="NOSUCH"):
        await store.call("NOSUCH")
    with pytest.raises(StoreAway):  # who catches StoreAway needs no second clause
        await store.eval("this is no Lua")
    assert store.up
    assert value(store, "cdnlab_store_errors_total")[(("reason", "refused"),)] == 2
    await store.stop()


async def test_without_a_server_calls_fail_at_once_and_it_is_found_when_it_comes(valkey: Valkey) -> None:
    events = Events()
    store = Store(valkey.url, events)
    await store.start()
    assert not store.up
    begun = now()
    with pytest.raises(StoreAway, match=str(valkey.socket)):
        await store.get("k")
    assert now() - begun < 0.1
    valkey.start()
    await until(lambda: store.up, store.changed)
    assert await store.set("k", "v")
    assert told(events) == [False, True]
    await store.stop()


async def test_a_killed_server_is_noticed_and_its_successor_is_found(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    events = Events()
    store = Store(valkey.url, events)
    await store.start()
    valkey.stop()
    with pytest.raises(StoreAway):
        await store.get("k")
    assert not store.up
    valkey.start()
    await until(lambda: store.up, store.changed)
    assert await store.get("k") is None
    assert told(events) == [True, False, True]
    await store.stop()


async def test_a_frozen_server_costs_one_call_its_time(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    store = Store(valkey.url, Events())
    await store.start()
    await store.set("k", "v")
    valkey.signal(signal.SIGSTOP)
    begun = now()
    with pytest.raises(StoreAway, match=r"no answer within 0\.1 s"):
        await store.get("k", within=0.1)
    assert 0.1 <= now() - begun < 0.4
    begun = now()
    with pytest.raises(StoreAway):
        await store.get("k")
    assert now() - begun < 0.05
    valkey.signal(signal.SIGCONT)
    await until(lambda: store.up, store.changed)
    assert await asyncio.gather(*(store.get("k") for _ in range(50))) == [b"v"] * 50  # no answer is another's
    assert value(store, "cdnlab_store_errors_total")[(("reason", "timeout"),)] >= 1
    await store.stop()


async def test_a_store_that_only_reads_is_away_until_it_takes_a_write(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    events = Events()
    store = Store(valkey.url, events)
    await store.start()
    await store.set("k", "v")
    await store.call("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(StoreAway, match="read only replica"):
        await store.set("k", "w")
    for _ in range(5):
        assert await store.ask("GET", "k") == b"v"  # it answers all the same
        assert not store.up
    await store.ask("REPLICAOF", "NO", "ONE")
    await until(lambda: store.up, store.changed)
    assert await store.set("k", "w")
    assert told(events) == [True, False, True], "it has not come and gone with each question"
    await store.stop()


async def test_a_store_that_answers_too_late_is_away_also_to_who_has_more_patience(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    events = Events()
    store = Store(valkey.url, events)
    await store.start()
    store.meet(Faults(delay=0.6), dict.fromkeys(Fault, 0))
    with pytest.raises(StoreAway):
        await store.set("k", "v")
    for _ in range(2):
        assert await store.ask("GET", "k", within=10) == b"v"
        assert not store.up
    store.meet(None, {})
    await until(lambda: store.up, store.changed)
    assert told(events) == [True, False, True], "it has not come and gone with each answer"
    await store.stop()


async def test_an_idle_node_notices_a_store_that_only_reads(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdnlab.node.store.UP_PAUSE", 0.05)
    valkey.start()
    await valkey.answering()
    store = Store(valkey.url, Events())
    await store.start()
    gone = asyncio.ensure_future(store.changed())
    await store.call("REPLICAOF", "127.0.0.1", "1")
    async with asyncio.timeout(5):
        assert await gone is False
    assert "read only" in store.reason
    await store.stop()


async def test_a_user_who_may_not_delete_has_a_store_all_the_same(valkey: Valkey) -> None:
    valkey.start()
    await valkey.answering()
    first, second = (Store(valkey.url, Events()) for _ in range(2))
    await first.start()
    await first.call("ACL", "SETUSER", "default", "-del")
    await second.start()
    assert second.up
    assert await second.set("k", "v")
    for store in (first, second):
        await store.stop()


async def test_an_idle_node_notices_too(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdnlab.node.store.UP_PAUSE", 0.05)
    valkey.start()
    await valkey.answering()
    store = Store(valkey.url, Events())
    await store.start()
    gone = asyncio.ensure_future(store.changed())
    await asyncio.sleep(0)
    valkey.stop()
    async with asyncio.timeout(5):
        assert await gone is False
    await store.stop()


async def test_a_server_that_wants_a_password(valkey: Valkey) -> None:
    valkey.start("--requirepass", "opensesame")
    await valkey.answering()
    wrong, right = (Store(f"{valkey.url}?password={word}", Events()) for word in ("wrong", "opensesame"))
    await wrong.start()
    await right.start()
    assert (wrong.up, right.up) == (False, True)
    assert "opensesame" not in str(right.status())
    assert "wrong" not in wrong.status()["url"]
    await wrong.stop()
    await right.stop()


async def test_nobody_listening_on_tcp() -> None:
    store = Store("redis://127.0.0.1:1/0", Events())
    await store.start()
    assert not store.up
    assert "127.0.0.1" in store.reason
    await store.stop()


async def test_a_server_that_is_named(valkey: Valkey, unused_tcp_port: int) -> None:
    valkey.start("--port", str(unused_tcp_port))
    await valkey.answering()
    store = Store(f"redis://localhost:{unused_tcp_port}/0", Events())
    await store.start()
    assert store.up, store.reason
    assert await store.set("a", "b")
    valkey.stop()
    with pytest.raises(StoreAway):
        await store.get("a")
    await store.stop()


async def test_a_name_that_means_nothing() -> None:
    store = Store("redis://no-such-name.invalid:6379/0", Events())
    async with asyncio.timeout(10):
        await store.start()
    assert not store.up
    assert store.reason
    await store.stop()


async def test_a_certificate_must_bear_the_name_and_not_the_address(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "store.pem", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def pong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(b"+PONG\r\n" * data.count(b"*"))  # one for each command
        writer.close()

    server = await asyncio.start_server(pong, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    stores = [
        Store(f"rediss://{host}:{port}/0?ssl_ca_certs={certificate}&protocol=2", Events())
        for host in ("localhost", "127.0.0.1")
    ]
    for store in stores:
        await store.start()
    assert [store.up for store in stores] == [True, False], [store.reason for store in stores]
    assert "certificate" in stores[1].reason.lower()
    for store in stores:
        await store.stop()
    server.close()
    await server.wait_closed()


async def test_sentinels_that_do_not_answer() -> None:
    store = Store("redis+sentinel://user:secret@127.0.0.1:1,127.0.0.1:2/main/0", Events())
    await store.start()
    assert store.reason == "no Sentinel knows a master for the service"
    assert "secret" not in store.url
    await store.stop()


@pytest.mark.parametrize(
    "url",
    ["http://h/", "h:6379", "redis+sentinel://h:1", "redis+sentinel:///x", "redis://h:port/0", ""],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadStoreUrl, match=r"redis\+sentinel://host"):
        Store(url, Events())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:6379/0", "redis://h:6379/0"),
        ("unix:///run/s.sock?db=1&password=p", "unix:///run/s.sock"),
        ("redis+sentinel://u:p@a:1,b:2/m", "redis+sentinel://a:1,b:2/m"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown
