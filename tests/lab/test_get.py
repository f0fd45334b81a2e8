"""`cdnlab get` through a scripted virtual address: what it sends, what it explains, what it advises."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from cdnlab.forward.explain import Hop, check, hop_member
from cdnlab.lab import get
from cdnlab.lab.errors import LabError
from cdnlab.lab.get_request import build
from cdnlab.lab.state import StateDirectory
from cdnlab.node import secrets
from cdnlab.plan.topology import Topology
from tests.support import fake_lab as fake
from tests.support.commands import Typed
from tests.support.labs import state_directory
from tests.support.scripted_site import Site, scripted_site

TOPOLOGY = """
name: test
clients: {{may_choose_place: true}}
distance: {{enabled: {distance}}}
vips: [{{name: main, address: 127.0.0.1, port: {vip}}}]
nodes:
  lb-a: {{tier: lb, address: 127.0.1.10}}
  edge-icn: {{tier: edge, place: icn, address: 127.82.1.10}}
  edge-gru: {{tier: edge, place: gru, address: 127.55.1.10}}
pools:
  edges: {{tier: edge, algorithm: nearest}}
  origins:
    backends: [{{name: origin-1, address: 127.0.0.1, port: {origin}, place: {place}}}]
{extra}
"""


class Around(NamedTuple):
    state: Path
    vip: Site
    origin: Site
    typed: Typed

    def topology(self, *, distance: str = "off", place: str = "iad", extra: str = "") -> None:
        text = TOPOLOGY.format(
            distance=distance, place=place, vip=self.vip.port, origin=self.origin.port, extra=extra
        )
        StateDirectory(self.state).topology.write_text(text)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Around]:
    with ExitStack() as stack:
        state = stack.enter_context(state_directory())
        stack.enter_context(fake.fake_lab(state))
        vip, origin = stack.enter_context(scripted_site()), stack.enter_context(scripted_site())
        secrets.make(StateDirectory(state).secrets)
        around = Around(state, vip, origin, Typed(get.command, state, monkeypatch))
        around.topology()
        vip.answer("/", "Content-Type: text/plain", f"Cdnlab-Hop: {hops()}", body=b"hello")
        yield around


def hops() -> str:
    edge = Hop(
        "edge-gru", "edge", "gru", "gru", 160_000, 150_000, "origin-1", result="miss", cache="nothing stored"
    )
    balancer = Hop("lb-a", "lb", "", "gru", 170_000, 165_000, "edge-gru", [("edge-icn", "down")], "forwarded")
    return b", ".join(map(hop_member, (edge, balancer))).decode()


# ---- what is sent ----


def test_comes_from_an_address_at_the_place(lab: Around) -> None:
    assert lab.typed("/", "--from", "gru").exit_code == 0
    line, fields, peer = lab.vip.asked[0]
    assert line == "GET / HTTP/1.1"
    assert peer == "127.55.1.100"
    assert fields["host"] == f"127.0.0.1:{lab.vip.port}"
    assert "cdnlab-from" not in fields


def test_stands_at_the_default_place_and_where_the_host_says(lab: Around) -> None:
    lab.typed("/")
    lab.typed(f"http://gru.localhost:{lab.vip.port}/")
    assert [peer for _, _, peer in lab.vip.asked] == ["127.82.1.100", "127.55.1.100"]


def test_wishes_its_place_where_the_address_cannot_be_had(lab: Around) -> None:
    lab.topology(extra="places: {gru: {prefixes: [198.51.100.0/24]}}")
    assert lab.typed("/", "--from", "gru").exit_code == 0
    assert lab.vip.asked[0][1]["cdnlab-from"] == "gru"


def test_the_mark_is_valid_for_exactly_this_request(lab: Around) -> None:
    lab.typed("/%7Ea/../?q=1", "--method", "head")
    line, fields, _ = lab.vip.asked[0]
    key = secrets.load(StateDirectory(lab.state).secrets).explain_key
    assert line == "HEAD /?q=1 HTTP/1.1"
    assert check(key, fields["cdnlab-explain"].encode(), b"HEAD", b"/?q=1", time.time())


def test_fields_can_be_added_and_replaced(lab: Around) -> None:
    lab.typed("/", "-H", "Accept: text/html", "--header", "Host: shop.test", "-H", "X-A: 1", "-X", "POST")
    fields = lab.vip.asked[0][1]
    assert (fields["accept"], fields["host"], fields["x-a"], fields["content-length"]) == (
        "text/html",
        "shop.test",
        "1",
        "0",
    )


def test_a_path_in_korean_is_encoded(lab: Around) -> None:
    lab.typed("/한국?이름=값")
    assert lab.vip.asked[0][0].startswith("GET /%ED%95%9C%EA%B5%AD?%EC%9D%B4")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("/", "--from", "xyz"), '--from xyz: there is no place "xyz"'),
        (("/", "--from", "icm"), 'did you mean "icn"'),
        (("http://gru.localhost/", "--from", "icn"), "say two places"),
        (("https://127.0.0.1/",), "the lab speaks http"),
        (("/%zz",), "RFC 3986"),
        (("/", "-H", "no colon"), "'Name: value'"),
        (("/", "-H", "Bad Name: x"), "'Name: value'"),
        (("/", "-H", "X: a\r\nY: b"), "'Name: value'"),
        (("/", "-X", "G T"), "is no method"),
    ],
)
def test_what_cannot_be_asked_is_named_with_exit_code_2(
    lab: Around, words: tuple[str, ...], told: str
) -> None:
    result = lab.typed(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert lab.vip.asked == []


# ---- what is told ----


def test_a_lab_without_a_vip_cannot_be_asked() -> None:
    edge = {"tier": "edge", "place": "icn", "address": "127.82.1.10"}
    pools = {"origins": {"backends": [{"name": "o", "address": "127.0.0.1", "port": 9}]}}
    plan = Topology.build({"nodes": {"edge-icn": edge}, "pools": pools, "vips": []})
    with pytest.raises(LabError, match="no VIP to ask"):
        build("/", "GET", (), plan, None)


def test_explains_each_station_in_order(lab: Around) -> None:
    text = lab.typed("/", "--from", "gru").stdout
    parts = [
        "from São Paulo (gru)",
        "200 OK",
        "● client",
        "● lb-a",
        "chose edge-gru",
        "passed over edge-icn: its health check fails",
        "● edge-gru",
        "miss: nothing stored",
        "on the way and in it (gru–iad",
        "● origin-1",
        "Total",
    ]
    assert [part for part in parts if part not in text] == []
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)


@pytest.mark.parametrize("columns", [80, 120])
def test_fits_the_terminal(lab: Around, columns: int) -> None:
    lines = lab.typed("/", "--direct", columns=columns).stdout.splitlines()
    assert max(map(len, lines)) <= columns


def test_an_answer_without_hops_is_said_to_be_unexplained(lab: Around) -> None:
    assert "No node explained itself" in lab.typed("/nothing-here").stdout


def test_body_goes_to_stdout_and_the_explanation_beside_it(lab: Around) -> None:
    result = lab.typed("/", "--body")
    assert result.stdout == "hello"
    assert "● lb-a" in result.stderr


def test_json_has_everything(lab: Around) -> None:
    found = json.loads(lab.typed("/", "--json", "--body", "--direct", "--from", "gru").stdout)
    assert found["request"]["source"] == "127.55.1.100"
    assert found["response"]["status"] == 200
    assert found["body"] == "hello"
    stations = {station["name"]: station for station in found["stations"]}
    assert list(stations) == ["client", "lb-a", "edge-gru", "origin-1"]
    assert stations["lb-a"]["here"] == pytest.approx(0.005)
    assert stations["edge-gru"]["way"] == pytest.approx(0.005)
    assert stations["origin-1"]["way"] == pytest.approx(0.150)
    assert stations["lb-a"]["passed"] == [
        {"name": "edge-icn", "reason": "down", "why": "its health check fails"}
    ]
    assert found["direct"]["status"] == 404


# ---- exit codes ----


def test_a_server_error_is_exit_code_1(lab: Around) -> None:
    lab.vip.answer("/x", status="503 Service Unavailable")
    assert lab.typed("/x").exit_code == 1


def test_a_client_error_is_an_answer(lab: Around) -> None:
    assert lab.typed("/nothing-here").exit_code == 0


def test_a_body_that_breaks_off_is_exit_code_1(lab: Around) -> None:
    lab.vip.answers["/cut"] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    result = lab.typed("/cut")
    assert result.exit_code == 1
    assert "closed before the body was complete" in result.stdout


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "closed before an answer came"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nA", "closed before"),
    ],
)
def test_no_answer_names_the_virtual_address(lab: Around, raw: bytes, told: str) -> None:
    lab.vip.answers["/bad"] = raw
    result = lab.typed("/bad")
    assert result.exit_code == 1
    assert f"127.0.0.1:{lab.vip.port}: " in result.stderr
    assert told in result.stderr
    assert "cdnlab status" in result.stderr


def test_nobody_at_the_virtual_address(lab: Around) -> None:
    lab.vip.shutdown()
    lab.vip.server_close()
    result = lab.typed("/")
    assert result.exit_code == 1
    assert "refused" in result.stderr


def test_no_lab_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with state_directory() as state:
        result = Typed(get.command, state, monkeypatch)("/")
    assert result.exit_code == 1
    assert "no lab is running" in result.stderr


# ---- redirects ----


def test_a_loop_over_two_pages_is_found(lab: Around) -> None:
    lab.vip.answer("/a", "Location: /b", status="302 Found")
    lab.vip.answer("/b", "Location: /a", status="302 Found")
    result = lab.typed("/a", "--json")
    found = json.loads(result.stdout)["redirect"]
    assert result.exit_code == 1
    assert found["kind"] == "loop"
    assert [url.rpartition("/")[2] for url in found["chain"]] == ["a", "b", "a"]


def test_a_redirect_that_a_cookie_ends_is_no_loop(lab: Around) -> None:
    lab.vip.answer("/in", "Location: /in", "Set-Cookie: seen=1; Path=/", status="302 Found")
    result = lab.typed("/in", "--json")
    assert lab.vip.asked[1][1]["cookie"] == "seen=1"
    assert json.loads(result.stdout)["redirect"]["kind"] == "loop"  # the cookie did not help here
    lab.vip.answer("/in", "Location: /out", "Set-Cookie: seen=1", status="302 Found")
    assert json.loads(lab.typed("/in", "--json").stdout)["redirect"]["kind"] == "within"


def test_a_redirect_past_the_lab_names_the_remedy(lab: Around) -> None:
    lab.vip.answer("/own", f"Location: http://127.0.0.1:{lab.origin.port}/login", status="302 Found")
    text = lab.typed("/own").stdout
    assert "past the lab" in text
    assert f"--origin-host 127.0.0.1:{lab.origin.port}" in text


def test_https_insisted_on_names_the_remedy(lab: Around) -> None:
    lab.vip.answer("/s", f"Location: https://127.0.0.1:{lab.vip.port}/s", status="301 Moved Permanently")
    result = lab.typed("/s")
    assert result.exit_code == 1
    assert "--forwarded-proto https" in result.stdout


def test_an_unsafe_method_is_not_sent_twice(lab: Around) -> None:
    lab.vip.answer("/form", "Location: /done", status="303 See Other")
    assert lab.typed("/form", "-X", "POST").exit_code == 0
    assert len(lab.vip.asked) == 1


# ---- without the CDN ----


def test_direct_asks_the_origin_without_our_own_fields(lab: Around) -> None:
    lab.origin.answer("/", body=b"hello")
    text = lab.typed("/", "--direct", "-H", "X-A: 1").stdout
    line, fields, _ = lab.origin.asked[0]
    assert line == "GET / HTTP/1.1"
    assert fields["x-a"] == "1"
    assert not [name for name in fields if name.startswith("cdnlab-")]
    assert "direct to origin-1" in text


def test_direct_feels_the_distance(lab: Around) -> None:
    lab.topology(distance="on", place="nrt")
    lab.origin.answer("/", body=b"hello")
    found = json.loads(lab.typed("/", "--direct", "--json").stdout)["direct"]
    assert found["round_trip"] > 0.01  # Seoul to Tokyo
    assert found["connect"] >= found["round_trip"]
    assert found["first_byte"] >= 2 * found["round_trip"]


def test_direct_tells_the_origin_the_host_it_expects(lab: Around) -> None:
    text = TOPOLOGY.replace("  origins:\n", "  origins:\n    origin_host: shop.test\n")
    StateDirectory(lab.state).topology.write_text(
        text.format(distance="off", place="iad", vip=lab.vip.port, origin=lab.origin.port, extra="")
    )
    lab.typed("/", "--direct")
    assert lab.origin.asked[0][1]["host"] == "shop.test"


def test_an_origin_that_does_not_answer_is_named(lab: Around) -> None:
    lab.origin.shutdown()
    lab.origin.server_close()
    result = lab.typed("/", "--direct")
    assert result.exit_code == 1
    assert "Direct to origin-1: " in result.stdout
    assert "200 OK" in result.stdout
