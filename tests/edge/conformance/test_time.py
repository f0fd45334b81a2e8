"""What only time shows: lifetimes that end, delays that count, fetches that are shared.

Each scenario is a function that may sleep. They all run at once, each in a thread, so that they cost as long as the
slowest; then each is a test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, Answer, Asked, answer, unmodified, whole_or_part
from tests.edge.conformance.site import Reply, Site

TAG = 'ETag: "1"'
HOUR = "Cache-Control: max-age=3600"

Scenario = Callable[[Site], None]
SCENARIOS: dict[str, tuple[Scenario, pytest.MarkDecorator]] = {}


def scenario(*rows: str) -> Callable[[Scenario], Scenario]:
    """One that is run beside all others, and shows these rows."""

    def keep(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = (function, shows(*rows))
        return function

    return keep


@pytest.fixture(scope="module")
def outcomes(site: Site) -> Iterator[dict[str, Future[None]]]:
    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {name: pool.submit(function, site) for name, (function, _) in SCENARIOS.items()}


def at_once(*calls: Callable[[], Reply]) -> list[Reply]:
    """The replies of requests that are made at the same time, the first a little earlier."""
    with ThreadPoolExecutor(len(calls)) as pool:
        first = pool.submit(calls[0])
        time.sleep(0.15)
        return [future.result() for future in [first, *map(pool.submit, calls[1:])]]


@scenario("9111/4.2.3-3", "9111/5.2.2.1-1", "9111/4-4")
def a_lifetime_ends(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=2")
    page.get().hit()
    time.sleep(2.3)
    page.get(answer=answer()).fetched()


@scenario("9111/4.2.3-3", "9111/4.2.1-2")
def an_expiry_comes(site: Site) -> None:
    page = site.holding("Expires: {+3}", date=1)
    page.get().hit()
    time.sleep(2.3)
    page.get(answer=answer()).fetched()


@scenario("9111/4-5", "9111/4.2.3-3", "9211/2.4-1")
def an_age_grows(site: Site) -> None:
    page = site.holding(HOUR, "Age: 10")
    first = page.get().hit()
    time.sleep(1.6)
    second = page.get().hit()
    assert first.age + 1 <= second.age <= first.age + 4
    assert first["date"] == second["date"]


@scenario("9111/4.2.3-1")
def the_time_that_a_response_takes_counts(site: Site) -> None:
    page = site.page()
    page.get(answer=answer(HOUR, "Age: 10", delay=1.3))
    assert page.get().hit().age >= 11
    page = site.page()
    page.get(answer=answer("Cache-Control: max-age=11", "Age: 10", delay=1.3))
    page.get(answer=answer()).fetched()


@scenario("9111/4.2.3-1")
def the_time_that_a_304_takes_counts_and_the_age_begins_anew(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=100", "Age: 200", TAG)
    page.get(answer=answer(HOUR, TAG, status=304, delay=1.3)).validated()
    assert 1 <= page.get().hit().age <= 10


@scenario("9111/4.2.3-3", "9111/4.2.3-1")
def the_time_that_a_body_takes_counts(site: Site) -> None:
    page = site.page()
    page.get(answer=answer(HOUR, "Age: 10", stall=1.3))
    assert page.get().hit().age >= 11
    page = site.page()
    page.get(answer=answer("Cache-Control: max-age=1", stall=1.3))
    page.get(answer=answer()).fetched()


@scenario("9111/4-7", "9110/13.1.2-2", "9110/14.2-3")
def who_shares_a_fetch_has_conditions_and_ranges_of_its_own(site: Site) -> None:
    page = site.page()
    text = b"0123456789abcdefghij"

    def says(asked: Asked) -> Answer:
        return replace(whole_or_part(text, HOUR, TAG)(asked), delay=1.2)

    whole, same, other, part, head = at_once(
        lambda: page.get(answer=says),
        lambda: page.get('If-None-Match: "1"', answer=says),
        lambda: page.get('If-None-Match: "2"', answer=says),
        lambda: page.get("Range: bytes=5-9", answer=says),
        lambda: page.head(answer=says),
    )
    assert (whole.status, whole.body) == (other.status, other.body) == (200, text)
    assert same.status in (200, 304)
    assert same.body == (text if same.status == 200 else b"")
    assert (part.status, part.body) == (206, text[5:10])
    assert (head.status, head.body, head["content-length"]) == (200, b"", "20")


@scenario("9111/5.2.2.2-1", "9111/4.3.1-1")
def must_revalidate_holds_from_the_moment_it_is_stale(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=2, must-revalidate", TAG)
    page.get().hit()
    time.sleep(2.3)
    assert page.get(answer=GONE).status >= 500
    page.get(answer=unmodified(TAG, HOUR)).validated(if_none_match='"1"')
    page.get().hit()


@scenario("9111/4-7", "9211/2.6-1")
def requests_for_one_response_share_a_fetch(site: Site) -> None:
    page = site.page()
    says = answer(HOUR, delay=1.2, body=b"shared")
    replies = at_once(*(lambda: page.get(answer=says) for _ in range(6)))
    assert len(page.asked) == 1
    assert {(reply.status, reply.body) for reply in replies} == {(200, b"shared")}
    collapsed = [reply for reply in replies if "collapsed" in reply.said]
    assert len(collapsed) == 5
    assert all("fwd=" in reply.said and "hit" not in reply.said for reply in collapsed)


@scenario("9111/4-7", "9111/3.5-1", "9111/5.2.2.7-1")
def a_fetch_whose_response_is_private_is_not_shared(site: Site) -> None:
    page = site.page()
    seen: list[int] = []

    def says(_: Asked) -> Answer:
        seen.append(1)
        return answer("Cache-Control: private", delay=0.8, body=b"for %d" % len(seen))

    replies = at_once(*(lambda: page.get(answer=says) for _ in range(4)))
    assert len({reply.body for reply in replies}) == 4


@scenario("9111/5.2.2.7-2", "9111/5.2.2.4-2", "9111/4-7")
def who_shares_a_fetch_gets_no_fields_of_the_first(site: Site) -> None:
    page = site.page()
    control = 'Cache-Control: max-age=60, private="set-cookie", no-cache="x-mine"'
    says = answer(control, "Set-Cookie: secret=1", "X-Mine: 1", "X-Ours: 1", delay=1.2)
    first, *others = at_once(*(lambda: page.get(answer=says) for _ in range(4)))
    assert (first["set-cookie"], first["x-mine"], first["x-ours"]) == ("secret=1", "1", "1")
    assert len(page.asked) == 1
    for reply in others:
        assert "set-cookie" not in reply
        assert "x-mine" not in reply
        assert reply["x-ours"] == "1"


@scenario("9111/4-7", "9111/5.2.2.4-1", "9111/3.5-1")
def a_fetch_whose_response_nobody_else_may_use_is_not_shared(site: Site) -> None:
    for control, fields in (
        ("no-cache", ()),
        ("no-store", ()),
        ("max-age=0, must-revalidate", ()),
        ("max-age=60", ("Authorization: Basic {}",)),
    ):
        page = site.page()
        seen: list[int] = []

        def says(_: Asked, control: str = control, seen: list[int] = seen) -> Answer:
            seen.append(1)
            return answer(f"Cache-Control: {control}", TAG, delay=0.6, body=b"for %d" % len(seen))

        asks = [[field.format(number) for field in fields] for number in range(3)]
        replies = at_once(
            *(lambda ask=ask, page=page, says=says: page.get(*ask, answer=says) for ask in asks)
        )
        assert len({reply.body for reply in replies}) == 3, control


@scenario("9111/4-7", "9111/4.1-1")
def a_fetch_of_another_variant_is_not_shared(site: Site) -> None:
    page = site.page()

    def says(asked: Asked) -> Answer:
        return answer(HOUR, "Vary: Foo", delay=0.8, body=b"foo " + asked["foo"].encode())

    calls = [lambda value=value: page.get(f"Foo: {value}", answer=says) for value in "1212"]
    assert [reply.body for reply in at_once(*calls)] == [b"foo 1", b"foo 2", b"foo 1", b"foo 2"]


@scenario("9111/4.4-1")
def what_was_being_fetched_when_it_was_invalidated_is_not_reused(site: Site) -> None:
    page = site.page()
    slow = answer(HOUR, delay=1.2, body=b"before")
    quick = answer(body=b"done")

    def says(asked: Asked) -> Answer:
        return slow if asked.method == "GET" else quick

    at_once(lambda: page.get(answer=says), lambda: page.ask("POST", answer=says, body=b""))
    page.get(answer=answer(HOUR, body=b"after")).fetched()


@scenario("9111/4.4-1", "9111/4.3.4-3")
def what_was_being_validated_when_it_was_invalidated_is_not_reused(site: Site) -> None:
    slow, quick = answer(HOUR, TAG, status=304, delay=1.2), answer(body=b"done")

    def says(asked: Asked) -> Answer:
        return slow if asked.method == "GET" else quick

    page = site.holding("Cache-Control: max-age=10", "Age: 20", TAG, body=b"before")
    at_once(lambda: page.get(answer=says), lambda: page.ask("POST", answer=says, body=b""))
    assert page.get(answer=answer(HOUR, body=b"after")).body == b"after"
    page = site.holding(
        "Cache-Control: max-age=10, stale-while-revalidate=60", "Age: 20", TAG, body=b"before"
    )
    assert page.get(answer=says).body == b"before"
    page.until_asked(2)
    page.ask("POST", answer=says, body=b"")
    time.sleep(1.5)
    assert page.get(answer=answer(HOUR, body=b"after")).body == b"after"


@scenario("9111/4.4-1", "9111/3.3-3")
def a_part_that_was_being_fetched_when_it_was_invalidated_is_not_reused(site: Site) -> None:
    slow = answer(HOUR, TAG, "Content-Range: bytes 0-4/10", status=206, body=b"01234", delay=1.2)
    quick = answer(body=b"done")

    def says(asked: Asked) -> Answer:
        return slow if asked.method == "GET" else quick

    page = site.page()
    at_once(
        lambda: page.get("Range: bytes=0-4", answer=says), lambda: page.ask("POST", answer=says, body=b"")
    )
    assert page.get("Range: bytes=0-4", answer=whole_or_part(b"abcdefghij", HOUR, TAG)).body == b"abcde"


@scenario("5861/3-3", "5861/3-1")
def the_window_of_stale_while_revalidate_ends(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=0, stale-while-revalidate=1", TAG, body=b"old")
    time.sleep(2.3)
    assert page.get(answer=answer(HOUR, body=b"new")).fetched().body == b"new"


@scenario("5861/3-2")
def a_slow_validation_behind_a_stale_response_keeps_nobody_waiting(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=10, stale-while-revalidate=60", "Age: 20", TAG, body=b"old")
    slow = answer(HOUR, delay=2.0, body=b"new")
    began = time.monotonic()
    assert {page.get(answer=slow).body for _ in range(5)} == {b"old"}
    assert time.monotonic() - began < 1.8
    assert len(page.until_asked(2)) == 2
    time.sleep(2.4)
    again = page.get()
    assert (again.body, len(page.asked)) == (b"new", 2)


@scenario("9111/4-5", "9111/4.3.4-3")
def the_age_of_a_response_begins_anew_with_a_304(site: Site) -> None:
    page = site.holding("Cache-Control: max-age=1", TAG)
    time.sleep(1.3)
    page.get(answer=unmodified(TAG, HOUR)).validated()
    assert page.get().hit().age <= 1


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, (_, mark) in SCENARIOS.items()])
def test_in_time(outcomes: dict[str, Future[None]], name: str) -> None:
    outcomes[name].result()
