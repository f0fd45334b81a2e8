"""What may be asked for as faults, and what a set of them says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from cdnlab.net.faults import BadFaults, Fault, Faults, parse


@pytest.mark.parametrize(
    ("asked", "faults", "seconds"),
    [
        ({"delay": 0.3}, Faults(delay=0.3), None),
        ({"errors": 1, "for": 30}, Faults(errors=1.0), 30.0),
        ({"hang": True, "refuse": True, "reset": False}, Faults(hang=True, refuse=True), None),
        ({"slow_body": 10000, "delay": 1}, Faults(slow_body=10000, delay=1.0), None),
    ],
)
def test_understood(asked: dict[str, Any], faults: Faults, seconds: float | None) -> None:
    assert parse(asked) == (faults, seconds)
    assert parse(faults.as_json())[0] == faults, "it can be sent on as it is shown"


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({}, "no fault is named"),
        ({"for": 3}, "no fault is named"),
        ({"hang": False}, "no fault is named"),
        ({"hang": 1}, '"hang" is 1'),
        ({"delay": "300ms"}, "\"delay\" is '300ms'"),
        ({"delay": 0}, '"delay" is 0'),
        ({"delay": -1}, '"delay" is -1'),
        ({"delay": 1e9}, '"delay" is 1e\\+09'),
        ({"delay": float("nan")}, '"delay" is nan'),
        ({"delay": 10**400}, '"delay" is inf'),
        ({"delay": True}, '"delay" is True'),
        ({"errors": 1.1}, '"errors" is 1.1'),
        ({"slow_body": 0.5}, '"slow_body" is 0.5'),
        ({"hang": True, "reset": True}, "both hang and be reset"),
        ({"hang": True, "for": -3}, '"for" is -3'),
        ({"explode": True, "hang": True}, 'a node has no fault "explode"'),
    ],
)
def test_refused(asked: dict[str, Any], error: str) -> None:
    with pytest.raises(BadFaults, match=error) as refused:
        parse(asked)
    assert refused.value.remedy


def test_a_store_has_no_bodies() -> None:
    with pytest.raises(BadFaults, match='the store has no fault "slow_body"'):
        parse({"slow_body": 1000}, store=True)
    assert parse({"delay": 1}, store=True)[0].kinds == (Fault.DELAY,)


def test_the_words_name_each_one_in_the_order_in_which_they_are_met() -> None:
    every = Faults(refuse=True, delay=0.25, hang=True, reset=True, errors=0.2, slow_body=10_000)
    assert every.kinds == tuple(Fault)
    assert every.words == "refuse, delay 250 ms, hang, reset, errors 20 %, bodies at 10 kB/s"
    assert Faults(delay=2, slow_body=500).words == "delay 2 s, bodies at 500 B/s"
    assert all(each.sentence for each in Fault)
