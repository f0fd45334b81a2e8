"""One edge with its admin API, before an nginx that answers small bodies, and what this edge says of itself.

Decides how the two are started, and what is read from the admin API. It must not know what is measured with them.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.cost import family, waited_seconds
from bench.peers import Site, small_upstream_command
from bench.programs import NotStarted, find_program, free_port, running, wait_for_answer

PATH = "/o/"
#: Bytes of the body of each object: below those that are worth a compressed form.
BODY = 100
#: What the storage may take for an object, generously: nothing is to be evicted.
_EACH = 2048
_STALLS = "cdnlab_loop_stall_seconds"
#: What a stall is to the edge's meter, in seconds: it sees none that is shorter.
STALL = 0.005


@dataclass(frozen=True)
class Alone:
    """A running edge. `pids`: its processes; `upstream`: its origin's."""

    port: int
    admin: int
    token: str
    pids: list[int]
    upstream: list[int]

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """What the admin API answers; NotStarted if that is no 2xx."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=30)
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with closing(connection):
            connection.request(method, path, json.dumps(body) if body is not None else None, fields)
            response = connection.getresponse()
            answer = response.read()
        if response.status >= 300:
            raise NotStarted(f"the edge answered {response.status} to {path}: {answer[:200]!r}")
        return answer

    def storage(self) -> dict[str, Any]:
        """What /status says of the storage."""
        found: dict[str, Any] = json.loads(self.ask("GET", "/status"))["storage"]
        return found

    def stalls(self) -> Stalls:
        """The stalls of its loop since it started."""
        return parse_stalls(self.ask("GET", "/metrics").decode(), waited_seconds(self.pids[0]))


@dataclass(frozen=True)
class Stalls:
    """The histogram of a loop's stalls: how many, their sum in seconds, and how many up to each bound.

    `waited`: seconds for which others had its core; its clock can't tell them from a stall.
    """

    count: float
    seconds: float
    up_to: Mapping[float, float]
    waited: float

    def longest_since(self, earlier: Stalls) -> float:
        """The longest between two readings, in seconds; STALL where there was none.

        Never less than it was: the bound of the bucket in which it lies, or the sum of all, if that is less.
        """
        count = self.count - earlier.count
        if not count:
            return STALL
        bounds = [bound for bound in self.up_to if self.up_to[bound] - earlier.up_to.get(bound, 0.0) >= count]
        return max(STALL, min([*bounds, self.seconds - earlier.seconds]))

    def complaint_since(self, earlier: Stalls) -> str | None:
        """What makes the longest since then worthless, if anything does."""
        waited, count = self.waited - earlier.waited, self.count - earlier.count
        if count and waited > STALL:
            return f"of {count:.0f} stalls some may be others': it waited {waited * 1e3:.0f} ms in all for its core"
        return None


def parse_stalls(metrics: str, waited: float) -> Stalls:
    """From the text of /metrics. NotStarted if it is not there."""
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith(_STALLS))
    bucket = _STALLS + '_bucket{le="'
    try:
        return Stalls(
            float(values[_STALLS + "_count"]),
            float(values[_STALLS + "_sum"]),
            {
                float(name[len(bucket) : -2]): float(value)
                for name, value in values.items()
                if name.startswith(bucket)
            },
            waited,
        )
    except KeyError as missing:
        raise NotStarted(f"the edge's metrics have no {missing}") from None


def longest_stall(edge: Alone, earlier: Stalls, complain: Callable[[str], None]) -> float:
    """The longest stall since a reading, in seconds; `complain` is told what makes it worthless."""
    later = edge.stalls()
    complaint = later.complaint_since(earlier)
    if complaint is not None:
        complain(complaint)
    return later.longest_since(earlier)


@contextmanager
def edge_alone(directory: Path, cores: tuple[int, int], objects: int, tag: str = "") -> Iterator[Alone]:
    """An edge on the servers' core with room for `objects`, which all bear `tag`; all else at its defaults."""
    if not find_program("nginx"):
        raise NotStarted("nginx is not installed")
    origin = Site(directory / "origin", free_port(), 0, large=False)
    origin.directory.mkdir()
    port, admin, state, log = free_port(), free_port(), directory / "state", directory / "log"
    words = [sys.executable, "-m", "edge", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    words += ["--origin", f"http://127.0.0.1:{origin.port}", "--state", str(state)]
    words += ["--memory", str(objects * _EACH + (64 << 20))]
    answers = small_upstream_command(origin, PATH, BODY, tag)
    with running(answers, cores[1:], origin.directory / "log") as upstream:
        wait_for_answer(upstream, origin.port, PATH, origin.directory / "log")
        with running(words, cores[:1], log) as edge:
            wait_for_answer(edge, port, PATH, log)
            token = (state / "secrets" / "admin_token").read_text().strip()
            yield Alone(port, admin, token, family(edge.pid), family(upstream.pid))
