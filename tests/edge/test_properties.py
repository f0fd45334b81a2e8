"""Whatever the origin says in its fields: nothing forbidden is sent stale, Age never runs backwards, bytes stay bytes.

The origin's words are put together at random from directives, dates and ages, legal or not. What must hold does not
depend on which of them this cache understands: each rule below is checked from the outside, by a reading of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.edge.support import FakeExchange, Lab

SECONDS = st.sampled_from(
    ["0", "1", "5", "60", "99999999999999999999", "-1", "1.5", '"5"', "'5'", "", "x", "5 "]
)
NAMED = st.builds(
    "{}={}".format, st.sampled_from(["max-age", "s-maxage", "MAX-AGE", "stale-if-error"]), SECONDS
)
WINDOW = st.builds("stale-while-revalidate={}".format, SECONDS)
BARE = st.sampled_from(
    ["no-cache", "no-store", "private", "public", "must-revalidate", "proxy-revalidate", "immutable", "must-understand",
     'no-cache="x-a"', 'private="x-a"', "ext=1", '"', ",", "=", "no-cache=", "NO-STORE"]
)  # fmt: skip
ODD = st.lists(st.one_of(NAMED, WINDOW, BARE), max_size=4).map(", ".join)
LIKELY = st.builds(
    lambda lifetime, strict, window: ", ".join(each for each in (lifetime, strict, window) if each),
    st.sampled_from(["max-age=5", "max-age=60", "s-maxage=5"]),
    st.sampled_from(["", "", "must-revalidate", "proxy-revalidate", "no-cache", 'no-cache="x-a"']),
    st.sampled_from(["", "stale-while-revalidate=1", "stale-while-revalidate=60", "stale-if-error=60"]),
)
CONTROL = st.one_of(ODD, LIKELY, LIKELY)
DATES = st.sampled_from(
    ["Fri, 15 Jan 2027 08:00:00 GMT", "Friday, 15-Jan-27 08:00:30 GMT", "Fri Jan 15 08:01:00 2027", "0", "-1", "never",
     "Fri, 15 Jan 9999 08:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Feb 2027 08:00:00 GMT", ""]
)  # fmt: skip
AGES = st.sampled_from(["0", "5", "5, 9", "-5", "5.5", "x", "99999999999", "", "5;a=1"])
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "CDN-Cache-Control": ODD,
        "Expires": DATES,
        "Date": DATES,
        "Last-Modified": DATES,
        "Age": AGES,
        "ETag": st.sampled_from(['"1"', 'W/"1"', "1", '"', ""]),
        "X-A": st.just("a"),
    },
)
FIELDS = st.builds(
    lambda control, extras: {"Cache-Control": control, **extras},
    CONTROL,
    st.one_of(st.just({}), st.just({"ETag": '"1"', "X-A": "a"}), EXTRAS),
)
ASKED = st.sampled_from(
    [(), (), (), ("Cache-Control: max-stale=5",), ("Cache-Control: max-age=2",), ("Cache-Control: min-fresh=3",),
     ("Cache-Control: no-cache",), ("Pragma: no-cache",), ("Cache-Control: only-if-cached",), ("Cache-Control: =,\"",)]
)  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from([0.0, 0.4, 1.0, 5.0, 61.0]), ASKED), min_size=1, max_size=6)
SAFE = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def lines(fields: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in fields.items()]


def member(x: FakeExchange) -> str:
    return x.said if "cache-status" in x.fields else ""


@pytest.fixture
def patch() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patcher:
        yield patcher


@SAFE
@given(FIELDS, STEPS, st.binary(max_size=30), st.booleans())
def test_the_promises(patch: Any, fields: dict[str, str], steps: Any, body: bytes, broken: bool) -> None:
    lab = Lab(patch)
    first = lab.ask("/")
    lab.origin.last.answer(200, *lines(fields), body=body)
    assert (first.status, first.got) == (200, body)
    answered = len(lab.origin.sent)
    newest, age = body, -1
    for pause, asked in steps:
        lab.sleep(pause)
        x = lab.ask("/", *asked)
        if len(lab.origin.sent) > answered:
            answered = len(lab.origin.sent)
            behind = x.done
            served = newest
            if broken:
                lab.origin.last.fail()
            else:
                newest = b"%d:" % answered + body
                lab.origin.last.answer(200, *lines(fields), body=newest)
                age = -1
            if behind:
                check_stale(fields, x, served)
            elif broken:
                check_broken(fields, x, newest)
            else:
                assert x.got == newest
            continue
        if x.status == 504:
            assert "only-if-cached" in str(asked)
            continue
        assert x.got == newest, "what was stored is byte for byte what comes back"
        check_stale(fields, x, newest)
        assert int(x.fields["age"]) >= age, "Age ran backwards without a validation"
        age = int(x.fields["age"])
        assert "no-cache" not in str(asked)
        assert not forbids_storing(fields)
        assert not forbids_reuse(fields)
        if names_field(fields):
            assert "x-a" not in x.fields


def check_stale(fields: dict[str, str], x: FakeExchange, body: bytes) -> None:
    """Stale only where nothing forbids it, and said so."""
    found = re.search(r"ttl=(-\d+)", member(x))
    if found is not None:
        assert "detail=" in member(x)
        window = re.search(r"\bstale-while-revalidate=(\d+)(?:,|$)", counts(fields))
        if "detail=stale-while-revalidate" in member(x) and window is not None:
            assert -int(found[1]) <= int(window[1])
        assert not must_revalidate(fields)
        assert x.got == body


def check_broken(fields: dict[str, str], x: FakeExchange, body: bytes) -> None:
    assert x.status in (200, 502, 504)
    if x.status == 200:
        assert x.got == body
        check_stale(fields, x, body)
        assert not forbids_reuse(fields)


def counts(fields: dict[str, str]) -> str:
    """The field that counts, in lower case; the targeted one only where it is beyond doubt one of RFC 9213."""
    targeted = fields.get("CDN-Cache-Control", "")
    return "" if targeted else fields.get("Cache-Control", "").lower()


def words(fields: dict[str, str]) -> set[str]:
    value = counts(fields)
    return set() if '"' in value else {word.strip() for word in value.split(",")}


def forbids_storing(fields: dict[str, str]) -> bool:
    said = words(fields)
    return bool(said & {"private"}) or ("no-store" in said and "must-understand" not in said)


def forbids_reuse(fields: dict[str, str]) -> bool:
    return "no-cache" in words(fields)


def must_revalidate(fields: dict[str, str]) -> bool:
    said = words(fields)
    return bool(said & {"must-revalidate", "proxy-revalidate", "no-cache"}) or any(
        word.startswith("s-maxage=") for word in said
    )


def names_field(fields: dict[str, str]) -> bool:
    return counts(fields) in ('no-cache="x-a"', 'private="x-a"')
