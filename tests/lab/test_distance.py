"""Distance in a real lab, before an origin that isn't ours: a miss costs the way there, a long body the window."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cdnlab.world.distance import round_trip
from cdnlab.world.places import PLACES
from cdnlab.world.schedule import WINDOW
from tests.support.labs import RunningLab, lab

SAO_PAULO = "127.55.1.100"
WAY = round_trip(PLACES["gru"], PLACES["iad"])


class Application(BaseHTTPRequestHandler):
    """/SIZE is a body of that many bytes, good for a minute."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = bytes(int(self.path.partition("?")[0].strip("/") or 0))
        self.send_response(200)
        self.send_header("Cache-Control", "max-age=60")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Application) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}"
        with lab("--origin", origin, module="cdnlab", topology=None) as started:
            yield started.ready()
        server.shutdown()


def get(running: RunningLab, path: str) -> tuple[float, str]:
    """Seconds and Cache-Status of a GET by a client in São Paulo."""
    begun = time.monotonic()
    with closing(
        http.client.HTTPConnection("127.0.0.1", running.base, 30, source_address=(SAO_PAULO, 0))
    ) as client:
        client.request("GET", path)
        response = client.getresponse()
        response.read()
        assert response.status == 200
        return time.monotonic() - begun, response.headers["Cache-Status"]


def test_a_miss_from_gru_costs_the_round_trip_to_iad_more_than_a_hit(running: RunningLab) -> None:
    assert WAY > 0.07
    for number in range(3):  # over a new connection, and over one that was kept
        missed, how = get(running, f"/10?{number}")
        assert how.startswith("edge-gru; fwd=uri-miss")
        hit, how = min(get(running, f"/10?{number}") for _ in range(3))
        assert how.startswith("edge-gru; hit")
        assert missed - hit >= WAY


def test_a_long_body_takes_a_round_trip_for_each_window(running: RunningLab) -> None:
    windows = 8
    seconds, how = get(running, f"/{windows * WINDOW}")
    assert how.startswith("edge-gru; fwd=uri-miss")
    assert seconds >= windows * WAY
