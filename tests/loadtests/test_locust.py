"""Locust itself, as a process, against a real lab: nothing fails, and both sides count the same."""

from __future__ import annotations

import re
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from time import monotonic, sleep

import pytest

from tests.support.labs import RunningLab, lab
from tests.support.locust_runs import Ended, locust
from tests.support.scripted_site import scripted_site


@pytest.fixture(scope="module")
def running() -> Iterator[RunningLab]:
    with lab(module="cdnlab", topology=None) as started:
        yield started.ready()


SAMPLE = re.compile(
    r'^cdnlab_(lb|edge)_requests_total\{(?:outcome|result)="(\w+)",client_place="(\w+)"\} (\S+)$',
    re.MULTILINE,
)


def seen(running: RunningLab) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """By place: requests at the balancers, answers of edges, hits of edges."""
    requests, answers, hits = Counter[str](), Counter[str](), Counter[str]()
    for node in running.ask("/lab")["nodes"]:
        with urllib.request.urlopen(f"http://{node['admin']}/metrics", timeout=20) as response:
            text = response.read().decode()
        for tier, result, place, value in SAMPLE.findall(text):
            (requests if tier == "lb" else answers)[place] += int(float(value))
            hits[place] += int(float(value)) if (tier, result) == ("edge", "hit") else 0
    return requests, answers, hits


def rise(running: RunningLab, before: tuple[Counter[str], ...]) -> list[dict[str, int]]:
    """How much each of `seen` rose, places that did not left out."""
    return [dict(now - then) for now, then in zip(seen(running), before, strict=True)]


def said(ended: Ended) -> list[dict[str, int]]:
    """The same by the generator's own table."""
    places = {name: place for name, place in ended.places.items() if name != "all"}
    columns = ("requests", "by_edge", "hits")
    return [
        {name: value for name, place in places.items() if (value := getattr(place, column))}
        for column in columns
    ]


def agree(running: RunningLab, before: tuple[Counter[str], ...], ended: Ended) -> None:
    """A node counts once it has sent an answer: the last ones may come a moment after the client has them."""
    deadline = monotonic() + 5
    while rise(running, before) != said(ended) and monotonic() < deadline:
        sleep(0.05)
    assert rise(running, before) == said(ended)


def test_ten_seconds_without_a_failure(running: RunningLab) -> None:
    before = seen(running)
    ended = locust("--host", f"http://127.0.0.1:{running.base}", "--run-time", "10s", "--think", "0.5")
    assert ended.code == 0, ended.text
    places = ended.places
    assert places["all"].failures == 0
    assert places["all"].users == 60
    agree(running, before, ended)
    balancers, edges, hits = rise(running, before)
    assert len(balancers) >= 6
    assert len(edges) == 12
    assert sum(hits.values()) > 100
    names = ended.names
    assert {name for name in names if name.startswith("[icn]")} >= {
        "[icn] /",
        "[icn] /assets/*",
        "[icn] /behave",
    }
    assert all(re.fullmatch(r"\[\w{3}\] /[^?]*", name) for name in names), names
    assert {name.split("] ")[1] for name in names} >= {
        "/api/items/:id",
        "/files/1MiB.bin",
        "/files/1MiB.bin (part)",
    }
    assert sum(names.values()) == places["all"].requests


def test_two_processes_add_up(running: RunningLab) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    before = seen(running)
    ended = locust(
        "--host", f"http://127.0.0.1:{running.base}", "--run-time", "3s", "--processes", "2", "--places", "icn=2,syd",
        "--users", "12", "--think", "0.2", "--master-bind-port", str(port), "--master-port", str(port),
    )  # fmt: skip
    assert ended.code == 0, ended.text
    assert {name: place.users for name, place in ended.places.items()} == {"icn": 8, "syd": 4, "all": 12}
    agree(running, before, ended)


@contextmanager
def proxy(port: int, old: bytes, new: bytes) -> Iterator[int]:
    """A port that passes everything on to `port`, and changes some bytes on the way back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source: socket.socket, target: socket.socket, change: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece.replace(old, new) if change else piece)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=converse, args=(client,), daemon=True).start()

    def converse(client: socket.socket) -> None:
        with client, closing(socket.create_connection(("127.0.0.1", port))) as server:
            back = threading.Thread(target=carry, args=(server, client, True), daemon=True)
            back.start()
            carry(client, server, False)
            back.join()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def test_a_body_that_is_changed_on_its_way_is_a_failure_that_says_so(running: RunningLab) -> None:
    before = seen(running)
    with proxy(running.base, b"cdnlab</title>", b"cdnlob</title>") as port:
        ended = locust(
            "--host",
            f"http://127.0.0.1:{port}",
            "--run-time",
            "2s",
            "--places",
            "syd,gru",
            "-u",
            "4",
            "--think",
            "0.2",
        )
    assert ended.code == 1
    assert "wrong body: its sha-256 is not the one in Repr-Digest" in ended.text
    # requests and failures: the table of percentiles has rows of the same names, without a share in brackets
    assert re.search(r"GET +\[syd\] /[a-z]* +\d+ +[1-9]\d*\(", ended.text)
    assert not re.search(r"GET +\[\w+\] /assets/\* +\d+ +[1-9]\d*\(", ended.text)
    assert 0 < ended.places["all"].failures < ended.places["all"].requests
    # Through the proxy all have its address: they stand where they say, by Cdnlab-From. One first look could not.
    balancers, _, _ = rise(running, before)
    assert {"syd", "gru"} <= set(balancers)
    assert sum(balancers.values()) - balancers["syd"] - balancers["gru"] == 1


def test_ones_own_application_is_asked_for_nothing_of_the_demo_sites() -> None:
    page = b"<link rel=stylesheet href=/s.css><img src=p.png><a href=/elsewhere>"
    with scripted_site() as site:
        site.answer("/", "Content-Type: text/html", body=page)
        site.answer("/s.css", 'ETag: "1"', body=b"a{}")
        site.answer("/p.png", "Cache-Control: max-age=60", body=b"png")
        ended = locust(
            "--host", f"http://127.0.0.1:{site.port}", "--run-time", "1s", "-u", "3", "--think", "0.1"
        )
        asked = {line.split()[1] for line, _, _ in site.asked}
        sources = {source for _, _, source in site.asked}
    assert ended.code == 0, ended.text
    assert asked == {"/", "/s.css", "/p.png"}
    assert {"127.82.1.100", "127.1.1.100", "127.81.1.100"} <= sources
    assert ended.places["all"].by_edge == 0
    assert ended.places["all"].failures == 0


def test_a_lab_that_is_not_running_is_one_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    ended = locust("--host", f"http://127.0.0.1:{port}", "--run-time", "5s")
    assert ended.code == 1
    lines = [line for line in ended.text.splitlines() if "/INFO/" not in line]
    assert len(lines) == 1
    assert f"nothing answers at http://127.0.0.1:{port}/" in lines[0]
    assert "make up" in lines[0]


@pytest.mark.parametrize(
    "words, named",
    [
        (("--places", "icm"), "icn"),
        (("--paths", "/nowhere/at/all"), "No such file"),
        (("--host", "https://127.0.0.1"), "plain HTTP"),
    ],
)
def test_misuse_is_one_line(words: tuple[str, str], named: str) -> None:
    ended = locust(*words)
    assert ended.code == 2
    lines = [line for line in ended.text.splitlines() if "/INFO/" not in line]
    assert len(lines) == 1
    assert named in lines[0]
