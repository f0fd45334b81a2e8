"""What the nodes of a running lab expose, judged by Prometheus's own checker, and counted by Prometheus itself."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.labs import ROOT, RunningLab, until

pytestmark = pytest.mark.peers
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
NODES = ("lb-a", "lb-b", "edge-icn", "edge-gru", "origin-1")
SERIES = (
    "cdnlab_edge_requests_total",
    "cdnlab_edge_response_bytes_total",
    "cdnlab_edge_request_duration_seconds",
)


def exposed(address: str, path: str = "/metrics") -> str:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize("name", NODES)
def test_promtool_has_nothing_to_say(running: RunningLab, name: str) -> None:
    assert PROMTOOL is not None
    assert running.get("/", "127.82.1.100")[0] == 200
    text = exposed(running.node(name)["admin"])
    checked = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    if name.startswith("edge"):
        assert [series for series in SERIES if f"# TYPE {series}" not in text] == []


def expressions() -> tuple[str, str]:
    """The documentation's hit ratio by request and by byte."""
    block = (ROOT / "docs" / "metrics.md").read_text().partition("```promql\n")[2].partition("```")[0]
    by_request, by_byte = block.strip().splitlines()
    return by_request, by_byte


class Prometheus:
    """A Prometheus that scrapes the edges four times a second, each series since it saw it at zero."""

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"

    def value(self, expression: str) -> float | None:
        """The expression's one value now; None if it has none."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            result = json.loads(exposed(self._address, f"/api/v1/query?{query}"))["data"]["result"]
        except (OSError, ValueError, http.client.HTTPException):  # it says Service Unavailable until it is up
            return None
        return float(result[0]["value"][1]) if result else None


@pytest.fixture
def prometheus(running: RunningLab, tmp_path: Path) -> Iterator[Prometheus]:
    if PROMETHEUS is None:
        pytest.skip("prometheus is not installed")
    edges = [node["admin"] for node in running.ask("/lab")["nodes"] if node["tier"] == "edge"]
    targets = [{"job_name": "edges", "static_configs": [{"targets": edges}]}]
    file, port = tmp_path / "prometheus.yml", running.base + 3
    file.write_text(
        json.dumps(
            {"global": {"scrape_interval": "250ms", "scrape_timeout": "250ms"}, "scrape_configs": targets}
        )
    )
    words = [PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    process = subprocess.Popen(
        [*words, f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Prometheus(port)
    finally:
        process.kill()
        process.wait()


def ask(running: RunningLab, path: str, client: str) -> tuple[bool, int]:
    """(whether Cache-Status says hit, bytes of the body) of one GET through the VIP."""
    connection = http.client.HTTPConnection("127.0.0.1", running.base, 10, source_address=(client, 0))
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        size = len(response.read())
        return "; hit" in (response.getheader("Cache-Status") or ""), size


#: rate() extrapolates to the window's edges, for each series a little differently.
ALIKE = 0.03


def test_the_documented_hit_ratio_is_what_clients_count(running: RunningLab, prometheus: Prometheus) -> None:
    by_request, by_byte = expressions()
    scraped = 'count(count_over_time(cdnlab_edge_requests_total{result="hit",client_place="icn"}[5m]) > 1)'
    until(lambda: prometheus.value(scraped) == 6, "two scrapes of each edge")
    total = "sum(cdnlab_edge_requests_total)"
    before = prometheus.value(total)
    assert before is not None
    answers = [
        ask(running, f"/behave?size={size}&cc=max-age%3D600", client)
        for client in ("127.82.1.100", "127.55.1.100")
        for size in (1000, 20000, 1000, 1000, 20000, 300)
    ]
    until(lambda: prometheus.value(total) == before + len(answers), "the last request's scrape")
    hits = sum(hit for hit, _ in answers)
    assert hits == 6
    assert prometheus.value(by_request) == pytest.approx(hits / len(answers), abs=ALIKE)
    hit_bytes, all_bytes = sum(size for hit, size in answers if hit), sum(size for _, size in answers)
    assert prometheus.value(by_byte) == pytest.approx(hit_bytes / all_bytes, abs=ALIKE)
