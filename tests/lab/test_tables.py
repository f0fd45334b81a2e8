"""Numbers, times and states as people read them."""

from __future__ import annotations

import pytest

from cdnlab.lab import tables


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        ("x", "–"),
        (True, "–"),
        (0, "0"),
        (0.4, "0.4"),
        (9.94, "9.9"),
        (9.96, "10"),
        (12345.6, "12,346"),
    ],
)
def test_rate(value: object, expected: str) -> None:
    assert tables.rate(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "–"), (0, "0 %"), (1, "100 %"), (0.934, "93.4 %"), (0.9999, "100.0 %")]
)
def test_percent(value: object, expected: str) -> None:
    assert tables.percent(value) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "–"),
        (0.00042, "0.42 ms"),
        (0.0031, "3.1 ms"),
        (0.2111, "211 ms"),
        (9.9996, "10.0 s"),
        (12.34, "12.3 s"),
    ],
)
def test_millis(seconds: object, expected: str) -> None:
    assert tables.millis(seconds) == expected


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (None, "–"),
        (0, "0 B"),
        (1023, "1023 B"),
        (5120, "5.0 KiB"),
        (1 << 30, "1.0 GiB"),
        (1 << 42, "4096.0 GiB"),
    ],
)
def test_size(octets: object, expected: str) -> None:
    assert tables.size(octets) == expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (None, ""),
        (1000, "0 s"),
        (1001, "0 s"),
        (911, "89 s"),
        (-2600, "60 min"),
        (-9000, "3 h"),
        (-999000, "12 d"),
    ],
)
def test_ago(since: object, expected: str) -> None:
    assert tables.ago(since, 1000.0) == expected


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"state": "ready", "reason": "it is"}, ("ready", "it is")),
        ({"state": "ready", "running": False, "exit": -9}, ("dead", "killed by signal 9")),
        ({"running": False, "exit": 1}, ("dead", "ended with exit code 1")),
        ({"running": False, "reason": "killed (cdnlab kill)"}, ("dead", "killed (cdnlab kill)")),
        ({"running": False}, ("dead", "its process has ended")),
        ({"state": "ready", "paused": True}, ("paused", "stopped by a signal until it is resumed")),
        ({"running": True}, ("silent", "does not answer on its admin address")),
    ],
)
def test_what_the_supervisor_sees_stands_above_what_the_node_said(
    node: dict[str, object], expected: tuple[str, str]
) -> None:
    assert tables.state(node) == expected


def test_every_state_has_a_sign_as_well_as_a_colour() -> None:
    assert set(tables.SIGNS) == set(tables.COLOURS)
    assert len(set(tables.SIGNS.values())) == len(tables.SIGNS)
