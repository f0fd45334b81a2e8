"""The flow table as a table of cases: who belongs to whom, what lives how long, what gives way, what others are told.

`Model` is the same table as plain dictionaries; random plays of both must agree.
"""

from __future__ import annotations

import math
import random
import struct

import pytest

from lb.flow_entry import Ended, State, Told, endpoint, heard, packed, shown
from lb.flow_table import GRAIN, LINGER, FlowTable

VIP = ("127.0.0.1", 8082)
WEB = ("127.0.0.1", 8081)
LOCAL = ("127.0.1.10", 40000)
WALL = 1_700_000_000.0


class Server:
    """A backend as the table needs it."""

    def __init__(self, name: str, host: str = "127.1.1.20", port: int = 9000) -> None:
        self.name = name
        self.host = host
        self.port = port


ONE, TWO = Server("one"), Server("two", "127.1.1.21")


class Store:
    """A publisher that remembers, and hands on to other tables when it is told to."""

    def __init__(self) -> None:
        self.said: dict[bytes, tuple[bytes, float]] = {}
        self.log: list[str] = []

    def put(self, key: bytes, value: bytes, life: float) -> None:
        self.said[key] = value, life
        self.log.append("put")

    def remove(self, key: bytes) -> None:
        self.said.pop(key, None)
        self.log.append("remove")


def table(most: int = 100, *, store: Store | None = None, affinity: bool = False) -> FlowTable:
    """A table with a service for UDP (10 s) and one for TCP (100 s)."""
    made = FlowTable(most, publisher=store, to_wall=WALL)
    prefixes = (24, 64) if affinity else None
    made.serve("echo-udp", "udp", VIP, 10.0, prefixes)
    made.serve("echo-tcp", "tcp", WEB, 100.0, prefixes)
    return made


def client(number: int, host: str = "127.82.1.100") -> tuple[str, int]:
    return host, number


def settle(flows: FlowTable, now: float) -> None:
    while flows.tick(now, 7):
        pass


def test_both_four_tuples_and_what_went_by() -> None:
    flows = table()
    handle = flows.open(client(5000), VIP, LOCAL, ONE, "udp", 100.0)
    assert handle
    flows.touch(handle, 103.0, 10, 0)
    flows.touch(handle, 104.0, 5, 70)
    (row,) = flows.rows(10, 106.0)
    assert (row.client, row.vip) == ("127.82.1.100:5000", "127.0.0.1:8082")
    assert (row.local, row.remote, row.backend) == ("127.0.1.10:40000", "127.1.1.20:9000", "one")
    assert (row.first, row.last, row.up, row.down) == (WALL + 100, WALL + 104, 15, 70)
    assert (row.left, row.state, row.service, row.protocol) == (8.0, "active", "echo-udp", "udp")


def test_a_source_is_its_address_and_port_under_one_protocol_and_vip() -> None:
    flows = table()
    flows.open(client(5000), VIP, LOCAL, ONE, "udp", 0.0)
    assert flows.find("udp", client(5000), VIP, 1.0) == "one"
    assert flows.find("udp", client(5001), VIP, 1.0) is None
    assert flows.find("tcp", client(5000), WEB, 1.0) is None
    assert flows.find("udp", client(5000), ("127.0.0.2", 8082), 1.0) is None


