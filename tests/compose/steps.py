"""What is looked at while the lab runs in containers, one method per step, each with one line of what it saw.

The order matters: each step leaves the lab whole for the next. A step waits for a condition until a generous deadline
and never sleeps instead of one.
"""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from tests.compose.asking import Application, Clients, application, ask, hold, until
from tests.compose.engine import BUILD, Compose, run

BALANCERS = {"lb-a": 9101, "lb-b": 9111}
EDGES = tuple(f"edge-{code}" for code in ("icn", "nrt", "fra", "iad", "gru", "syd"))
NODES = (*BALANCERS, *EDGES, "origin-1", "origin-2")
#: Everything but Grafana, which nothing stands in for, and Locust, which has a profile.
SERVICES = ("vip", *NODES, "lab", "redis", "prometheus")


class Steps:
    """The steps, in a project that nothing is up of yet."""

    def __init__(self, compose: Compose, ports: Mapping[str, str]) -> None:
        self.compose = compose
        self.port = ports["CDNLAB_PORT"]
        self.tcp = int(ports["CDNLAB_TCP_PORT"])
        self.udp = int(ports["CDNLAB_UDP_PORT"])
        self.page = ports["CDNLAB_PAGE_PORT"]
        self.prometheus = ports["CDNLAB_PROMETHEUS_PORT"]
        self.locust = ports["CDNLAB_LOCUST_PORT"]

    def in_order(self) -> Iterator[Callable[[], str]]:
        """Each step; they are run one after another."""
        yield self.up
        yield self.healthy
        yield self.confined
        yield self.page_and_hit
        yield self.client_in_gru
        yield self.by_host_name
        yield self.layer_4
        yield self.commands
        yield self.words_for_orders
        yield self.targets
        yield self.rules
        yield self.dead_edge
        yield self.killed_balancer
        yield self.paused_balancer
        yield self.without_store
        yield self.load
        yield self.own_application
        yield self.silent_application
        yield self.down
        yield self.taken_port

    # -- it comes up ---------------------------------------------------------------------------------------

    def up(self) -> str:
        """Start everything but Grafana and Locust."""
        self.compose("up", "-d", *SERVICES)
        until("/ answers 200", lambda: self._status() == 200)
        return f"up: {len(SERVICES)} containers, / answers 200 through the published port {self.port}"

    def _status(self, port: str = "", place: str = "icn") -> int:
        try:
            return ask(port or self.port, fields={"Cdnlab-From": place}, timeout=5).status
        except (OSError, http.client.HTTPException):
            return 0

    def healthy(self) -> str:
        """Every container runs, and every health check is content."""

        def states() -> set[str]:
            found = self.compose.containers()
            return {found[name]["State"].get("Health", {}).get("Status", "none") for name in SERVICES}

        until("every container is healthy", lambda: states() <= {"healthy", "none"})
        return "every health check says healthy"

    def confined(self) -> str:
        """No node is root or may write, and nothing but what should be is published."""
        found = self.compose.containers()
        for name in NODES:
            hold(f"{name} runs as {found[name]['Config']['User']}", found[name]["Config"]["User"] == "cdnlab")
            hold(f"{name} may write", found[name]["HostConfig"]["ReadonlyRootfs"])
        published = {
            (binding["HostIp"], name)
            for name, each in found.items()
            for bindings in each["NetworkSettings"]["Ports"].values()
            for binding in bindings or ()
        }
        hold(f"published: {published}", published == {("127.0.0.1", s) for s in ("vip", "lab", "prometheus")})
        return (
            "nodes are not root and write nowhere; VIP, page and Prometheus are published, on 127.0.0.1 only"
        )

    # -- what a client sees --------------------------------------------------------------------------------

    def page_and_hit(self) -> str:
        """The published port's client stands at the default place, and the second request is a hit."""
        first = ask(self.port)
        hold(f"/ answers {first.status}", first.status == 200)
        hold(f"Via: {first.field('Via')}", "edge-icn" in first.field("Via"))
        hold(f"Cdnlab-Place: {first.field('Cdnlab-Place')}", first.field("Cdnlab-Place") == "icn")
        second = ask(self.port)
        said = second.field("Cache-Status")
        hold(f"Cache-Status of the second request: {said}", said.startswith("edge-icn; hit"))
        return f"second request: Cache-Status: {said}"

    def client_in_gru(self) -> str:
        """A container on a region's network is a client there, by its address alone."""
        code = "import urllib.request as u; print(u.urlopen('http://vip:8080/', timeout=20).headers)"
        network = f"{self.compose.project}_gru"
        words = (
            "docker",
            "run",
            "--rm",
            "--network",
            network,
            "--entrypoint",
            "python3",
            "cdnlab:node",
            "-c",
            code,
        )
        said = run(*words).stdout
        hold(f"a container on {network} got:\n{said}", "Cdnlab-Place: gru" in said and "edge-gru" in said)
        return f"a container on {network} stands in gru, and edge-gru answers it"

    def by_host_name(self) -> str:
        """syd.localhost is in Sydney."""
        answer = ask(self.port, fields={"Host": f"syd.localhost:{self.port}"})
        hold(f"Via: {answer.field('Via')}", answer.status == 200 and "edge-syd" in answer.field("Via"))
        return f"Host syd.localhost: Via: {answer.field('Via')}"

    def layer_4(self) -> str:
        """Bytes and datagrams reach an origin through the published ports, and come back."""
        with socket.create_connection(("127.0.0.1", self.tcp), 10) as tcp:
            tcp.sendall(b"over tcp\n")
            tcp.shutdown(socket.SHUT_WR)
            said = tcp.makefile("rb").read().decode()
        hold(f"TCP: {said!r}", said.startswith("from 198.1") and said.endswith("over tcp\n"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(10)
            udp.connect(("127.0.0.1", self.udp))
            udp.send(b"over udp")
            answer = udp.recv(2048).decode()
        hold(f"UDP: {answer!r}", answer.startswith("from 198.1") and answer.endswith("over udp"))
        return f"layer 4: TCP said {said.splitlines()[0]!r}, UDP {answer.splitlines()[0]!r}"

    # -- the commands --------------------------------------------------------------------------------------

    def commands(self) -> str:
        """The lab's commands work in its container, and its page from outside."""
        cdnlab = ("lab", "cdnlab")
        until("status shows ten nodes ready", lambda: self._ready() == 10)
        got = self.compose.exec(*cdnlab, "get", "/", "--from", "gru")
        hold(f"get: {got}", "edge-gru" in got and "HTTP/1.1 200" in got)
        log = self.compose.exec(*cdnlab, "log", "edge-icn")
        hold(f"log: {log}", "GET /" in log)
        events = self.compose.exec(*cdnlab, "events")
        hold(f"events: {events}", "lb-a" in events)
        hold("the page does not answer", ask(self.page).status == 200)
        return "compose exec lab cdnlab status|get|log|events answer, and the page does"

    def _ready(self) -> int:
        return sum(each["state"] == "ready" for each in self._said()["nodes"])

    def _said(self) -> Any:
        return json.loads(self.compose.exec("lab", "cdnlab", "status", "--json"))

    def words_for_orders(self) -> str:
        """What the lab cannot do itself, it names the command for."""
        done = self.compose("exec", "-T", "lab", "cdnlab", "kill", "lb-a", check=False)
        said = (done.stdout + done.stderr).strip()
        hold(
            f"kill: exit code {done.returncode}: {said}",
            done.returncode and "docker compose kill lb-a" in said,
        )
        return f"cdnlab kill lb-a: {' '.join(said.split())}"

    # -- Prometheus ----------------------------------------------------------------------------------------

    def _api(self, path: str, **query: str) -> Any:
        try:
            answer = ask(self.prometheus, f"/api/v1/{path}?{urlencode(query)}")
        except (OSError, http.client.HTTPException):
            return None
        return answer.json()["data"] if answer.status == 200 else None

    def _health(self) -> dict[str, str]:
        data = self._api("targets") or {"activeTargets": []}
        return {each["labels"]["node"]: each["health"] for each in data["activeTargets"]}

    def targets(self) -> str:
        """Prometheus scrapes every node."""
        until("every target is up", lambda: self._health() == dict.fromkeys(NODES, "up"))
        return f"Prometheus: {len(NODES)} targets, all up"

    def rules(self) -> str:
        """The rules are loaded and can be evaluated, and no alert is up."""

        def rules() -> list[dict[str, Any]]:
            groups = (self._api("rules") or {"groups": []})["groups"]
            return [rule for group in groups for rule in group["rules"]]

        until("every rule was evaluated", lambda: rules() and all(each["health"] == "ok" for each in rules()))
        ratio = {"query": "cdnlab:edge_hit_ratio_requests:rate1m"}
        until("there is a hit ratio", lambda: (self._api("query", **ratio) or {}).get("result"))
        return f"Prometheus: {len(rules())} rules, none in error; the hit ratio has data"

    def dead_edge(self) -> str:
        """A dead edge's target is down, its clients go to the next one, and it comes back."""
        self.compose("kill", "edge-gru")
        until("its target is down", lambda: self._health().get("edge-gru") == "down")
        others = until("gru gets a page", lambda: self._status(place="gru") == 200 and self._via("gru"))
        hold(f"Via without edge-gru: {others}", "edge-gru" not in others)
        self.compose("start", "edge-gru")
        until("edge-gru serves again", lambda: "edge-gru" in self._via("gru"))
        return f"kill edge-gru: its target is down, Via in gru: {others}; started again, it serves"

    def _via(self, place: str) -> str:
        try:
            return ask(self.port, fields={"Cdnlab-From": place}).field("Via")
        except (OSError, http.client.HTTPException):
            return ""

    # -- failover ------------------------------------------------------------------------------------------

    def _active(self) -> list[str]:
        """The balancers that say they hold the VIP, where all of them say something; else nothing."""
        networks = self.compose.containers()["vip"]["NetworkSettings"]["Networks"]
        front = networks[f"{self.compose.project}_front"]["IPAddress"]
        code = (
            "import urllib.request as u\n"
            f"for name, port in {BALANCERS!r}.items():\n"
            f"    page = u.urlopen(f'http://{front}:{{port}}/metrics', timeout=3).read().decode()\n"
            "    print(name, *(x.split()[-1] for x in page.splitlines() if x.startswith('cdnlab_lb_vip_active')))\n"
        )
        done = self.compose("exec", "-T", "vip", "python3", "-c", code, check=False)
        said = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
        return [name for name, value in said.items() if float(value)] if len(said) == len(BALANCERS) else []

    def _fails_over(self, order: str) -> tuple[str, str]:
        """Give the order for the active balancer; its name, and what clients noticed until the other one served."""
        (active,) = until("one balancer is active", lambda: len(found := self._active()) == 1 and found)
        clients = Clients(self.port)
        clients.start()
        until("clients are answered", lambda: len(clients.answered) > 10)
        self.compose(order, active)
        until(
            f"the other balancer serves after {order} {active}",
            lambda: len(set(clients.balancers[-20:])) == 1 and clients.balancers[-1] not in (active, ""),
        )
        return active, clients.end()

    def _one_again(self) -> None:
        until("both balancers answer, and one is active", lambda: len(self._active()) == 1)
        for _ in range(20):
            answer = ask(self.port)
            hold(f"/ answers {answer.status}", answer.status == 200)

    def killed_balancer(self) -> str:
        """The other one takes over from a dead one, which comes back as backup."""
        active, noticed = self._fails_over("kill")
        self.compose("start", active)
        self._one_again()
        return f"kill {active}: {noticed}; started again, one is active"

    def paused_balancer(self) -> str:
        """The other one takes over from a frozen one, which answers nothing when it thaws."""
        active, noticed = self._fails_over("pause")
        self.compose("unpause", active)
        self._one_again()
        return f"pause {active}: {noticed}; unpaused, one is active"

    def without_store(self) -> str:
        """Without redis whoever holds the VIP keeps it, and requests do not notice."""
        self.compose("kill", "redis")
        clients = Clients(self.port)
        clients.start()
        until("the lab says that the store is away", lambda: self._store() != "up")
        until("clients are answered", lambda: len(clients.answered) > 100)
        noticed = clients.end()
        hold(f"without redis: {noticed}", clients.failed == 0)
        self.compose("start", "redis")
        until("the store is there again", lambda: self._store() == "up")
        self._one_again()
        return f"kill redis: {noticed}; started again, the store is up"

    def _store(self) -> str:
        return str(self._said()["lab"]["store"]["state"])

    # -- load ----------------------------------------------------------------------------------------------

    def load(self) -> str:
        """The profile `load` opens Locust's page, and its users stand in places."""
        self.compose("up", "-d", "locust", timeout=BUILD, COMPOSE_PROFILES="load")
        until("Locust's page answers", lambda: self._status(self.locust) == 200)
        words = ("run", "--rm", "-T", "locust", "--headless", "--run-time", "5s", "--exit-code-on-error", "1")
        done = self.compose(*words, COMPOSE_PROFILES="load")
        said = done.stdout + done.stderr
        (total,) = [line.split() for line in said.splitlines() if line.startswith("all ")] or [[]]
        hold(f"Locust's line for all places is {total}: {said}", len(total) > 3 and int(total[2]) > 0)
        hold(f"Locust counts {total[3]} failures: {said}", total[3] == "0")
        self.compose("rm", "-sf", "locust", COMPOSE_PROFILES="load")
        return (
            f"Locust's page answers; five seconds without it: {total[1]} users, {total[2]} requests, 0 failed"
        )

    # -- somebody's application ----------------------------------------------------------------------------

    def own_application(self) -> str:
        """ORIGIN_URL puts an application on this machine behind the lab."""
        with application() as port:
            url = f"http://host.docker.internal:{port}"
            self.compose("up", "-d", *SERVICES, ORIGIN_URL=url)
            body = Application.BODY.decode()
            until("/ is the application's", lambda: self._status() == 200 and ask(self.port).body == body)
            said = until("it is a hit", lambda: "hit" in (s := ask(self.port).field("Cache-Status")) and s)
            found = self.compose.containers()["origin-1"]["State"]
            hold(f"origin-1: {found}", not found["Running"] and found["ExitCode"] == 0)
            spoke = self.compose.logs("origin-1", lines=1).strip().splitlines()[-1].rpartition("|")[2].strip()
        return f"ORIGIN_URL={url}: it answers, then Cache-Status: {said}; origin-1 says: {spoke}"

    def silent_application(self) -> str:
        """An application that does not answer is named in one line, and / says so too."""
        with socket.create_server(("0.0.0.0", 0)) as held:
            port = held.getsockname()[1]
        self.compose("up", "-d", *SERVICES, ORIGIN_URL=f"http://host.docker.internal:{port}")
        # 503 once the checks have found it down, which they may have by the first request
        until("/ answers 502, 503 or 504", lambda: self._status() in (502, 503, 504))

        def said() -> str:
            lines = self.compose.logs("lab", lines=200).splitlines()
            return next((line for line in lines if "does not answer" in line), "")

        line = until("the lab names the application", said)
        return f"/ answers {self._status()}, and the lab says: {line.partition('|')[2].strip()}"

    # -- the end -------------------------------------------------------------------------------------------

    def down(self) -> str:
        """`down` ends all of it, without waiting for anybody's patience."""
        began = time.monotonic()
        self.compose("down", "--volumes")
        left = self.compose.remains()
        hold(f"after down, still there: {left}", not left)
        return f"down takes {time.monotonic() - began:.1f} s"

    def taken_port(self) -> str:
        """Somebody else's port: Compose names it."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            done = self.compose("up", "-d", "vip", check=False, CDNLAB_PORT=port)
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if port in line]
        hold(
            f"a taken port: exit code {done.returncode}: {done.stdout}{done.stderr}",
            done.returncode and lines,
        )
        return f"CDNLAB_PORT={port} is taken: {lines[-1]}"
