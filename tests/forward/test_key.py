"""Query rules as tables, and as properties: what is keyed on is what is forwarded, and twice is once."""

from __future__ import annotations

import re
from time import process_time
from urllib.parse import parse_qsl

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.forward.key import HostRules, KeyRules, Names, key_rules, parameter_name
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import RouteSpec, Topology
from cdnlab.wire.errors import Malformed
from cdnlab.wire.target import parse_target


def rules(**query: object) -> HostRules:
    found = KeyRules([RouteSpec.model_validate({"pool": "p", "query": query})]).host(b"shop.example")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "target, left",
    [
        (b"/", b"/"),
        (b"/?", b"/"),
        (b"/?b=2&a=1", b"/?a=1&b=2"),
        (b"/?a=2&b=1&a=1", b"/?a=2&a=1&b=1"),
        (b"/?b&a", b"/?a&b"),
        (b"/?b=&b&a", b"/?a&b=&b"),
        (b"/?a=1&&b=2&", b"/?a=1&b=2"),
        (b"/?&&&", b"/"),
        (b"/?b=1;a=2", b"/?b=1;a=2"),
        (b"/?z=1&=x&a", b"/?=x&a&z=1"),
        (b"/?b=a=c&a=b=c", b"/?a=b=c&b=a=c"),
        (b"/?a%5B%5D=2&a[]=1&A=0", b"/?A=0&a%5B%5D=2&a[]=1"),
        (b"/?a+b=2&a%20b=1&a=0", b"/?a=0&a+b=2&a%20b=1"),
        (b"/?a?b=1&a=2", b"/?a=2&a?b=1"),
        (b"/%3F?b&a", b"/%3F?a&b"),
        (b"*", b"*"),
    ],
)
def test_sorting(target: bytes, left: bytes) -> None:
    assert rules(sort=True).target(target) == left


@pytest.mark.parametrize(
    "drop, target, left",
    [
        (["utm_*"], b"/?utm_source=x&a=1&utm_=2&utm=3", b"/?a=1&utm=3"),
        (["utm_*"], b"/?utm_source=x", b"/"),
        (["utm_*"], b"/?UTM_source=x", b"/?UTM_source=x"),
        (["fbclid"], b"/?fbclid&fbclid=&fbclid=1&fbclid2=1", b"/?fbclid2=1"),
        (["fbclid"], b"/?b=2&a=1", b"/?b=2&a=1"),
        (["fbclid"], b"/?a=fbclid&b=1&&", b"/?a=fbclid&b=1"),
        (["a[]"], b"/?a%5B%5D=1&a[]=2&a=3", b"/?a=3"),
        (["a b"], b"/?a+b=1&a%20b=2&a%2Bb=3", b"/?a%2Bb=3"),
        (["é*"], b"/?%C3%A9t%C3%A9=1&e=2", b"/?e=2"),
        (["a&b"], b"/?a%26b=1&a&b", b"/?a&b"),
        (["*"], b"/?=1&a", b"/"),
        (["a;b"], b"/?a;b=1&a=1", b"/?a=1"),
        (["*_id"], b"/?_id=1&x_id=2&id=3&_idx=4", b"/?id=3&_idx=4"),
        (["a*b*c"], b"/?abc&axbxc=1&ac&abcd&aXcXb", b"/?ac&abcd&aXcXb"),
        (["a*a"], b"/?a=1&aa=1&aXa=1", b"/?a=1"),
        (["*x*"], b"/?x&axb&ab", b"/?ab"),
        (["a**b"], b"/?ab&a**b&ac", b"/?ac"),
    ],
)
def test_dropping(drop: list[str], target: bytes, left: bytes) -> None:
    assert rules(drop=drop).target(target) == left


@pytest.mark.parametrize(
    "query, target, left",
    [
        ({"keep": ["id", "page"]}, b"/?page=2&x=1&id=7&id=8", b"/?page=2&id=7&id=8"),
        ({"keep": ["id", "page"], "sort": True}, b"/?page=2&x=1&id=7", b"/?id=7&page=2"),
        ({"keep": ["id*"], "drop": ["id2"]}, b"/?id2=1&id=2&id3=3", b"/?id=2&id3=3"),
        ({"keep": ["id"]}, b"/?x=1", b"/"),
        ({"keep": "none"}, b"/a/b?x=1", b"/a/b"),
        ({"keep": "none"}, b"/a/b?", b"/a/b"),
        ({"keep": []}, b"/?x=1", b"/"),
        ({"keep": "all", "sort": True}, b"/?b&a", b"/?a&b"),
    ],
)
def test_keeping(query: dict[str, object], target: bytes, left: bytes) -> None:
    assert rules(**query).target(target) == left


