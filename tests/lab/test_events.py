"""`cdnlab events`: what changed, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from cdnlab.lab import events
from tests.support import fake_lab as fake
from tests.support.commands import Typed
from tests.support.labs import state_directory


@pytest.fixture
def lab() -> Iterator[fake.FakeLab]:
    with state_directory() as state, fake.fake_lab(state) as served:
        yield served


@pytest.fixture
def typed(lab: fake.FakeLab, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(events.command, lab.state, monkeypatch)


def test_each_change_is_a_line_with_its_reason(typed: Typed) -> None:
    lines = typed().stdout.splitlines()
    assert len(lines) == len(fake.events())
    assert "failover" in lines[1]
    assert "main: backup to active: claimed the lease, token 4" in lines[1]
    assert "lab       state     edge-icn: killed by signal 9 (cdnlab kill)" in lines[2]


def test_a_change_of_the_node_itself_does_not_name_it_twice(typed: Typed) -> None:
    assert typed().stdout.splitlines()[0].count("lb-a") == 1


def test_json_and_the_number_of_lines(typed: Typed) -> None:
    rows = [json.loads(line) for line in typed("--json", "-n", "2").stdout.splitlines()]
    assert rows == fake.events()[-2:]


def test_follow_shows_what_comes(typed: Typed, lab: fake.FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def instead_of_waiting(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            lab.events.append(lab.events[-1] | {"seq": 7, "text": "down to up"})
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr(events.time, "sleep", instead_of_waiting)
    assert "down to up" in typed("-f", "-n", "0").stdout
