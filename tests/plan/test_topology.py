"""What the sections mean together: derived defaults, addresses, pools, places, and topologies made from others."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from cdnlab.plan.load import load, parse
from cdnlab.plan.topology import PlanError, Ports, Topology

LAB = load()

NODES = ["lb-a", "lb-b"] + [f"edge-{place}" for place in ("icn", "nrt", "fra", "iad", "gru", "syd")]
EDGE: dict[str, Any] = {"tier": "edge", "address": "127.0.0.2"}
APP = {"name": "app", "address": "127.0.0.1", "port": 3000}


def small(**sections: Any) -> Topology:
    """One edge before one application, with these sections over it."""
    return Topology.build({"nodes": {"e": EDGE}, "pools": {"origins": {"backends": [APP]}}, **sections})


# -- the shipped topology -----------------------------------------------------------------------------------


def test_the_default_lab_has_its_nodes() -> None:
    assert list(LAB.nodes) == [*NODES, "origin-1", "origin-2"]
    assert LAB.tier("lb") == ("lb-a", "lb-b")
    for name in LAB.tier("edge"):
        place = LAB.node(name).place
        assert place is not None
        assert name == f"edge-{place}"
        assert LAB.node(name).address == LAB.client_address(place).removesuffix("100") + "10"
    assert LAB.data_address("lb-a") == ("127.0.1.10", 8080)
    assert LAB.data_address("lb-b") == ("127.0.1.11", 8080)
    assert LAB.data_address("origin-2") == ("127.1.1.21", 8080)
    assert LAB.admin_address("edge-icn") == ("127.82.1.10", 9101)


def test_every_node_stands_where_its_address_says() -> None:
    table = LAB.prefix_table()
    assert {name: table.lookup(node.address) for name, node in LAB.nodes.items()} == {
        name: node.place for name, node in LAB.nodes.items()
    }


def test_the_default_lab_says_what_it_promises() -> None:
    assert LAB.default_place == "icn"
    assert LAB.clients.may_choose_place
    assert [LAB.vip_address(vip) for vip in LAB.vips] == [("127.0.0.1", 8080)]
    assert (LAB.ports.tcp, LAB.ports.udp, LAB.ports.page, LAB.ports.admin) == (8081, 8082, 9100, 9101)
    assert [backend.name for backend in LAB.backends("edges")] == list(LAB.tier("edge"))
    assert [backend.place for backend in LAB.backends("origins")] == ["iad", "iad"]
    assert LAB.pool("edges").algorithm == "nearest"
    assert LAB.log.every == 0
    assert LAB.store.url is None


# -- derived ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "ports"),
    [
        (8080, (8080, 8081, 8082, 9100, 9101)),
        (65000, (65000, 65001, 65002, 63980, 63979)),
        (0, (0, 0, 0, 0, 0)),
    ],
)
def test_ports_follow_the_base(base: int, ports: tuple[int, ...]) -> None:
    made = Ports(base=base)
    assert (made.data, made.tcp, made.udp, made.page, made.admin) == ports


def test_a_port_that_is_given_stays_when_the_base_moves() -> None:
    moved = small(ports={"base": 9000, "admin": 7000}).with_port(10000)
    assert (moved.ports.data, moved.ports.tcp, moved.ports.admin) == (10000, 10001, 7000)


def test_an_object_takes_an_eighth_of_the_memory() -> None:
    assert small(edge={"memory": "8MiB"}).edge.object_max == 1024 * 1024
    assert small(edge={"memory": "8MiB", "object_max": "4MiB"}).edge.object_max == 4 * 1024 * 1024


def test_checks_fit_the_backends() -> None:
    pools = {
        "origins": {"backends": [APP]},
        "a": {"backends": [APP], "health": {"interval": 5}},
        "b": {"tier": "edge"},
        "c": {"tier": "edge", "health": {"interval": 5}},
        "d": {"tier": "edge", "health": {"kind": "http"}},
    }
    made = small(pools=pools)
    assert {name: pool.health.kind for name, pool in made.pools.items()} == {
        "origins": "tcp", "a": "tcp", "b": "alive", "c": "alive", "d": "http",
    }  # fmt: skip
    assert made.pool("c").health.interval == 5


def test_expected_statuses() -> None:
    spec = small(pools={"origins": {"backends": [APP], "health": {"expect": [200, "300-399"]}}})
    health = spec.pool("origins").health
    assert [status for status in (199, 200, 201, 300, 399, 400) if health.accepts(status)] == [200, 300, 399]


@pytest.mark.parametrize(
    ("access", "every"), [("off", 0), ("all", 1), ("sample 1/100", 100), ("sample 1/1", 1)]
)
def test_access_log(access: str, every: int) -> None:
    assert small(log={"access": access}).log.every == every


def test_a_node_may_have_ports_and_an_admin_address_of_its_own() -> None:
    own = {**EDGE, "data_port": 81, "admin_port": 82, "admin_address": "127.0.0.3"}
    made = small(nodes={"e": own, "f": {**EDGE, "admin_address": "off"}})
    assert made.data_address("e") == ("127.0.0.2", 81)
    assert made.admin_address("e") == ("127.0.0.3", 82)
    assert made.admin_address("f") is None


def test_trusted_peers() -> None:
    everyone = LAB.trusted_peers()
    assert everyone == {LAB.node(name).address for name in NODES}, "balancers and edges, no origins"
    assert LAB.trusted_peers("edge-icn") == everyone - {"127.82.1.10"}
    assert small().trusted_peers("e") == set(), "a lone edge trusts nobody"
    assert small(clients={"trusted": ["10.0.0.1"]}).trusted_peers("e") == {"10.0.0.1"}
    assert small(nodes={"e": {**EDGE, "address": "0.0.0.0"}}).trusted_peers() == set()


def test_ours() -> None:
    made = LAB.with_origins(["http://127.82.1.10:8080", "http://127.0.0.1:3000"])
    assert [made.ours(backend) for backend in made.backends("origins")] == [True, False]
    assert all(LAB.ours(backend) for backend in LAB.backends("origins"))


def test_balancer_routes() -> None:
    (route,) = LAB.balancer_routes()
    assert (route.host, route.path, route.pool) == (None, "/", "edges")
    nodes = {"e": EDGE, "lb": {"tier": "lb", "address": "127.0.0.3"}}
    made = small(nodes=nodes, pools={"origins": {"backends": [APP]}, "edges": {"tier": "edge"}})
    assert made.balancer_routes() == LAB.balancer_routes(), "without routes, all goes to the edges"


# -- places -------------------------------------------------------------------------------------------------


AMS = {"city": "Amsterdam", "latitude": 52.3, "longitude": 4.8, "prefixes": ["127.31.1.0/24"]}


def test_a_place_of_ones_own() -> None:
    made = small(places={"ams": AMS}, nodes={"e": {**EDGE, "place": "ams"}})
    assert made.place("ams").city == "Amsterdam"
    assert made.place_codes()[-1] == "ams"
    assert len(made.place_codes()) == 13
    assert made.prefix_table().lookup("127.31.1.9") == "ams"
    assert made.client_address("ams") == "127.31.1.100"


def test_a_shipped_place_keeps_what_is_not_changed() -> None:
    made = small(places={"icn": {"prefixes": ["10.0.0.0/28", "2001:db8::/64"]}})
    assert made.place("icn").city == "Seoul"
    assert made.prefix_table().lookup("10.0.0.1") == "icn"
    assert made.prefix_table().lookup("2001:db8::1") == "icn"
    assert made.prefix_table().lookup("127.82.1.1") is None
    assert made.client_address("icn") == "10.0.0.15", "the last of a prefix that has no .100"


def test_a_place_at_the_equator_is_a_position() -> None:
    made = small(places={"zzz": {"latitude": 0, "longitude": 0}})
    assert (made.place("zzz").latitude, made.place("zzz").city) == (0.0, "zzz")
    with pytest.raises(PlanError, match="has no IPv4 prefix"):
        made.client_address("zzz")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: LAB.node("edge-inc"), 'there is no node "edge-inc"; did you mean "edge-icn"?'),
        (lambda: LAB.pool("origin"), 'there is no pool "origin"; did you mean "origins"?'),
        (lambda: LAB.place("incheon"), 'there is no place "incheon"; did you mean "icn" (Seoul)?'),
        (lambda: LAB.place("Seoul"), 'did you mean "icn" (Seoul)?'),
        (lambda: LAB.place("brasil"), 'did you mean "gru" (São Paulo)?'),
        (lambda: LAB.place("xxxxxx"), "known: icn, nrt, sin"),
    ],
)
def test_unknown_names_suggest_the_nearest(ask: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        ask()
    assert message in str(caught.value)


# -- made from others ---------------------------------------------------------------------------------------


def test_with_origins_puts_an_application_in_the_place_of_ours() -> None:
    made = LAB.with_origins(
        ["http://127.0.0.1:3000", "https://app.example.com"],
        origin_host="shop.test",
        forwarded_proto="https",
        origin_place="iad",
    )
    first, second = made.backends("origins")
    assert (first.name, first.address, first.port, first.tls, first.place) == (
        "origin-1", "127.0.0.1", 3000, False, "iad",
    )  # fmt: skip
    assert (second.address, second.port, second.tls) == ("app.example.com", 443, True)
    assert (made.pool("origins").origin_host, made.pool("origins").forwarded_proto) == ("shop.test", "https")
    assert made.pool("origins").health.kind == "tcp", "an application can't be asked whether it is alive"
    assert made.pool("origins").health.interval == LAB.pool("origins").health.interval
    assert list(made.nodes) == NODES, "ours are not started"
    assert made.pool("edges") == LAB.pool("edges")


@pytest.mark.parametrize("place", [None, "none"])
def test_origins_without_a_place_are_at_no_distance(place: str | None) -> None:
    (backend,) = LAB.with_origins(["http://127.0.0.1:3000"], origin_place=place).backends("origins")
    assert backend.place is None


def test_with_distance_and_store() -> None:
    off = LAB.with_distance(False)
    assert (off.distance.enabled, LAB.distance.enabled) == (False, True)
    assert off.with_distance(True) == LAB
    assert LAB.with_store("redis://127.0.0.1:6379/0").store.url == "redis://127.0.0.1:6379/0"
    with pytest.raises(PlanError, match="is not the URL of a store"):
        LAB.with_store("127.0.0.1:6379")


@pytest.mark.parametrize(
    ("vip", "addresses", "dialled"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("0.0.0.0", [], "127.0.1.10"),
        ("::", [], "::"),
        ("::", ["127.0.2.10", "fd00::10"], "fd00::10"),
    ],
)
def test_a_vip_on_every_address_is_dialled_at_a_balancer(
    vip: str, addresses: list[str], dialled: str
) -> None:
    balancer = {"tier": "lb", "address": "127.0.1.10", "addresses": addresses}
    topology = small(
        nodes={"e": EDGE, "lb": balancer}, vips=[{"address": vip, "port": 80}], routes=[{"pool": "origins"}]
    )
    assert topology.dial_address(topology.vips[0]) == (dialled, 80)


def test_a_balancer_trusts_none_that_stands_where_it_does() -> None:
    first = {"tier": "lb", "address": "127.0.1.10", "addresses": ["127.0.1.20"]}
    second = {"tier": "lb", "address": "127.0.1.20", "addresses": ["127.0.1.10"], "admin_port": 5}
    vips, routes = [{"address": "127.0.0.1", "provider": "reuseport"}], [{"pool": "origins"}]
    topology = small(nodes={"e": EDGE, "lb-a": first, "lb-b": second}, vips=vips, routes=routes)
    assert topology.trusted_peers("lb-a") == topology.trusted_peers("lb-b") == {"127.0.0.2"}
    assert topology.trusted_peers("e") == {"127.0.1.10", "127.0.1.20"}


def test_what_was_computed_does_not_survive_a_change() -> None:
    before = small()
    assert before.ours(before.backends("origins")[0]) is False
    after = before.with_port(3000)._with(nodes={"e": {**EDGE, "address": "127.0.0.1"}})
    assert after.ours(after.backends("origins")[0]) is True


@pytest.mark.parametrize(
    "topology",
    [
        LAB,
        LAB.with_port(9000),
        LAB.with_distance(False),
        LAB.with_origins(["https://example.com", "http://[::1]:3000"], origin_place="iad"),
        small(places={"ams": AMS}, pools={"origins": {"backends": [APP], "health": {"expect": ["200-299"]}}}),
        small(ports={"base": 0}, log={"access": "sample 1/10"}, limits={"idle_timeout": "90s"}),
    ],
)
def test_dump_reads_back_equal(topology: Topology) -> None:
    again = parse(topology.dump())
    assert again == topology
    assert again.dump() == topology.dump()


def test_a_topology_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        LAB.name = "other"


def test_reading_it_is_cheap() -> None:
    """Every process imports the topology at its start: 250 ms of CPU is the bound, and no loop, socket or store."""
    program = (
        "import sys, resource\n"
        "def cpu():\n"
        "    usage = resource.getrusage(resource.RUSAGE_SELF); return usage.ru_utime + usage.ru_stime\n"
        "before = cpu()\n"
        "import cdnlab.plan.load\n"
        "print(cpu() - before, *(name for name in ('asyncio', 'uvloop', 'redis', 'aiohttp', 'rich', 'typer')"
        " if name in sys.modules))\n"
    )
    best, loaded = 9.0, set[str]()
    for _ in range(5):  # the fastest of five: another process may share the core's caches
        shown = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout
        seconds, *modules = shown.split()
        best, loaded = min(best, float(seconds)), loaded | set(modules)
    assert best < 0.25
    assert loaded == set()