def test_the_rule_is_that_of_the_request_s_route() -> None:
    """The most exact host, then the longest path, as the balancer routes; no rule leaves a target as it is."""
    table = key_rules(
        RouteSpec.model_validate(spec)
        for spec in (
            {"host": "a.test", "path": "/", "pool": "p", "query": {"keep": "none"}},
            {"host": "a.test", "path": "/search", "pool": "p"},
            {"host": "a.test", "path": "/search/old", "pool": "p", "cookies": "strip"},
            {"host": "*.b.test", "path": "/x", "pool": "p", "query": {"drop": ["d"]}},
            {"path": "/x", "pool": "p", "query": {"sort": True}},
            {"host": "plain.test", "path": "/x", "pool": "p"},
        )
    )
    assert table is not None

    def target(host: bytes, canonical: bytes) -> bytes:
        found = table.host(host)
        return canonical if found is None else found.target(canonical)

    assert target(b"a.test", b"/?a") == b"/"
    assert target(b"a.test:8080", b"/searches?a") == b"/searches"
    assert target(b"a.test", b"/search?q=1&") == b"/search?q=1&"
    assert target(b"a.test", b"/search?") == b"/search?"
    assert target(b"c.b.test", b"/x?d&c&b") == b"/x?c&b"
    assert target(b"c.b.test", b"/y?d&c&b") == b"/y?d&c&b"
    assert target(b"other", b"/x/y?b&a") == b"/x/y?a&b"
    assert target(b"", b"/x?b&a") == b"/x?a&b"
    rule = table.host(b"a.test")
    assert rule is not None
    assert rule.rule(b"/search/old/1").cookies == "strip"
    assert rule.rule(b"/search").cookies == "rfc"
    found = table.host(b"c.b.test")
    assert found is not None
    assert found.rule(b"/nowhere").cookies == "rfc"


def test_without_rules_nobody_is_asked() -> None:
    assert key_rules([]) is None
    assert key_rules([RouteSpec(pool="p"), RouteSpec(path="/x", pool="q")]) is None
    table = key_rules([RouteSpec(host="a", pool="p", cookies="pass"), RouteSpec(host="b", pool="p")])
    assert table is not None
    assert table.host(b"a") is not None
    assert table.host(b"b") is None
    assert table.host(b"c") is None


def test_hosts_that_clients_make_up_do_not_pile_up() -> None:
    table = KeyRules([RouteSpec.model_validate({"pool": "p", "query": {"sort": True}})])
    for number in range(5000):
        assert table.host(b"h%d" % number) is not None
    assert len(table._hosts) <= 1024


# -- properties ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "a[]", "utm_source", "utm_", "é", "id", ""])
PIECES = st.one_of(
    st.tuples(NAMES, st.sampled_from(["", "1", "2", "x=y", "%2F"])).map("=".join),
    NAMES,
    st.text(alphabet="&=;+%2aA5B[]é_?/", max_size=8),
)
PATTERNS = st.lists(st.sampled_from(["a", "a*", "*a", "utm_*", "é", "a[]", "*", "*t*m*", "b"]), max_size=3)
SPECS = st.fixed_dictionaries(
    {"sort": st.booleans(), "drop": PATTERNS, "keep": st.one_of(st.sampled_from(["all", "none"]), PATTERNS)}
)


def canonical(query: str) -> bytes | None:
    try:
        return parse_target(b"/p?" + query.encode().replace("é".encode(), b"%C3%A9"), b"GET").canonical
    except Malformed:
        return None


