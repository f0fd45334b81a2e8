"""Reading a topology file, and each complaint: the line, the path, what was wrong, and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdnlab.plan.load import DEFAULT, load, parse, schema
from cdnlab.plan.topology import PlanError

HEAD = "nodes: {e: {tier: edge, address: 127.0.0.2}}\n"
REST = "pools: {origins: {backends: [{name: a, address: 127.0.0.1, port: 3000}]}}\n"


def complaint(text: str) -> str:
    with pytest.raises(PlanError) as caught:
        parse(text, "lab.yaml")
    return str(caught.value)


VALUES = [
    # what is added to a small topology whose own text has two lines; the complaint
    ("clents: {}", 'lab.yaml:3: clents: unknown key "clents"; did you mean "clients"?'),
    ("ports:\n  bas: 1", 'lab.yaml:4: ports.bas: unknown key "bas"; did you mean "base"?'),
    (
        "ports: {base: 99999}",
        "lab.yaml:3: ports.base: 99999 is too large, it must be at most 65535; base is: ",
    ),
    ("ports: {base: many}", "ports.base: 'many' is not a whole number; base is: The port for HTTP."),
    ("ports: 8080", "lab.yaml:3: ports: 8080 stands where keys with values belong"),
    ("vips: main", "lab.yaml:3: vips: 'main' stands where a list belongs"),
    ("vips: [{adress: 127.0.0.1}]", 'vips[0].adress: unknown key "adress"; did you mean "address"?'),
    ("vips:\n- address: localhost", "lab.yaml:4: vips[0].address: 'localhost' is not an IP address"),
    (
        "limits: {header_bytes: 12 XB}",
        "limits.header_bytes: '12 XB' is not a size; write a number of bytes, or",
    ),
    ("limits: {header_bytes: 12}", "limits.header_bytes: 12 is too small, it must be at least 1024"),
    (
        "limits: {idle_timeout: soon}",
        "limits.idle_timeout: 'soon' is not a duration; write a number of seconds",
    ),
    ("limits: {idle_timeout: 0}", "limits.idle_timeout: 0 is too small, it must be more than 0"),
    ("limits: {connections: 1.5}", "limits.connections: 1.5 is not a whole number"),
    ("distance: {enabled: perhaps}", "distance.enabled: 'perhaps' is neither on nor off"),
    (
        "log: {access: sometimes}",
        "log.access: 'sometimes' is refused: write off, all, or such as `sample 1/100`",
    ),
    ("store: {url: 'http://x'}", "store.url: 'http://x' is not the URL of a store; write redis://"),
    ("edge: {memory: 1MiB, object_max: 2MiB}", "edge.object_max: an object may be larger than the memory"),
    (
        "failover: {renew: 500ms}",
        "failover.renew: renewing every 0.5 s is too late for a lease of 1 s; make it at",
    ),
    ("default_place: ibn", 'lab.yaml:3: default_place: there is no place "ibn"; did you mean "icn" (Seoul)?'),
    ("default_place: berlin", 'there is no place "berlin"; known: icn, nrt, sin, bom'),
    ("places: {amz: {city: A}}", "places.amz: a new place needs a position; give it latitude and longitude"),
    ("places: {icm: {}}", 'give it latitude and longitude, or did you mean "icn"?'),
    ("places: {other: {latitude: 1, longitude: 1}}", 'places.other: "other" can\'t name a place'),
    ("places: {A-1: {latitude: 1, longitude: 1}}", 'places.A-1: "A-1" can\'t name a place; use 2 to 16'),
    ("places: {icn: {latitude: 91}}", "places.icn.latitude: 91 is too large, it must be at most 90"),
    (
        "places: {icn: {prefixes: [127.1.1.0/24]}}",
        "places.icn.prefixes[0]: 127.1.1.0/24 already belongs to iad",
    ),
    (
        "places: {icn: {prefixes: [10.0.0.1/24]}}",
        "places.icn.prefixes[0]: this is no prefix: 10.0.0.1/24 has host",
    ),
    (
        "routes: [{pool: origin}]",
        'lab.yaml:3: routes[0].pool: there is no pool "origin"; did you mean "origins"?',
    ),
    (
        "routes: [{pool: origins}, {pool: origins}]",
        "routes[1]: routes[0] has the same host and path; remove one",
    ),
    (
        "routes: [{host: 'http://x', pool: origins}]",
        "routes[0].host: 'http://x' is not understood; host is: ",
    ),
    ("routes: [{path: api, pool: origins}]", "routes[0].path: 'api' is not a path; begin it with a slash"),
    ("edge: {pool: orgins}", 'edge.pool: there is no pool "orgins"; did you mean "origins"?'),
    ("edge: {collapse_timeout: yes}", "edge.collapse_timeout: 'yes' is not a duration"),
    ("name: lab\nname: two", "lab.yaml:4: name: this key is given twice; keep one of them"),
    ("ports:\n  base: 1\n  base: 2", "lab.yaml:5: ports.base: this key is given twice"),
    ("a: [1", "lab.yaml:4:1: this is not YAML: "),
    ("edge:\n\tmemory: 1", "lab.yaml:4:1: this is not YAML: found character that cannot start any token"),
    ("name: !!python/name:os.system x", "lab.yaml:3: could not determine a constructor for the tag"),
]


@pytest.mark.parametrize(("text", "message"), VALUES, ids=[text for text, _ in VALUES])
def test_a_bad_value(text: str, message: str) -> None:
    assert message in complaint(HEAD + REST + text + "\n")


SECTIONS = [
    # a whole file; the complaint
    ("", f"lab.yaml: this is no topology; start from a copy of {DEFAULT}"),
    ("- a", "lab.yaml: this is no topology"),
    ("just words", "lab.yaml: this is no topology"),
    (HEAD, 'lab.yaml:1: "pools" is missing; pools is: What can be sent to.'),
    (
        "nodes: {}\n" + REST,
        "lab.yaml:1: nodes: there are no nodes; start from a copy of the default topology",
    ),
    (
        "nodes: {e: {tier: egde, address: 127.0.0.2}}\n" + REST,
        '"egde" is not one of lb, edge, origin; did you mean',
    ),
    (
        "nodes: {e: {tier: edge}}\n" + REST,
        'lab.yaml:1: nodes.e: "address" is missing; address is: The address it',
    ),
    (
        "nodes: {E 1: {tier: edge, address: 127.0.0.2}}\n" + REST,
        "nodes.E 1: 'E 1' is not a name; use lower-case",
    ),
    (
        "nodes: {e: {tier: edge, address: e.local}}\n" + REST,
        "nodes.e.address: 'e.local' is not an IP address",
    ),
    ("nodes: {e: {tier: edge, address: 127.0.0.2, place: gur}}\n" + REST, 'did you mean "gru" (São Paulo)?'),
    (
        "nodes: {l: {tier: lb, address: 127.0.0.2, place: icn}}\n" + REST,
        "nodes.l.place: a balancer has no place",
    ),
    (
        "nodes: {l: {tier: lb, address: 127.0.0.2}}\n" + REST,
        "routes: the balancers have no route; give one, or",
    ),
    (
        "vips: []\nnodes: {l: {tier: lb, address: 127.0.0.2}}\n" + REST,
        "lab.yaml:1: vips: the balancers have no VIP",
    ),
    (
        HEAD + "pools: {origins: {}}",
        "lab.yaml:2: pools.origins: it has no backends; give it `tier` or `backends`",
    ),
    (
        HEAD + "pools: {origins: {tier: origin}}",
        "pools.origins.tier: no node is of tier origin; add one, or list",
    ),
    (
        HEAD + "pools: {origins: {tier: edge, backends: [{name: a, address: x, port: 1}]}}",
        "pools.origins: it has both tier and backends; keep one of them",
    ),
    (
        HEAD
        + "pools: {origins: {backends: [{name: a, address: x, port: 1}, {name: a, address: y, port: 1}]}}",
        'pools.origins.backends[1].name: the name "a" is taken',
    ),
    (
        HEAD + "pools: {origins: {backends: [{name: a, address: 'http://127.0.0.1:3000', port: 1}]}}",
        "'http://127.0.0.1:3000' is a URL; give the host alone",
    ),
    (
        HEAD + "pools: {origins: {tier: edge, algorithm: nearst}}",
        "is not one of round_robin, random, least_connections, ",
    ),
    (
        HEAD + "pools: {origins: {tier: edge, health: {expect: [999]}}}",
        "pools.origins.health.expect[0]: 999 is not a status code or a range of them",
    ),
    (
        HEAD + "pools: {origins: {tier: edge, health: {expect: []}}}",
        "pools.origins.health.expect: it is empty",
    ),
]


@pytest.mark.parametrize(("text", "message"), SECTIONS, ids=[text[:60] for text, _ in SECTIONS])
def test_a_bad_file(text: str, message: str) -> None:
    assert message in complaint(text)


ADDRESSES = [
    (
        "a: {tier: edge, address: 127.0.0.2}",
        "b: {tier: edge, address: 127.0.0.2}",
        "nodes.b.address: 127.0.0.2:8080",
    ),
    (
        "a: {tier: edge, address: 127.0.0.2}",
        "b: {tier: edge, address: 127.0.0.2, data_port: 81}",
        "nodes.b.admin_port: 127.0.0.2:9101 is already the address of nodes.a.admin_port; give it an admin_port",
    ),
    (
        "a: {tier: edge, address: 127.0.0.2}",
        "b: {tier: edge, address: 127.0.0.2, data_port: 9101, admin_port: 1}",
        "nodes.b.address: 127.0.0.2:9101 is already the address of nodes.a.admin_port",
    ),
    (
        "a: {tier: lb, address: 127.0.0.1}",
        "b: {tier: lb, address: 127.0.0.3}",
        "vips[0].address: 127.0.0.1:8080 is already the address of nodes.a.address",
    ),
]


@pytest.mark.parametrize(("first", "second", "message"), ADDRESSES)
def test_an_address_used_twice(first: str, second: str, message: str) -> None:
    text = (
        f"nodes:\n  {first}\n  {second}\npools: {{edges: {{backends: [{{name: a, address: x, port: 1}}]}}}}\n"
    )
    assert message in complaint(text + "edge: {pool: edges}\n")


def test_a_pool_that_nothing_reaches_is_fine() -> None:
    assert parse(HEAD + REST[:-2] + ", spare: {tier: edge}}\n").pool("spare").tier == "edge"


def test_unknown_keys_come_before_what_is_missing() -> None:
    first, second = complaint("nodes: {e: {tier: edge, adress: 127.0.0.2}}\n" + REST).splitlines()
    assert first == 'lab.yaml:1: nodes.e.adress: unknown key "adress"; did you mean "address"?'
    assert second.startswith('lab.yaml:1: nodes.e: "address" is missing')


def test_at_most_five_complaints_at_once() -> None:
    lines = complaint(HEAD + REST + "".join(f"key{number}: 1\n" for number in range(9))).splitlines()
    assert [line.split(":")[1] for line in lines[:5]] == ["3", "4", "5", "6", "7"]
    assert lines[5:] == ["and 4 more"]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 50_000])
def test_what_is_nested_without_end_takes_nobody_along(text: str) -> None:
    with pytest.raises(PlanError, match="nested deeper than"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["name: " + "9" * 5000, "name: !!int x", "name: !!timestamp x", "name: \ud800"]
)
def test_values_that_cannot_be_read(text: str) -> None:
    with pytest.raises(PlanError):
        parse(text)


def test_words_stay_words() -> None:
    """YAML 1.1 would make booleans of off, no and on, and dates of dates."""
    made = parse(
        HEAD
        + REST
        + "name: no\nlog: {access: off}\ndistance: {enabled: off}\nclients: {may_choose_place: on}"
    )
    assert (made.name, made.log.access, made.distance.enabled, made.clients.may_choose_place) == (
        "no", "off", False, True,
    )  # fmt: skip


def test_aliases() -> None:
    shared = "nodes:\n  e: &e {tier: edge, address: 127.0.0.2}\n  f: {<<: *e, address: 127.0.0.3}\n"
    assert parse(shared + REST).node("f").tier == "edge"
    assert "pools" in complaint(HEAD + "pools: &p {origins: *p}")


def test_json_is_yaml() -> None:
    topology = parse(HEAD + REST)
    assert parse(json.dumps(topology.model_dump(mode="json", exclude_unset=True))) == topology


def test_without_a_file_it_is_the_shipped_one(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(DEFAULT.read_text(encoding="utf-8"), encoding="utf-8")
    assert load() == load(copy) == load(str(DEFAULT))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"name: S\xe3o")
    for name, message in (
        ("gone", "there is no such file; give the path of a topology file"),
        ("", "it can't be read (Is a directory); give a readable file"),
        ("latin", "it is not UTF-8 at byte 7; save it as UTF-8"),
    ):
        with pytest.raises(PlanError) as caught:
            load(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {message}".replace("/:", ":")


def test_the_schema_is_json_and_knows_the_words() -> None:
    made = json.loads(json.dumps(schema()))
    assert set(made["required"]) == {"nodes", "pools"}
    assert made["additionalProperties"] is False
    size = made["$defs"]["Limits"]["properties"]["header_bytes"]
    assert {option["type"] for option in size["anyOf"]} == {"integer", "string"}
    assert size["description"].startswith("All of a request's header fields")
