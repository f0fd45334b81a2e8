"""The real lab: the shipped topology, real tiers, real clients."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.labs import RunningLab, lab, until

SEOUL = "127.82.1.100"


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab", topology=None) as started:
        yield started.ready()


def fields(running: RunningLab, path: str = "/", client: str = SEOUL) -> dict[str, str]:
    """The fields of a GET's answer through the VIP, which must be a 200."""
    connection = http.client.HTTPConnection("127.0.0.1", running.base, 15, source_address=(client, 0))
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        return {name.lower(): value for name, value in response.getheaders()}


def holder(running: RunningLab) -> str | None:
    """The balancer that says it holds the VIP."""
    nodes = running.ask("/status")["nodes"]
    return next(
        (node["name"] for node in nodes for vip in node.get("vips", []) if vip["state"] == "active"), None
    )


def test_a_client_in_seoul_is_served_by_seoul_and_then_from_its_cache(running: RunningLab) -> None:
    first, second = fields(running, "/?once"), fields(running, "/?once")
    assert re.fullmatch(r"1\.1 edge-icn, 1\.1 lb-[ab]", first["via"])
    assert first["cache-status"].startswith("edge-icn; fwd=")
    assert second["cache-status"].startswith("edge-icn; hit")


def test_status_shows_every_node_and_one_holder(running: RunningLab) -> None:
    nodes = running.ask("/status")["nodes"]
    assert len(nodes) == 10
    assert {node["state"] for node in nodes} == {"ready"}
    assert until(lambda: holder(running), "a holder") in ("lb-a", "lb-b")


@pytest.mark.parametrize(("end", "mend"), [("kill", "start"), ("pause", "resume")])
def test_the_standby_takes_over_within_two_seconds(running: RunningLab, end: str, mend: str) -> None:
    fields(running)
    active = until(lambda: holder(running), "a holder")
    assert running.ask(f"/{end}", node=active)
    began = time.monotonic()
    via = fields(running)["via"]
    assert time.monotonic() - began < 2
    assert active not in via
    running.ask(f"/{mend}", node=active)


def test_without_the_store_the_holder_keeps_the_vip(running: RunningLab) -> None:
    fields(running)
    active = until(lambda: holder(running), "a holder")
    running.ask("/kill", node="store")
    began = time.monotonic()
    while time.monotonic() - began < 2.5:  # longer than a lease: the time itself is what is tested
        assert fields(running)["via"].endswith(active)
        time.sleep(0.1)
    running.ask("/start", node="store")


def test_a_dead_edge_is_passed_over_for_the_next_nearest(running: RunningLab) -> None:
    running.ask("/kill", node="edge-icn")
    assert "edge-nrt" in fields(running)["via"]
    running.ask("/start", node="edge-icn")
    until(lambda: "edge-icn" in fields(running)["via"], "the edge's return")


def test_a_node_imports_nothing_after_the_fork() -> None:
    """What the nursery forgot to import, every node pays for, on two cores."""
    with lab("--distance", "off", module="tests.support.telling_tiers", topology=None) as running:
        fields(running.ready())
        running.ask("/status")
        for log in (running.directory / "logs").glob("*.log"):
            imported = re.findall(r"^imports (\S+)", log.read_text(), re.MULTILINE)
            assert imported == [], log.name


@contextmanager
def application() -> Iterator[int]:
    """Somebody's own application, which tells what it was asked."""

    class App(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), App)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_application_of_ones_own() -> None:
    """From the command to the first answer through the VIP, which also has a budget: generous, for loaded machines."""
    with application() as port:
        url = f"http://127.0.0.1:{port}"
        words = (
            "--origin",
            url,
            "--origin-host",
            "app.example",
            "--forwarded-proto",
            "https",
            "--distance",
            "off",
        )
        with lab(*words, module="cdnlab", topology=None) as running:
            began = time.monotonic()
            running.ready()
            status, body = running.get("/", SEOUL)
            assert time.monotonic() - began < 20
            assert status == 200
            asked = json.loads(body)
            assert (asked["host"], asked["x-forwarded-proto"]) == ("app.example", "https")
            assert [node["name"] for node in running.ask("/lab")["nodes"] if node["tier"] == "origin"] == []
