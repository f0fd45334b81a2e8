"""`cdnlab audit` and `cdnlab explain` of a real lab: two places, purged first, compared with the origin itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from cdnlab.lab.tables import Json
from edge.decision import NotReused
from edge.storable import NotStored
from tests.support.labs import SMALL, RunningLab, lab, until
from tests.support.leaky_site import App, leaky_site

pytestmark = pytest.mark.scenario

LOGINS = (
    "--login", "POST /login user=alice&password=x",
    "--login", "POST /login user=bob&password=x",
)  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[RunningLab, App]]:
    with ExitStack() as stack:
        app = stack.enter_context(leaky_site())
        made = stack.enter_context(
            lab("--origin", app.url, "--distance", "off", module="cdnlab", topology=SMALL)
        )
        app.pages["/account"] = lambda asked: (
            ["Cache-Control: max-age=60"],
            f"<p>Hello {asked.user or 'stranger'}",
        )
        app.pages["/safe"] = lambda asked: (
            ["Cache-Control: private"],
            f"<p>Hello {asked.user or 'stranger'}",
        )
        app.pages["/all"] = lambda asked: (["Cache-Control: max-age=60", 'ETag: "1"'], "<p>Hello everybody")
        made.ready()
        until(lambda: made.get("/all")[0] == 200, "an answer through the VIP")
        yield made, app


def audited(running: RunningLab, *words: str, code: int) -> dict[str, Json]:
    done = running.cdnlab("audit", *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return {page["url"].rpartition("/")[2]: page for page in json.loads(done.stdout)["pages"]}


def test_a_leak_is_seen_at_both_places_and_both_ways(running: tuple[RunningLab, App]) -> None:
    made, _ = running
    pages = audited(made, "/account", "/safe", "/all", *LOGINS, "--from", "icn", "--from", "fra", code=1)
    leaks = {(one["owner"], one["receiver"], one["place"]) for one in pages["account"]["leaks"]}
    assert {("user 1", "user 2", "Seoul (icn)"), ("user 2", "user 1", "Frankfurt (fra)")} <= leaks
    for name in ("safe", "all"):
        assert pages[name]["leaks"] == []
        assert pages[name]["places"] == ["icn", "fra"]
    assert "purged" in pages["all"]["cold"]
    assert "origin-1 itself" in pages["all"]["past"]
    assert pages["all"]["cached"] is True
    assert pages["safe"]["reason"] == "private"


def explained(running: RunningLab, *words: str) -> dict[str, Any]:
    done = running.cdnlab("explain", *words, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_edge_is_explained_that_a_client_there_would_get(running: tuple[RunningLab, App]) -> None:
    made, _ = running
    for place in ("icn", "fra"):
        before = explained(made, "/all?fresh", "--from", place)
        assert (before["node"], before["result"]) == (f"edge-{place}", "miss")
        got = json.loads(made.cdnlab("get", "/all?fresh", "--from", place, "--json").stdout)
        edge = next(one for one in got["stations"] if one["name"].startswith("edge-"))
        assert (edge["name"], edge["result"]) == (before["node"], before["result"])
        after = explained(made, "/all?fresh", "--from", place)
        assert (after["result"], after["stored"]["status"]) == ("hit", 200)
        assert after["key"] == before["key"] == f"http://127.0.0.1:{made.base}/all?fresh"


def test_a_reason_is_the_same_in_get_and_in_log(running: tuple[RunningLab, App]) -> None:
    made, _ = running
    words = ("/all?why", "--from", "icn", "-H", "Cache-Control: no-store", "--json")
    got = json.loads(made.cdnlab("get", *words).stdout)
    edge = next(one for one in got["stations"] if one["name"] == "edge-icn")
    told = " ".join(edge["notes"])
    for reason in (NotReused.NOTHING_STORED, NotStored.REQUEST_NO_STORE):
        assert reason.sentence in told
    assert dict(got["response"]["fields"])["cache-status"].endswith("; detail=request-no-store")
    rows = [json.loads(line) for line in made.cdnlab("log", "edge-icn", "--json").stdout.splitlines()]
    assert (
        next(row["reason"] for row in rows if row["target"] == "/all?why")
        == "nothing-stored/request-no-store"
    )
    said = explained(made, *words[:-1])
    assert (said["reason"], said["sentence"]) == ("nothing-stored", NotReused.NOTHING_STORED.sentence)


def test_the_next_edge_explains_where_the_nearest_is_dead(running: tuple[RunningLab, App]) -> None:
    made, _ = running
    assert made.cdnlab("kill", "edge-icn").returncode == 0
    said = explained(made, "/all", "--from", "icn")
    assert (said["node"], [one["node"] for one in said["silent"]]) == ("edge-fra", ["edge-icn"])
    told = made.cdnlab("explain", "/all", "--from", "icn")
    assert "passed over edge-icn: connection refused" in told.stdout
    alone = made.cdnlab("explain", "/all", "--node", "edge-icn")
    assert alone.returncode == 1
    assert "no edge answered (edge-icn: connection refused)" in alone.stderr
