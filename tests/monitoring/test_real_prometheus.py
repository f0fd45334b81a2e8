"""A real Prometheus beside a real default lab, with clients in two cities: every rule and panel shows something, every
alert is silent while the lab is healthy, and fires after the deed that it is for.

In the order written it takes two minutes, half of it the minute of history that CdnlabHitRatioFalling needs.
Each test leaves the lab as healthy as it found it, but for the last.
"""

from __future__ import annotations

import http.client
import http.server
import itertools
import json
import re
import shutil
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from cdnlab.lab import monitor, prometheus
from cdnlab.plan.load import load
from deploy.grafana import expressions
from tests.support.labs import RunningLab, lab

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(shutil.which(prometheus.NAME) is None, reason="prometheus is not installed"),
    pytest.mark.timeout(240),
]
#: Seconds for whatever a loaded machine may be slow at; an alert fires 12 s after its deed, a fallen ratio after 30.
PATIENCE = 150.0
CLIENTS = ("127.82.1.100", "127.55.1.100")
KEPT = "/behave?size=2000&cc=max-age%3D3600"
Json = dict[str, Any]


class Clients:
    """A client in Seoul and one in São Paulo, each with ten requests a second, of which one is a miss.

    While `spoiled`, each request is for something that may not be stored. `statuses` are those of all answers.
    """

    def __init__(self, port: int) -> None:
        self.spoiled = False
        self.statuses: set[int] = set()
        self._port = port
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(address,)) for address in CLIENTS]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, address: str) -> None:
        for count in itertools.count():
            if self._ended.wait(0.1):
                return
            new = f"/behave?size={3000 + count}&cc={'no-store' if self.spoiled else 'max-age%3D3600'}"
            try:
                self._get(new if self.spoiled or count % 10 == 0 else KEPT, address)
            except (OSError, http.client.HTTPException):
                pass  # while nobody holds the VIP

    def _get(self, path: str, address: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, 2, source_address=(address, 0))
        with closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            self.statuses.add(response.status)


class Scene(NamedTuple):
    """A running lab, its Prometheus' port, and those who visit it."""

    lab: RunningLab
    port: int
    clients: Clients

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer of Prometheus' API."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.request("GET", f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
            answer = json.loads(connection.getresponse().read())
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[tuple[Json, float]]:
        """(labels, value) of each series, NaN left out."""
        found = [
            (row["metric"], float(row["value"][1])) for row in self.ask("query", query=expression)["result"]
        ]
        return [(labels, value) for labels, value in found if value == value]

    def firing(self) -> dict[str, list[Json]]:
        """The alerts that fire now, by name."""
        found: dict[str, list[Json]] = {}
        for alert in self.ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found

    def until(self, condition: Callable[[], Any], what: Callable[[], object] | str) -> Any:
        """The condition's first true value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not in time: {what if isinstance(what, str) else what()}"
            time.sleep(0.25)
        return value

    def until_firing(self, *names: str) -> dict[str, list[Json]]:
        """The firing alerts once these are among them."""
        found: dict[str, list[Json]] = self.until(
            lambda: (now := self.firing()).keys() >= {*names} and now, lambda: f"{names} in {self.firing()}"
        )
        return found

    def until_well(self) -> None:
        """Until no alert fires."""
        self.until(lambda: not self.firing(), lambda: f"silence in {self.firing()}")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with lab("--prometheus", module="cdnlab", topology=None, CDNLAB_SCRAPE_INTERVAL="1s") as running:
        running.ready()
        with Clients(running.base) as clients:
            port = running.base + prometheus.OFFSET
            made = Scene(running, port, clients)
            made.until(lambda: running.ask("/lab")["prometheus"]["state"] == "up", "Prometheus")
            made.until(lambda: made.query("up"), "the first scrape")
            yield made


def rules(file: str, key: str) -> dict[str, str]:
    """Each rule's expression by its name."""
    groups = yaml.safe_load((monitor.RULES / file).read_text())["groups"]
    return {rule[key]: rule["expr"] for group in groups for rule in group["rules"]}


def test_every_target_is_up_under_its_labels(scene: Scene) -> None:
    expected = [group["labels"] for group in monitor.targets(load(None))]

    def up() -> list[Json]:
        return [target for target in scene.ask("targets")["activeTargets"] if target["health"] == "up"]

    scene.until(lambda: len(up()) == len(expected), lambda: f"{len(expected)} targets up in {up()}")
    ours = [
        {name: text for name, text in target["labels"].items() if name not in ("job", "instance")}
        for target in up()
    ]
    assert sorted(ours, key=lambda labels: labels["node"]) == sorted(
        expected, key=lambda labels: labels["node"]
    )


def test_the_failover_state_says_who_holds_the_vip(scene: Scene) -> None:
    states = {
        (labels["node"], labels["state"]): value for labels, value in scene.query("cdnlab_lb_failover_state")
    }
    assert {key for key, value in states.items() if value} == {("lb-a", "active"), ("lb-b", "backup")}
    assert len(states) == 6, "each state of each balancer has a series"
    holders = [(labels["node"], value) for labels, value in scene.query("cdnlab_lb_vip_active")]
    assert sorted(holders) == [("lb-a", 1), ("lb-b", 0)]


