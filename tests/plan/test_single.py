"""The topologies of one node alone, and what the command line may say wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.plan.load import load, parse
from cdnlab.plan.single import single_edge, single_lb
from cdnlab.plan.topology import PlanError

APP = "http://127.0.0.1:3000"


def test_an_edge_alone() -> None:
    made = single_edge(
        "127.0.0.1:8080", [APP, "https://example.com:8443/"], memory="64MiB", origin_host="a.test"
    )
    assert made.data_address("edge") == ("127.0.0.1", 8080)
    assert made.admin_address("edge") == ("127.0.0.1", 9101)
    assert [(b.address, b.port, b.tls, b.place) for b in made.backends(made.edge.pool)] == [
        ("127.0.0.1", 3000, False, None),
        ("example.com", 8443, True, None),
    ]
    assert made.edge.memory == 64 * 1024 * 1024
    assert made.pool("origins").origin_host == "a.test"
    assert not made.distance.enabled
    assert not made.clients.may_choose_place
    assert made.trusted_peers("edge") == set()
    assert made.vips == ()


@pytest.mark.parametrize(
    ("place", "felt"), [(None, (False, None)), ("none", (False, None)), ("gru", (True, "gru"))]
)
def test_an_origin_with_a_place_is_at_a_distance(place: str | None, felt: tuple[bool, str | None]) -> None:
    made = single_edge("127.0.0.1:8080", [APP], origin_place=place)
    assert (made.distance.enabled, made.backends("origins")[0].place) == felt


@pytest.mark.parametrize(
    ("admin", "address"),
    [
        (None, ("127.0.0.1", 10021)),
        ("127.0.0.2:7000", ("127.0.0.2", 7000)),
        ("[::1]:0", ("::1", 0)),
        ("off", None),
    ],
)
def test_the_admin_address(admin: str | None, address: tuple[str, int] | None) -> None:
    assert single_edge("127.0.0.1:9000", [APP], admin=admin).admin_address("edge") == address
    assert single_lb("127.0.0.1:9000", ["127.0.0.1:1"], admin=admin).admin_address("lb") == address


def test_a_balancer_alone() -> None:
    servers = ["127.0.0.1:9001", "localhost:9002", "[::1]:9003", "https://example.com"]
    made = single_lb("127.0.0.1:8080", servers, algorithm="least_connections")
    assert [made.vip_address(vip) for vip in made.vips] == [("127.0.0.1", 8080)]
    (route,) = made.balancer_routes()
    assert (route.host, route.path) == (None, "/")
    assert [(b.name, b.address, b.port, b.tls) for b in made.backends(route.pool)] == [
        ("server-1", "127.0.0.1", 9001, False),
        ("server-2", "127.0.0.1", 9002, False),
        ("server-3", "::1", 9003, False),
        ("server-4", "example.com", 443, True),
    ]
    assert made.pool(route.pool).algorithm == "least_connections"
    assert made.trusted_peers("lb") == set()
    assert not made.distance.enabled


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.0.0.1:65535", "[::1]:8080", "0.0.0.0:8080"])
def test_any_address_will_do(listen: str) -> None:
    for made in (single_edge(listen, [APP]), single_lb(listen, ["127.0.0.1:1"])):
        assert parse(made.dump()) == made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: single_edge("8080", [APP]), '--listen: "8080" is not an address with a port; write such as'),
        (lambda: single_edge("127.0.0.1", [APP]), '--listen: "127.0.0.1" is not an address with a port'),
        (lambda: single_edge(":8080", [APP]), '--listen: ":8080" is not an address with a port'),
        (lambda: single_edge("127.0.0.1:x", [APP]), '--listen: "127.0.0.1:x" is not an address with a port'),
        (lambda: single_edge("127.0.0.1:99999", [APP]), "--listen: "),
        (lambda: single_edge("http://127.0.0.1:80", [APP]), "--listen: "),
        (lambda: single_edge("127.0.0.1:80", []), "--origin: no origin is given; give a URL such as"),
        (lambda: single_edge("127.0.0.1:80", ["127.0.0.1:3000"]), "did you mean http://127.0.0.1:3000 ?"),
        (lambda: single_edge("127.0.0.1:80", ["ftp://a"]), 'origin "ftp://a" needs http:// or https://'),
        (lambda: single_edge("127.0.0.1:80", ["http://"]), 'origin "http://" has no valid host and port'),
        (lambda: single_edge("127.0.0.1:80", ["http://a:99999"]), 'origin "http://a:99999" does not parse'),
        (lambda: single_edge("127.0.0.1:80", ["http://[::1"]), 'origin "http://[::1" does not parse'),
        (
            lambda: single_edge("127.0.0.1:80", ["http://a:0"]),
            'origin "http://a:0" has no valid host and port',
        ),
        (
            lambda: single_edge("127.0.0.1:80", ["http://a b"]),
            'origin "http://a b" has no valid host and port',
        ),
        (lambda: single_edge("127.0.0.1:80", ["http://a/b"]), "must end after the port; write http://a: "),
        (lambda: single_edge("127.0.0.1:80", ["http://a?b"]), "must end after the port"),
        (lambda: single_edge("127.0.0.1:80", ["http://u:p@a"]), "must not carry a user name or password"),
        (lambda: single_edge("127.0.0.1:80", [APP], memory="12 XB"), "edge.memory: '12 XB' is not a size"),
        (lambda: single_edge("127.0.0.1:80", [APP], forwarded_proto="htps"), 'did you mean "https"?'),
        (lambda: single_edge("127.0.0.1:80", [APP], origin_place="icm"), 'did you mean "icn" (Seoul)?'),
        (
            lambda: single_edge("127.0.0.1:80", [APP], origin_host="a b"),
            "origin_host: 'a b' is not understood",
        ),
        (
            lambda: single_edge("127.0.0.1:80", [APP], admin="of"),
            '--admin: "of" is not an address with a port',
        ),
        (lambda: single_edge("127.0.0.1:80", [APP], admin="127.0.0.1:80"), "is already the address of"),
        (lambda: single_lb("127.0.0.1:80", []), "pools.servers: it has no backends"),
        (lambda: single_lb("127.0.0.1:80", ["app"]), '--backend: "app" is not an address with a port'),
        (lambda: single_lb("127.0.0.1:80", ["a:1"], algorithm="robin"), 'did you mean "round_robin"?'),
        (lambda: load().with_origins([]), "--origin: no origin is given"),
        (lambda: load().with_origins([APP], origin_place="tokio"), 'did you mean "nrt" (Tokyo)?'),
    ],
)
def test_complaints(make: Any, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert message in str(caught.value)


def test_an_edge_alone_has_one_route_where_it_is_given_rules() -> None:
    assert single_edge("127.0.0.1:8080", [APP]).routes == ()
    made = single_edge("127.0.0.1:8080", [APP], query_sort=True, query_drop=["utm_*"], cookies="strip")
    (route,) = made.routes
    assert (route.host, route.path, route.pool, route.cookies) == (None, "/", "origins", "strip")
    assert (route.query.sort, route.query.drop, route.query.keep) == (True, ("utm_*",), "all")
    assert single_edge("127.0.0.1:8080", [APP], cookies="pass").routes[0].query.sort is False
    with pytest.raises(PlanError, match=r"cookies: .never. is not one of rfc, pass, strip"):
        single_edge("127.0.0.1:8080", [APP], cookies="never")


@pytest.mark.parametrize("said", ["", ":10GiB"])
def test_a_disk_without_a_directory_is_refused(said: str) -> None:
    with pytest.raises(PlanError, match="names no directory"):
        single_edge("127.0.0.1:9000", [APP], disk=said)


def test_layer_4_has_no_http() -> None:
    made = single_lb("127.0.0.1:9000", ["127.0.0.1:1"], mode="tcp", algorithm="source_hash", send_proxy="v2")
    assert [vip.http for vip in made.vips] == [False]
    assert made.balancer_routes() == ()
    (flow,) = made.l4.values()
    assert (flow.protocol, made.l4_port(flow), flow.pool) == ("tcp", 9000, "servers")
    assert made.pool("servers").send_proxy == "v2"


def test_udp_is_not_checked_by_connecting_with_tcp() -> None:
    assert single_lb("127.0.0.1:9000", ["127.0.0.1:1"], mode="udp").pool("servers").health.kind == "none"
    told = single_lb("127.0.0.1:9000", ["127.0.0.1:1"], mode="udp", health="http:/live", interval="1s")
    assert told.pool("servers").health.path == "/live"
    assert told.pool("servers").health.interval == 1.0


def test_what_a_backend_can_be_told() -> None:
    made = single_lb("127.0.0.1:9000", ["127.0.0.1:1,weight=3,name=app", "https://b.test,priority=1"])
    first, second = made.backends("servers")
    assert (first.name, first.port, first.weight) == ("app", 1, 3)
    assert (second.name, second.tls, second.port, second.priority) == ("server-2", True, 443, 1)


def test_learn_names_the_cookie() -> None:
    sticky = single_lb("127.0.0.1:9000", ["127.0.0.1:1"], sticky="learn:JSESSIONID").pool("servers").sticky
    assert (sticky.mode, sticky.cookie) == ("learn", "JSESSIONID")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "sctp"}, '"sctp" is no mode'),
        ({"sticky": "learn"}, "learn needs a cookie's name"),
        ({"sticky": "cooky"}, '"cooky" is no stickiness'),
        ({"mode": "tcp", "sticky": "cookie"}, "cookies are HTTP's"),
        ({"health": "icmp"}, '"icmp" is no check'),
        ({"health": "tcp:/path"}, '"tcp:/path" is no check'),
        ({"accept_proxy": True}, "PROXY headers are for layer 4"),
        ({"send_proxy": "v1"}, "PROXY headers are for layer 4"),
        ({"mode": "udp", "accept_proxy": True}, "is for TCP only"),
        ({"trusted": ["everybody"]}, "is not an IP address"),
    ],
)
def test_what_a_balancer_alone_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as refused:
        single_lb("127.0.0.1:9000", ["127.0.0.1:1"], **options)
    assert message in str(refused.value)


@pytest.mark.parametrize("backend", ["127.0.0.1:1,wait=3", "127.0.0.1:1,weight", "127.0.0.1:1,weight=many"])
def test_what_a_backend_can_not_be_told(backend: str) -> None:
    with pytest.raises(PlanError):
        single_lb("127.0.0.1:9000", [backend])


def test_listed_udp_servers_say_how_they_are_checked() -> None:
    topology = """