@settings(deadline=None)
@given(SPECS, st.lists(PIECES, max_size=8))
def test_twice_is_once_and_nothing_is_written_anew(spec: dict[str, object], pieces: list[str]) -> None:
    target = canonical("&".join(pieces))
    if target is None:
        return
    found = KeyRules([RouteSpec.model_validate({"pool": "p", "query": spec})]).host(b"h")
    left = target if found is None else found.target(target)
    if found is not None:
        assert found.target(left) == left
    assert parse_target(left, b"GET").canonical == left
    before, after = target[3:].split(b"&"), left[3:].split(b"&")
    assert found is None or not (left == b"/p?" or left.endswith(b"&"))  # a parameter may be called "?"
    for parameter in filter(None, after):
        assert after.count(parameter) <= before.count(parameter)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=8))
def test_an_application_that_ignores_order_sees_the_same(pieces: list[str]) -> None:
    """By the standard library's reader of forms: no name loses a value, nor the order of its values."""
    target = canonical("&".join(pieces))
    if target is None:
        return
    left = rules(sort=True).target(target)

    def read(target: bytes) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(target.decode()[3:], keep_blank_values=True, encoding="latin-1"):
            found.setdefault(name, []).append(value)
        return found

    assert read(left) == read(target)
    names = [parameter_name(one) for one in left[3:].split(b"&")]
    assert names == sorted(names)


@settings(deadline=None)
@given(st.lists(st.text("ab*", max_size=6).filter(bool), max_size=3), st.text("ab", max_size=12))
def test_globs_agree_with_regular_expressions(patterns: list[str], name: str) -> None:
    expected = any(re.fullmatch(re.sub(r"\*+", ".*", pattern), name) for pattern in patterns)
    assert (name.encode() in Names(patterns)) is expected


# -- what it costs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        b"&" * 1_000_000,
        b"a" * 1_000_000,
        b"%41" * 333_333,
        b"=" * 1_000_000,
        b"a=1&" * 250_000,
        b"a%5B" * 250_000 + b"=1",
        b"a&" * 250_000 + b"b=" + b"ab" * 250_000,
        b"%5B&+&" * 150_000,
    ],
    ids=lambda query: query[:6].decode(),
)
def test_a_megabyte_costs_little(query: bytes) -> None:
    """A generous bound that anything quadratic in a million would miss by orders of magnitude."""
    found = rules(sort=True, keep=["a*", "*b*b*b*b*b*c", "[*"], drop=["a*b*a*b*a*b*d", "utm_*", "*x*y*z"])
    began = process_time()
    found.target(b"/?" + query)
    assert process_time() - began < 8.0


# -- the setting --------------------------------------------------------------------------------------------------


def topology(query: object) -> Topology:
    return Topology.build(
        {
            "nodes": {"edge": {"tier": "edge", "address": "127.0.0.1"}},
            "pools": {"origins": {"backends": [{"name": "one", "address": "127.0.0.1", "port": 1}]}},
            "routes": [{"pool": "origins", "query": query}],
        }
    )


@pytest.mark.parametrize(
    "query, said",
    [
        ({"keep": "some"}, "routes[0].query.keep: 'some' is neither all nor none nor a list of names"),
        ({"keep": [1]}, "routes[0].query.keep: [1] is refused: 1 is not the name of a parameter"),
        ({"keep": [""]}, "'' is not the name of a parameter"),
        ({"drop": "utm_*"}, "stands where a list belongs"),
        ({"drop": ["x" * 257]}, "is not the name of a parameter"),
        ({"dorp": []}, 'did you mean "drop"'),
        ({"sort": "maybe"}, "neither on nor off"),
    ],
)
def test_a_rule_that_is_none_is_refused_in_one_line(query: object, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        topology(query)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_cookies_need_an_edge() -> None:
    nodes = {"lb": {"tier": "lb", "address": "127.0.0.1"}}
    pools = {"app": {"backends": [{"name": "one", "address": "127.0.0.1", "port": 1}]}}
    with pytest.raises(PlanError, match=r"routes\[0\].cookies: no edge is there to strip cookies"):
        Topology.build({"nodes": nodes, "pools": pools, "routes": [{"pool": "app", "cookies": "strip"}]})


def test_a_rule_survives_being_written_and_read() -> None:
    plan = topology({"sort": True, "drop": ["utm_*"], "keep": ["id", "é"]})
    assert Topology.build(yaml.safe_load(plan.dump())) == plan
