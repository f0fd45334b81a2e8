"""README's expressions for the hit ratio, held to what clients of a real lab count."""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.labs import ROOT, RunningLab, lab

PLACES = {"icn": "127.82.1.100", "fra": "127.49.1.100"}
PROMTOOL = shutil.which("promtool")

Labels = Mapping[str, str]
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Side(NamedTuple):
    """One side of a ratio: the sum of a counter's increase, over the series that match, by a label or over all."""

    name: str
    wanted: Labels
    by: str | None

    def value(self, increase: Series) -> dict[str, float]:
        """The sums, by the value of `by`; under "" without one."""
        sums: dict[str, float] = defaultdict(float)
        for (name, pairs), rise in increase.items():
            labels = dict(pairs)
            if name == self.name and self.wanted.items() <= labels.items():
                sums[labels[self.by] if self.by else ""] += rise
        return dict(sums)


SIDE = re.compile(
    r"sum(?: by \((?P<by>\w+)\))? ?\(rate\((?P<name>\w+)(?:\{(?P<filters>[^}]*)\})?\[5m\]\)\)", re.ASCII
)


def expressions(page: str = "README.md") -> list[str]:
    """The page's PromQL, one expression a block or a line, white space made even."""
    blocks = re.findall(r"```promql\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r"\n\s+", " ", block).splitlines()]
    return [" ".join(line.split()) for line in lines]


def ratio(expression: str) -> tuple[Side, Side]:
    """An expression's two sides; whatever else it may hold fails here."""
    found = list(SIDE.finditer(expression))
    assert " / ".join(match[0] for match in found) == expression
    upper, lower = (
        Side(match["name"], dict(re.findall(r'(\w+)="([^"]*)"', match["filters"] or "")), match["by"])
        for match in found
    )
    return upper, lower


class Answer(NamedTuple):
    """What one client saw: where it stood, whether an edge answered and called it a hit, bytes of the body."""

    place: str
    by_edge: bool
    hit: bool
    size: int


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab("--distance", "off", module="cdnlab") as started:
        yield started.ready()


def ask(running: RunningLab, place: str, path: str, method: str = "GET", **fields: str) -> Answer:
    source = (PLACES[place], 0)
    with closing(
        http.client.HTTPConnection("127.0.0.1", running.base, 15, source_address=source)
    ) as connection:
        connection.request(
            method, path, headers={name.replace("_", "-"): text for name, text in fields.items()}
        )
        response = connection.getresponse()
        body = response.read()
    status, via = response.getheader("Cache-Status") or "", response.getheader("Via") or ""
    return Answer(place, "edge-" in via, re.search(r"edge-\w+; hit\b", status) is not None, len(body))


def scrape(running: RunningLab) -> Series:
    """All samples of all edges, those of one name and labels added up."""
    found: Series = defaultdict(float)
    for node in running.ask("/lab")["nodes"]:
        if node["tier"] == "edge":
            host, _, port = node["admin"].rpartition(":")
            with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
                connection.request("GET", "/metrics")
                text = connection.getresponse().read().decode()
            for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
                found[name, tuple(re.findall(r'(\w+)="([^"]*)"', labels))] += float(value)
    return found


def visit(running: RunningLab) -> Iterator[Answer]:
    """A mix of requests from two places, with every kind of answer that an edge gives, and one that it does not."""
    fresh = "/behave?size=3000&cc=max-age%3D600&etag=%22a%22"
    for place, times in (("icn", 5), ("fra", 2)):
        for _ in range(times):
            yield ask(running, place, fresh)
    yield ask(running, "icn", fresh, "HEAD")
    yield ask(running, "icn", fresh, Range="bytes=0-99")
    yield ask(running, "fra", fresh, If_None_Match='"a"')
    for _ in range(2):
        yield ask(
            running, "icn", "/behave?size=700&cc=no-cache&etag=%22b%22"
        )  # a miss, then confirmed with 304
        yield ask(running, "fra", "/behave?size=500&cc=private")
    yield ask(running, "fra", "/behave?size=400&cc=no-store", "POST")
    yield ask(running, "fra", "/behave?size=100&status=503&cc=no-store")
    yield ask(running, "fra", "/behave?size=9", Cache_Control="only-if-cached")  # the edge's own 504
    yield ask(running, "icn", fresh, "TRACE")  # the balancer's own 405: no edge has seen it
    running.ask("/kill", node="origin-1")
    yield ask(running, "icn", "/behave?size=10")
    yield ask(running, "icn", fresh)


def counted(answers: list[Answer], *, size: bool, place: str | None) -> float:
    """The hit ratio as a client counts it, by request or by byte, of one place or of all."""
    mine = [each for each in answers if each.by_edge and place in (None, each.place)]
    total = sum(each.size if size else 1 for each in mine)
    return sum(each.size if size else 1 for each in mine if each.hit) / total


def test_the_hit_ratio_is_what_clients_count(running: RunningLab) -> None:
    before = scrape(running)
    answers = list(visit(running))
    after = scrape(running)
    increase = {key: value - before[key] for key, value in after.items()}
    assert {each.place for each in answers if each.hit} == set(PLACES)
    assert [each.by_edge for each in answers].count(False) == 1

    found = [ratio(expression) for expression in expressions()]
    assert [("bytes" in upper.name, upper.by) for upper, _ in found] == [
        (False, None),
        (True, None),
        (False, "client_place"),
    ]
    for upper, lower in found:
        assert upper.by == lower.by
        hits, all_ = upper.value(increase), lower.value(increase)
        bytes_ = "bytes" in upper.name
        for label in [*PLACES] if upper.by else [""]:
            assert hits[label] / all_[label] == pytest.approx(
                counted(answers, size=bytes_, place=label or None), abs=1e-9
            )
        assert sum(all_.values()) == sum(each.size if bytes_ else 1 for each in answers if each.by_edge)


def test_the_page_of_metrics_says_the_same() -> None:
    assert [each for each in expressions() if each not in expressions("docs/metrics.md")] == []


@pytest.mark.peers
@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize("page", ["README.md", "docs/metrics.md"])
def test_promtool_reads_every_expression(page: str, tmp_path: Path) -> None:
    assert PROMTOOL is not None
    rules = [f"  - record: a:ratio{n}\n    expr: {text!r}\n" for n, text in enumerate(expressions(page))]
    file = tmp_path / "rules.yml"
    file.write_text("groups:\n- name: readme\n  rules:\n" + "".join(rules))
    checked = subprocess.run([PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