nodes: {lb: {tier: lb, address: 127.0.0.1}}
vips: [{http: off}]
pools: {dns: {backends: [{name: a, address: 127.0.0.1, port: 53}]%s}}
l4: {dns: {protocol: udp, pool: dns}}
"""
    with pytest.raises(PlanError, match=r"pools\.dns\.health: its backends would be checked over TCP"):
        parse(topology % "")
    assert parse(topology % ", health: {kind: none}").pool("dns").health.kind == "none"


@pytest.mark.parametrize(
    "protocol, service, sticky, refused",
    [
        ("udp", "tcp", "off", r"l4\.echo\.pool: the servers of echo are asked by tcp, not by udp"),
        ("tcp", "udp", "off", r"l4\.echo\.pool: the servers of echo are asked by udp, not by tcp"),
        ("udp", "http", "off", r"asked by http, not by udp"),
        ("tcp", "tcp", "cookie", r"pools\.echo\.sticky: cookies are HTTP's"),
        ("tcp", "tcp", "source", None),
        ("tcp", "http", "off", None),
        ("udp", "udp", "off", None),
    ],
)
def test_a_port_at_layer_4_leads_to_servers_that_speak_its_protocol(
    protocol: str, service: str, sticky: str, refused: str | None
) -> None:
    topology = f"""
nodes: {{lb: {{tier: lb, address: 127.0.0.1}}, o: {{tier: origin, address: 127.0.0.2}}}}
vips: [{{http: off}}]
pools: {{echo: {{tier: origin, service: {service}, sticky: {{mode: {sticky}}}}}}}
l4: {{echo: {{protocol: {protocol}, port: 9000, pool: echo}}}}
"""
    if refused is None:
        assert parse(topology).l4["echo"].pool == "echo"
        return
    with pytest.raises(PlanError, match=refused):
        parse(topology)