def test_every_rule_and_panel_shows_something_and_a_healthy_lab_raises_no_alarm(scene: Scene) -> None:
    recorded = rules("recording.yml", "record")
    asked = [*recorded.items(), *((f"the series {name}", name) for name in recorded)]
    asked += [each for each in expressions.asked() if not each[0].startswith("annotation")]
    # Some panels say `none` where nothing is counted; so their counters have to be there, at zero, themselves.
    everything = " ".join(text for _, text in (*asked, *expressions.asked()))
    asked += [(f"the metric {name}", name) for name in sorted({*re.findall(r"\bcdnlab_\w+", everything)})]
    assert len(asked) > 2 * len(recorded)
    empty = dict(asked)
    assert len(empty) == len(asked)

    def look() -> bool:
        assert scene.firing() == {}
        for where in [where for where, expression in empty.items() if scene.query(expression)]:
            del empty[where]
        return not empty

    scene.until(look, lambda: f"something in {empty}")
    assert scene.query('count_over_time(ALERTS{alertstate="firing"}[1h])') == []
    for name, expression in rules("alerts.yml", "alert").items():
        assert scene.query(expression) == [], name
    for _, expression in expressions.asked():
        scene.query(expression)  # annotations too can be asked


def test_clients_in_both_cities_are_counted(scene: Scene) -> None:
    scene.until(lambda: len(scene.query("client_place:requests:rate1m > 0")) > 1, "two places with requests")
    busy = {labels["client_place"] for labels, _ in scene.query("client_place:requests:rate1m > 0")}
    assert busy == {"icn", "gru"}
    ratios = "client_place:edge_hit_ratio_requests:rate1m"
    assert {labels["client_place"] for labels, _ in scene.query(ratios)} == busy, "nobody else has a ratio"
    assert scene.query(f"{ratios} > 0.8 < 1")
    assert scene.clients.statuses == {200}


class Claims(http.server.BaseHTTPRequestHandler):
    """The metrics of a balancer that says it holds the VIP, and does not."""

    def do_GET(self) -> None:
        body = b'cdnlab_lb_vip_active{vip="main"} 1\n'
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def impostor(targets: Path) -> Iterator[None]:
    """A third balancer among the targets, which claims the VIP."""
    before = targets.read_text()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Claims) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            group = {
                "targets": [f"127.0.0.1:{server.server_address[1]}"],
                "labels": {"node": "lb-x", "tier": "lb"},
            }
            replaced(targets, json.dumps([*json.loads(before), group]))
            yield
        finally:
            replaced(targets, before)
            server.shutdown()
            thread.join()


def replaced(file: Path, text: str) -> None:
    made = file.with_suffix(".new")
    made.write_text(text)
    made.rename(file)


@contextmanager
def killed(scene: Scene, *names: str) -> Iterator[None]:
    """Nodes that are dead meanwhile."""
    try:
        for name in names:
            scene.lab.ask("/kill", node=name)
        yield
    finally:
        for name in names:
            scene.lab.ask("/start", node=name)


def test_a_dead_edge_a_dead_store_and_two_holders_are_told_at_once(scene: Scene) -> None:
    scene.until_well()
    targets = scene.lab.directory / "prometheus" / "targets.json"
    with impostor(targets), killed(scene, "edge-syd", "store"):
        names = {"CdnlabNodeDown", "CdnlabStoreLost", "CdnlabTwoActiveBalancers"}
        found = scene.until_firing(*names)
        assert found.keys() == names
        (down,), (lost,), (two,) = (found[name] for name in sorted(names))
        assert down["labels"]["node"] == "edge-syd"
        assert down["labels"]["place"] == "syd"
        assert down["annotations"]["summary"] == "edge-syd does not answer"
        assert "`cdnlab start edge-syd`" in down["annotations"]["description"]
        assert lost["annotations"]["summary"] == "9 nodes do not reach the store"
        assert two["annotations"]["summary"] == "2 balancers hold the VIP main"
    scene.until_well()


def test_nobody_holds_the_vip_once_both_balancers_are_dead(scene: Scene) -> None:
    scene.until_well()
    with killed(scene, "lb-a", "lb-b"):
        found = scene.until_firing("CdnlabNoActiveBalancer", "CdnlabNodeDown")
        assert found.keys() == {"CdnlabNoActiveBalancer", "CdnlabNodeDown"}
        (nobody,) = found["CdnlabNoActiveBalancer"]
        assert nobody["annotations"]["summary"] == "Nobody holds the VIP"
        assert nobody["labels"]["severity"] == "critical"
    scene.until_well()


def test_the_hit_ratio_falls_once_nothing_may_be_stored(scene: Scene) -> None:
    before = "cdnlab:edge_hit_ratio_requests:rate10m_offset1m > 0.8"
    scene.until(lambda: scene.query(before), "a minute of history")
    scene.until_well()
    scene.clients.spoiled = True
    try:
        found = scene.until_firing("CdnlabHitRatioFalling")
    finally:
        scene.clients.spoiled = False
    assert found.keys() == {"CdnlabHitRatioFalling"}
    (falling,) = found["CdnlabHitRatioFalling"]
    assert falling["annotations"]["summary"].startswith("The hit ratio fell by ")
    assert "% of all requests" in falling["annotations"]["summary"]
