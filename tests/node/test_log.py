"""Rings that can be followed, and an access log that neither blocks nor ends the node."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdnlab.node.log import KEPT, REQUEST_FIELDS, AccessLog, Events, Ring, Throttle


def fill(ring: Ring, count: int) -> None:
    for number in range(ring.seen + 1, ring.seen + count + 1):
        ring.seen += 1
        ring.entries.append((float(number), b"GET", b"h", b"/\xff", 200, *[""] * (len(REQUEST_FIELDS) - 5)))


@pytest.mark.parametrize(
    ("filled", "after", "limit", "first", "count", "missed"),
    [
        (0, None, 10, None, 0, 0),
        (0, 0, 10, None, 0, 0),
        (5, None, 10, 1, 5, 0),
        (5, None, 2, 4, 2, 0),  # without a number: the newest
        (5, 0, 2, 1, 2, 0),  # after a number: the oldest, so that nothing is left out
        (5, 3, 10, 4, 2, 0),
        (5, 5, 10, None, 0, 0),
        (5, 6, 10, 1, 5, 0),  # a number from before a restart
        (KEPT + 5, 0, KEPT, 6, KEPT, 5),
        (KEPT + 5, 3, 1, 6, 1, 2),
        (KEPT + 5, 5, 1, 6, 1, 0),
        (5, 0, 0, None, 0, 0),
    ],
)
def test_following_by_number(
    filled: int, after: int | None, limit: int, first: int | None, count: int, missed: int
) -> None:
    ring = Ring()
    fill(ring, filled)
    answer = ring.after(after, limit)
    numbers = [entry["n"] for entry in answer["entries"]]
    assert (answer["seen"], answer["missed"]) == (filled, missed)
    assert numbers == ([] if first is None else list(range(first, first + count)))
    assert [entry["time"] for entry in answer["entries"]] == numbers  # each entry bears its own number


def test_a_follower_sees_each_entry_once() -> None:
    ring, seen, number = Ring(), [], 0
    for batch in (3, 0, 400, KEPT, 1):
        fill(ring, batch)
        while entries := ring.after(number, 100)["entries"]:
            seen += [entry["n"] for entry in entries]
            number = entries[-1]["n"]
    assert seen == list(range(1, ring.seen + 1))


def test_bytes_become_text_when_read() -> None:
    ring = Ring()
    fill(ring, 1)
    entry = ring.after(0)["entries"][0]
    assert (entry["method"], entry["target"], entry["status"]) == ("GET", "/ÿ", 200)
    assert json.dumps(entry)


def test_events_have_numbers_and_listeners() -> None:
    events, heard = Events("edge-icn"), []
    events.listeners.append(lambda event: heard.append(event["n"]))
    events.add("health", "origin-1", "down: connection refused", rise=2, why=b"x")
    events.add("state", "edge-icn", "ready")
    assert heard == [1, 2]
    (event,) = events.after(0, 1)["entries"]
    assert {**event, "time": 0} == {
        "n": 1, "time": 0, "kind": "health", "node": "edge-icn", "subject": "origin-1",
        "text": "down: connection refused", "facts": {"rise": 2, "why": "x"},
    }  # fmt: skip


@pytest.mark.parametrize(("every", "written"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4]), (100, [])])
def test_all_requests_or_each_n_th_are_logged(tmp_path: Path, every: int, written: list[int]) -> None:
    with (tmp_path / "log").open("wb") as file:
        access = AccessLog(file.fileno(), every)
        ring = Ring(access=access)
        fill(ring, 5)
        access.flush()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["time"] for line in lines] == written
    assert all(tuple(line) == REQUEST_FIELDS for line in lines)
    assert (access.written, access.dropped) == (len(written), 0)


def test_a_full_disk_is_said_once_and_counted() -> None:
    said: list[str] = []
    with open("/dev/full", "wb", buffering=0) as full:
        access = AccessLog(full.fileno(), complain=said.append)
        for _ in range(3):
            access.add({"target": "/"})
            access.flush()
            access.flush()
    assert (access.written, access.dropped, len(said)) == (0, 3, 1)
    assert "No space left" in said[0]


def test_a_pipe_that_nobody_reads_does_not_block() -> None:
    said: list[str] = []
    read, write = os.pipe()
    access = AccessLog(write, complain=said.append)
    added = 0
    while not access.dropped:
        added += 1
        access.add({"target": "/" + "x" * 9000, "n": added})  # longer than what a pipe takes in one piece
    assert len(said) == 1
    os.set_blocking(read, False)
    taken = b""
    while access.written < added - 1:
        taken += os.read(read, 1 << 20)
        access.flush()
    taken += os.read(read, 1 << 20)
    assert [json.loads(line)["n"] for line in taken.splitlines()] == list(range(1, added))
    os.close(read)
    os.close(write)


def test_a_pipe_whose_reader_has_gone_drops() -> None:
    read, write = os.pipe()
    os.close(read)
    access = AccessLog(write, complain=lambda text: None)
    access.add({"target": "/"})
    access.flush()
    assert access.dropped == 1
    os.close(write)


def test_counting_and_logging_import_neither_aiohttp_nor_the_metrics_library() -> None:
    script = (
        "import sys, cdnlab.node.metrics, cdnlab.node.log, cdnlab.node.process\n"
        "sys.exit(' '.join({'aiohttp', 'prometheus_client', 'redis', 'typer', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == "\n"


def test_an_outage_does_not_fill_the_disk() -> None:
    throttle = Throttle(most=3)

    def line(second: float) -> tuple[bool, str]:
        record = logging.LogRecord(
            "cdnlab.lb", logging.WARNING, "", 0, "no answer from %s", ("origin-1",), None
        )
        record.created = second
        return throttle.filter(record), record.getMessage()

    assert [line(1.0 + n / 100)[0] for n in range(10)] == [True] * 3 + [False] * 7
    assert line(2.0) == (True, "no answer from origin-1 (and 7 lines left out before)")
    assert line(2.1) == (True, "no answer from origin-1")
