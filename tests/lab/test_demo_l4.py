"""`cdnlab demo l4` as a person sees it, on a lab of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdnlab.lab.demo_l4 import UDP_LIFE, Flow, Result
from cdnlab.lab.demo_l4_clients import Seen, said
from tests.support.labs import cdnlab

pytestmark = pytest.mark.scenario


def test_the_demonstration_shows_what_it_is_for(tmp_path: Path) -> None:
    done = cdnlab("demo", "l4", COLUMNS="80", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    assert max(map(len, text.splitlines())) <= 80
    _, opened, expired, taken = re.split(r"^\d\. ", text, flags=re.MULTILINE)
    tuples = r"127\.\S+:\d+ +127\.0\.0\.1:\d+ +127\.0\.1\.1\d:\d+ +origin-\d"
    assert len(re.findall(rf"^[ABC]  udp  {tuples}", opened, re.MULTILINE)) == 3
    assert len(re.findall(rf"^[DE]  tcp  {tuples}", opened, re.MULTILINE)) == 2
    match = re.search(r"over after ([\d.]+) s", expired)
    assert match is not None
    assert float(match[1]) >= UDP_LIFE
    match = re.search(r"it was with (\S+), now it is with (\S+),", " ".join(expired.split()))
    assert match is not None
    assert match[1] != match[2]
    assert len(re.findall(r"^[ABC]  udp  (origin-\d)  \1 .* lived ", taken, re.MULTILINE)) == 3
    assert len(re.findall(r"^[DE]  tcp  (origin-\d)  \1 .* broke off", taken, re.MULTILINE)) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"from 127.0.1.10:5 to 127.1.1.20:8082 node origin-1\nx", Seen("origin-1", "127.0.1.10:5")),
        (b"from 127.0.1.10:5 to 127.1.1.20:8082 node origin-1", None),
        (b"?", None),
        (b"", None),
    ],
)
def test_what_an_echo_says(data: bytes, seen: Seen | None) -> None:
    assert said(data) == seen


def flow(protocol: str, lived: bool, same: bool) -> Flow:
    return Flow("A", protocol, "c", "origin-1", "origin-1", "b", lived, same, 1.0)


@pytest.mark.parametrize(
    ("after", "flows", "shown"),
    [
        ("origin-2", [flow("udp", True, True), flow("tcp", False, True)], True),
        ("origin-1", [flow("udp", True, True), flow("tcp", False, True)], False),
        ("origin-2", [flow("udp", False, False), flow("tcp", False, True)], False),
        ("origin-2", [flow("udp", True, True), flow("tcp", True, True)], False),
        ("origin-2", [flow("udp", True, True), flow("tcp", False, False)], False),
        ("origin-2", [], False),
    ],
)
def test_what_counts_as_shown(after: str, flows: list[Flow], shown: bool) -> None:
    assert Result(picked_before="origin-1", picked_after=after, flows=flows).shown is shown