@pytest.mark.parametrize(
    ("first", "then", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.254", True),  # its /24
        ("10.0.0.1", "10.0.1.1", False),
        ("2001:db8::1", "2001:db8::2:3", True),  # its /64
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.7", True),  # the same client through a socket for both
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_source_affinity_goes_by_prefix(first: str, then: str, same: bool) -> None:
    flows = table(affinity=True)
    flows.open(client(5000, first), WEB, LOCAL, ONE, "tcp", 0.0)
    assert (flows.find("tcp", client(6000, then), WEB, 1.0) == "one") is same
    assert flows.find("udp", client(6000, then), VIP, 1.0) is None


def test_affinity_outlives_the_flow_by_the_entrys_lifetime_and_not_longer() -> None:
    flows = table(affinity=True)
    handle = flows.open(client(5000), WEB, LOCAL, ONE, "tcp", 0.0)
    assert handle
    flows.touch(handle, 50.0, 1, 1)
    flows.close(handle, 60.0, Ended.CLIENT)
    assert flows.find("tcp", client(7000), WEB, 149.9) == "one"
    assert flows.find("tcp", client(7000), WEB, 150.0) is None  # before any sweep
    settle(flows, 150.0 + GRAIN)
    assert len(flows) == 0


def test_the_youngest_entry_of_a_client_says_where() -> None:
    flows = table(affinity=True)
    flows.open(client(1), WEB, LOCAL, ONE, "tcp", 0.0)
    second = flows.open(client(2), WEB, LOCAL, TWO, "tcp", 1.0)
    assert second
    assert flows.find("tcp", client(3), WEB, 2.0) == "two"
    flows.close(second, 2.0, Ended.IDLE)
    settle(flows, 2000.0)
    assert flows.find("tcp", client(3), WEB, 2000.0) == "one"  # the other one still runs


def test_without_affinity_a_flow_that_ended_is_seen_for_a_while_and_never_found() -> None:
    flows = table()
    handle = flows.open(client(5000), WEB, LOCAL, ONE, "tcp", 0.0)
    assert handle
    flows.close(handle, 1.0)
    assert flows.find("tcp", client(5000), WEB, 1.0) is None
    assert [row.state for row in flows.rows(9, 1.0)] == ["closed"]
    flows.close(handle, 1.0)  # twice is once
    settle(flows, 1.0 + LINGER + 2 * GRAIN)
    assert flows.rows(9, 9.0) == []
    assert flows.counts == [0, 0, 0, 0]


def test_the_same_source_again_takes_its_closed_entrys_place() -> None:
    flows = table(affinity=True)
    handle = flows.open(client(5000), WEB, LOCAL, ONE, "tcp", 0.0)
    assert handle
    flows.touch(handle, 0.0, 10, 10)
    flows.close(handle, 1.0)
    assert flows.open(client(5000), WEB, LOCAL, ONE, "tcp", 2.0) == handle
    (row,) = flows.rows(9, 2.0)
    assert (row.state, row.up, row.first) == ("active", 10, WALL)


def test_live_flows_never_give_way_and_the_oldest_others_do() -> None:
    flows = table(4)
    handles = [flows.open(client(port), WEB, LOCAL, ONE, "tcp", port) for port in (1, 2, 3, 4)]
    assert flows.open(client(5), WEB, LOCAL, ONE, "tcp", 5.0) is None
    assert flows.full == 1
    assert handles[0] is not None
    assert handles[2] is not None
    flows.close(handles[2], 6.0)
    flows.close(handles[0], 7.0)
    assert flows.open(client(6), WEB, LOCAL, ONE, "tcp", 8.0) == handles[2]
    assert [row.client.rpartition(":")[2] for row in flows.rows(9, 8.0)] == ["6", "4", "2", "1"]
    assert (len(flows), flows.evicted) == (4, 1)


def test_a_takeover_finds_the_flow_and_goes_on_with_its_counts() -> None:
    store = Store()
    before, after = table(store=store), table()
    handle = before.open(client(5000), VIP, LOCAL, TWO, "udp", 10.0)
    assert handle
    before.touch(handle, 11.0, 100, 200)
    settle(before, 14.0)
    for key, (value, life) in store.said.items():
        assert after.learn(key, value, life, 14.0)
    assert after.find("udp", client(5000), VIP, 15.0) == "two"
    (row,) = after.rows(9, 15.0)
    assert (row.state, row.up, row.down, row.local) == ("replica", 100, 200, "127.0.1.10:40000")
    after.open(client(5000), VIP, ("127.0.1.11", 1234), TWO, "udp", 16.0)
    (row,) = after.rows(9, 16.0)
    assert (row.state, row.up, row.first, row.local) == ("active", 100, WALL + 10, "127.0.1.11:1234")


def test_a_replica_lives_as_long_as_the_flow_would() -> None:
    store = Store()
    before, after = table(store=store), table()
    before.open(client(5000), VIP, LOCAL, ONE, "udp", 0.0)
    ((key, (value, life)),) = store.said.items()
    after.learn(key, value, life, 0.0)
    assert 10.0 <= life <= 10.0 + 10.0 / 3  # what it may take until others hear of it again comes on top
    assert after.find("udp", client(5000), VIP, 9.9) == "one"
    settle(after, life + 2 * GRAIN)
    assert len(after) == 0


def test_a_flow_that_goes_on_is_told_again_and_an_idle_one_is_not() -> None:
    store = Store()
    flows = table(store=store)
    busy = flows.open(client(1), VIP, LOCAL, ONE, "udp", 0.0)
    flows.open(client(2), WEB, LOCAL, ONE, "tcp", 0.0)
    assert busy
    told = len(store.log)
    for second in range(60):
        flows.touch(busy, float(second), 1, 1)
        settle(flows, float(second))
    assert 8 <= len(store.log) - told <= 22  # each third of ten seconds, and the idle one perhaps once


@pytest.mark.parametrize(
    ("why", "affinity", "stays"),
    [
        (Ended.DONE, False, False),
        (Ended.IDLE, False, False),
        (Ended.LOST, False, True),
        (Ended.DRAINED, False, True),
        (Ended.DONE, True, True),
        (Ended.UNREACHABLE, True, True),
    ],
)
def test_what_others_hear_of_an_end(why: Ended, affinity: bool, stays: bool) -> None:
    store = Store()
    flows = table(store=store, affinity=affinity)
    handle = flows.open(client(1), VIP, LOCAL, ONE, "udp", 0.0)
    assert handle
    flows.close(handle, 1.0, why)
    assert bool(store.said) is stays
    assert (flows.find("udp", client(1), VIP, 2.0) == "one") is stays
    assert flows.counts[State.REPLICA] == (why in (Ended.LOST, Ended.DRAINED))


def test_who_was_frozen_takes_nobodys_flow_away() -> None:
    """It thaws long after its flows' lifetime; another balancer relays them by now."""
    store = Store()
    flows = table(store=store)
    handle = flows.open(client(1), VIP, LOCAL, ONE, "udp", 0.0)
    assert handle
    store.log.clear()
    flows.close(handle, 500.0, Ended.LOST)
    settle(flows, 500.0)
    assert store.log == []


def test_newer_words_win_and_nobody_overrules_a_live_flow() -> None:
    said = Store()
    other = table(store=said)
    handle = other.open(client(1), VIP, LOCAL, ONE, "udp", 5.0)
    assert handle
    ((key, (old, life)),) = said.said.items()
    other.touch(handle, 8.0, 1, 1)
    other.moved(handle, LOCAL, TWO, 8.0)
    new = said.said[key][0]
    flows = table()
    assert flows.learn(key, new, life, 8.0)
    assert not flows.learn(key, old, life, 8.0)
    assert flows.find("udp", client(1), VIP, 8.0) == "two"
    mine = table()
    mine.open(client(1), VIP, LOCAL, ONE, "udp", 1.0)
    assert not mine.learn(key, new, life, 8.0)
    mine.unlearn(key)
    assert mine.find("udp", client(1), VIP, 8.0) == "one"
    flows.unlearn(key)
    assert flows.find("udp", client(1), VIP, 8.0) is None


def test_each_gives_all_that_another_table_needs() -> None:
    flows, copy = table(), table()
    for port in range(1, 50):
        flows.open(client(port), VIP, LOCAL, ONE if port % 2 else TWO, "udp", 1.0)
    for key, value, life in flows.each(2.0):
        copy.learn(key, value, life, 2.0)
    assert all(
        copy.find("udp", client(port), VIP, 2.0) == ("one" if port % 2 else "two") for port in range(1, 50)
    )


def test_one_port_under_two_vips_is_two_services() -> None:
    store = Store()
    before, after = FlowTable(9, publisher=store), FlowTable(9)
    vips = ("127.0.0.1", 8082), ("127.0.0.2", 8082)
    for flows in (before, after):
        for vip in vips:
            flows.serve("echo", "udp", vip, 10.0)
    before.open(client(1), vips[0], LOCAL, ONE, "udp", 0.0)
    before.open(client(1), vips[1], LOCAL, TWO, "udp", 0.0)
    for key, (value, life) in store.said.items():
        assert after.learn(key, value, life, 0.0)
    assert [after.find("udp", client(1), vip, 1.0) for vip in vips] == ["one", "two"]


GOOD = Told(("one", "127.1.1.20", 9000), endpoint(LOCAL), 1.0, 2.0, 3, 4).write()
LABEL = b"echo-udp 127.0.0.1:8082\0"
KEY = LABEL + endpoint(client(5000))


@pytest.mark.parametrize(
    ("key", "value", "life"),
    [
        (KEY, b"", 5.0),
        (KEY, GOOD[:20], 5.0),
        (KEY, b"\x07" + GOOD[1:], 5.0),
        (KEY, GOOD + b"\xff", 5.0),  # no UTF-8
        (KEY, GOOD[:54] + b"\0", 5.0),  # no name
        (KEY, GOOD[:2] + struct.pack(">dd", math.nan, 2.0) + GOOD[18:], 5.0),
        (KEY, GOOD[:2] + struct.pack(">dd", 3.0, 2.0) + GOOD[18:], 5.0),  # ends before it begins
        (KEY, GOOD[:2] + struct.pack(">dd", 1.0, math.inf) + GOOD[18:], 5.0),
        (KEY, GOOD, 0.0),
        (KEY, GOOD, math.inf),
        (KEY, GOOD, math.nan),
        (b"", GOOD, 5.0),
        (LABEL, GOOD, 5.0),
        (KEY[:-1], GOOD, 5.0),
        (b"nobody\0" + KEY[-18:], GOOD, 5.0),
        (KEY, GOOD + b"x" * 300, 5.0),
    ],
)
def test_what_is_not_understood_is_left(key: bytes, value: bytes, life: float) -> None:
    flows = table()
    assert flows.learn(KEY, GOOD, 5.0, 0.0)
    fresh = table()
    assert not fresh.learn(key, value, life, 0.0)
    assert (len(fresh), fresh.malformed) == (0, 1)
    fresh.unlearn(key)


def test_random_bytes_teach_nothing() -> None:
    rng = random.Random(5)
    flows = table()
    for _ in range(2000):
        flows.learn(KEY, rng.randbytes(rng.randrange(90)), 5.0, 0.0)
        heard(bytes([1, 0]) + rng.randbytes(70))
    assert len(flows) <= 1


def test_a_long_freeze_costs_no_walk_through_every_quarter_second() -> None:
    flows = table()
    flows.open(client(1), VIP, LOCAL, ONE, "udp", 10.0)
    settle(flows, 11.0)
    assert not flows.tick(10.0 + 10 * 365 * 86400.0, 10_000)


def test_addresses_as_octets_and_back() -> None:
    assert shown(endpoint(("10.1.2.3", 65535))) == "10.1.2.3:65535"
    assert shown(endpoint(("2001:db8::1", 1))) == "[2001:db8::1]:1"
    assert packed("/run/some.sock") == bytes(16)
    assert shown(endpoint(("/run/some.sock", 0))) == ""


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("affinity", [False, True])
def test_random_plays_agree_with_plain_dictionaries(seed: int, affinity: bool) -> None:
    """Opens, touches, closes, lessons and time in any order: `find` and the counts are those of a naive table."""
    rng = random.Random(seed)
    store = Store()
    flows = FlowTable(40, publisher=store, to_wall=WALL)
    flows.serve("a", "udp", VIP, 3.0, (32, 128) if affinity else None)
    live: dict[tuple[str, int], tuple[int, str]] = {}
    now = 100.0
    for _ in range(500):
        now += rng.choice((0.0, 0.01, 0.3))
        source = f"10.0.0.{rng.randrange(6)}", rng.randrange(1, 12)
        act = rng.randrange(5)
        if act == 0 and source not in live:
            found = flows.find("udp", source, VIP, now)
            server = ONE if found in (None, "one") else TWO
            handle = flows.open(source, VIP, LOCAL, server, "udp", now)
            assert (handle is None) is (len(live) == 40)
            if handle is not None:
                live[source] = handle, server.name
        elif act == 1 and live:
            handle, _ = live[rng.choice(list(live))]
            flows.touch(handle, now, 1, 1)
        elif act == 2 and live:
            handle, _ = live.pop(rng.choice(list(live)))
            flows.close(handle, now, rng.choice(list(Ended)))
        elif act == 3:
            key = b"a 127.0.0.1:8082\0" + endpoint(source)
            told = Told(("two", "127.1.1.21", 9000), endpoint(LOCAL), now, now + WALL, 0, 0)
            flows.learn(key, told.write(), 2.0, now)
        else:
            flows.tick(now, rng.randrange(1, 9))
        for each, (_, name) in live.items():
            assert flows.find("udp", each, VIP, now) == name
        assert flows.counts[State.ACTIVE] == len(live)
        assert len(flows) <= 40
        assert len(flows.rows(1000, now)) == len(flows)
    for handle, _ in live.values():
        flows.close(handle, now)
    settle(flows, now + 1000)
    assert flows.counts == [0, 0, 0, 0]
    assert flows.rows(9, now) == []
    assert not flows._rows.wheel
    assert not any(flows._rows.heads)
    assert not any(flows._rows.kin_heads)
