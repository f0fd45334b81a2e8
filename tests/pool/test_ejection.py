"""Who is ejected, for how long, who returns, and how that goes with the verdicts of checks."""

from __future__ import annotations

from random import Random
from time import perf_counter
from typing import Any

import pytest

from cdnlab.plan.pools import EjectionSpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.ejection import CONSECUTIVE, SILENT, SUCCESS_RATE, Ejector
from cdnlab.pool.health import Health, State, Transition
from cdnlab.pool.pool import Pool
from cdnlab.pool.reasons import Reason


class Bench:
    """A pool with its ejector, and exchanges that succeed or fail."""

    def __init__(self, names: str = "abc", panic_below: float = 0.0, **spec: Any) -> None:
        backends = [Backend(name, "127.0.0.1", 80, health=Health(rise=1, fall=1)) for name in names]
        self.pool = Pool("p", backends, panic_below=panic_below)
        self.ejector = Ejector(self.pool, EjectionSpec(**spec))
        self.told: list[tuple[str, State, float]] = []
        self.ejector.on_transition = lambda backend, change: self.told.append(
            (backend.name, change.after, change.at)
        )

    def fail(self, name: str, times: int, now: float = 0.0) -> list[Transition | None]:
        backend = self.pool.backend(name)
        seen = []
        for _ in range(times):
            backend.served += 1
            seen.append(self.ejector.failed(backend, Reason.CONNECT_FAILED, now))
        return seen

    def good(self, name: str, times: int) -> None:
        backend = self.pool.backend(name)
        backend.served += times
        backend.streak = 0

    def judge(self, name: str, ok: bool, now: float = 0.0) -> None:
        self.pool.backend(name).health.result(now, ok)
        self.pool.usable_changed()

    def out(self) -> str:
        return "".join(backend.name for backend in self.pool.backends if not backend.usable)


def test_so_many_failures_in_a_row() -> None:
    bench = Bench()
    assert bench.fail("a", 4, 7.0) == [None] * 4
    bench.good("a", 1)
    assert bench.fail("a", 4, 8.0) == [None] * 4
    (change,) = bench.fail("a", 1, 9.0)
    assert change is not None
    assert change[:3] == (State.UNKNOWN, State.EJECTED, 9.0)
    assert "5 requests failed in a row" in change.detail
    assert Reason.CONNECT_FAILED.sentence in change.detail
    assert "30 s" in change.detail
    assert {backend.name for backend in bench.pool.candidates()} == set("bc"), "the pool knows at once"
    assert bench.told == [("a", State.EJECTED, 9.0)]
    assert bench.ejector.causes == {("a", CONSECUTIVE): 1}


@pytest.mark.parametrize("consecutive,failures,out", [(0, 1000, ""), (1, 1, "a"), (3, 2, ""), (3, 3, "a")])
def test_how_many_they_have_to_be(consecutive: int, failures: int, out: str) -> None:
    bench = Bench(consecutive=consecutive)
    bench.fail("a", failures)
    assert bench.out() == out


def test_the_time_grows_up_to_a_longest_and_shrinks_with_good_intervals() -> None:
    bench = Bench("ab", consecutive=1, time=30.0, time_max=75.0, interval=10.0)
    now, lasted = 0.0, []
    for _ in range(4):
        bench.ejector.tick(now)
        bench.fail("a", 1, now)
        until = bench.pool.backend("a").ejected_until
        lasted.append(until - now)
        assert not bench.ejector.tick(until - 0.01)
        assert bench.out() == "a"
        (change,) = bench.ejector.tick(until)
        assert (change.before, change.after, bench.out()) == (State.EJECTED, State.UNKNOWN, "")
        now = until + 0.01
    assert lasted == [30.0, 60.0, 75.0, 75.0]
    for _ in range(3):  # each interval that it gets through forgives one
        now += 10.0
        bench.ejector.tick(now)
    bench.fail("a", 1, now)
    assert bench.pool.backend("a").ejected_until - now == pytest.approx(60.0)
    assert bench.pool.backend("a").ejections == 5


@pytest.mark.parametrize(
    "names,max_share,failing,out",
    [
        ("a", 0.5, "a", ""),  # never the last one
        ("a", 1.0, "a", ""),
        ("ab", 0.5, "ab", "a"),
        ("ab", 0.1, "ab", "a"),  # one may always be
        ("abc", 0.5, "abc", "a"),
        ("abcd", 0.5, "abcd", "ab"),
        ("abcd", 1.0, "abcd", "abc"),
        ("abcdefghij", 0.3, "abcdefghij", "abc"),
    ],
)
def test_the_ceiling(names: str, max_share: float, failing: str, out: str) -> None:
    bench = Bench(names, consecutive=2, max_share=max_share)
    for name in failing:
        bench.fail(name, 2)
    assert bench.out() == out
    assert bench.ejector.refused == len(failing) - len(out)


def test_those_that_are_down_count_as_out_already() -> None:
    bench = Bench("abcdef", consecutive=1, max_share=0.5)
    bench.judge("a", False)
    bench.judge("b", False)
    bench.fail("c", 1)
    bench.fail("d", 1)
    assert bench.out() == "abc"
    drained = Bench("abc", consecutive=1)
    drained.pool.drain("a")
    drained.fail("b", 1)
    assert drained.fail("c", 1) == [None], "the last one that takes requests stays"


def test_a_refused_ejection_is_told() -> None:
    bench = Bench("ab", consecutive=3)
    doubted: list[str] = []
    bench.ejector.on_refused = lambda backend: doubted.append(backend.name)
    bench.fail("a", 3)
    bench.fail("b", 7)
    assert doubted == ["b", "b"]


def test_a_refused_ejection_is_tried_again_after_as_many_failures() -> None:
    bench = Bench("ab", consecutive=3)
    bench.fail("a", 3)
    assert [change is not None for change in bench.fail("b", 3)] == [False] * 3
    bench.pool.enable("a")
    assert [change is not None for change in bench.fail("b", 3)] == [False, False, True]


def test_one_that_is_silent_is_ejected_at_once() -> None:
    bench = Bench()
    change = bench.ejector.silent(bench.pool.backend("a"), 5.0, "it says nothing")
    assert change is not None
    assert change.detail == "it says nothing; left out for 30 s"
    assert bench.ejector.causes == {("a", SILENT): 1}
    assert bench.ejector.silent(bench.pool.backend("a"), 6.0, "it says nothing") is None
    off = Bench(consecutive=0)
    assert off.ejector.silent(off.pool.backend("a"), 5.0, "it says nothing") is None


# -- success rates --------------------------------------------------------------------------------------------------


def interval(bench: Bench, rates: dict[str, tuple[int, int]], now: float = 10.0) -> str:
    """One interval: (requests, failures) by backend; who is out after it."""
    bench.ejector.tick(now - 10.0)
    for name, (requests, failures) in rates.items():
        bench.good(name, requests - failures)
        bench.fail(name, failures)
    bench.ejector.tick(now)
    return bench.out()


OFF = {"consecutive": 0}


@pytest.mark.parametrize(
    "rates,out",
    [
        ({"a": (500, 100), "b": (500, 0), "c": (500, 0)}, "a"),  # with Envoy's mean of all never found
        ({"a": (500, 100), "b": (500, 0), "c": (500, 0), "d": (500, 0)}, "a"),
        ({"a": (500, 20), "b": (500, 0), "c": (500, 0)}, ""),  # 4 points off is not far
        ({"a": (500, 30), "b": (500, 0), "c": (500, 0)}, "a"),
        ({"a": (100, 7), "b": (100, 1), "c": (100, 0)}, "a"),
        ({"a": (500, 100), "b": (500, 110), "c": (500, 90)}, ""),  # all alike: what stands behind them fails
        ({"a": (500, 500), "b": (500, 500), "c": (500, 500)}, ""),
        ({"a": (99, 99), "b": (500, 0), "c": (500, 0)}, ""),  # too few to say
        ({"a": (99, 0), "b": (500, 0), "c": (500, 500)}, ""),  # too few to compare with
        ({"a": (500, 250), "b": (500, 0)}, ""),
        ({"a": (500, 60), "b": (500, 0), "c": (500, 90), "d": (500, 0), "e": (500, 0), "f": (500, 0)}, "c"),
    ],
)
def test_who_is_far_below_the_others(rates: dict[str, tuple[int, int]], out: str) -> None:
    bench = Bench("".join(rates), **OFF)
    assert interval(bench, rates) == out
    assert {cause for _, cause in bench.ejector.causes} == ({SUCCESS_RATE} if out else set())


def test_a_better_one_may_be_the_outlier() -> None:
    """80 % of thirty may be chance where ten others have 91 %; 83 % of a thousand is none."""
    rates = {"a": (30, 6), "b": (1000, 170), **dict.fromkeys("cdefghijkl", (1000, 90))}
    assert interval(Bench("".join(rates), minimum_requests=30, **OFF), rates) == "b"


def test_a_thousand_are_compared_without_a_stall() -> None:
    """Twice as many take about twice as long, and not four times."""
    seconds = []
    for count in (500, 1000, 2000):
        pool = Pool("p", [Backend(str(number), "127.0.0.1", 80) for number in range(count)])
        ejector = Ejector(pool, EjectionSpec(consecutive=0))
        ejector.tick(1.0)
        for number, backend in enumerate(pool.backends):
            backend.served, backend.faults = 200, number % 3
        began = perf_counter()
        ejector.tick(11.0)
        seconds.append(perf_counter() - began)
    assert seconds[2] < 10 * seconds[0] + 0.05, seconds


def test_the_reason_says_the_rates() -> None:
    bench = Bench(**OFF)
    seen: list[str] = []
    bench.ejector.on_transition = lambda backend, change: seen.append(change.detail)
    interval(bench, {"a": (200, 50), "b": (200, 0), "c": (200, 2)})
    assert seen == [
        "75.0% of 200 answers were good, below 94.5%; the others' mean is 99.5%; left out for 30 s"
    ]


def test_success_rates_can_be_left_alone() -> None:
    bench = Bench(success_rate=False, **OFF)
    assert interval(bench, {"a": (500, 250), "b": (500, 0), "c": (500, 0)}) == ""


def test_each_interval_counts_anew() -> None:
    bench = Bench(**OFF)
    assert interval(bench, {"a": (90, 90), "b": (500, 0), "c": (500, 0)}) == ""
    assert interval(bench, {"a": (90, 90), "b": (500, 0), "c": (500, 0)}, 20.0) == ""


def test_chance_alone_ejects_nobody_often() -> None:
    """Three equal backends that fail at 10 %: of 300 comparisons few may call one of them an outlier."""
    rng = Random(5)
    wrong = 0
    for _ in range(100):
        bench = Bench(**OFF)
        rates = {name: (100, sum(rng.random() < 0.1 for _ in range(100))) for name in "abc"}
        wrong += bool(interval(bench, rates))
    assert wrong <= 25, wrong


# -- beside the checks ----------------------------------------------------------------------------------------------


def test_a_good_check_does_not_end_an_ejection() -> None:
    bench = Bench(consecutive=1)
    bench.fail("a", 1)
    bench.judge("a", True)
    assert bench.out() == "a"


def test_checks_that_saw_the_fault_and_its_end_end_the_ejection() -> None:
    bench = Bench(consecutive=1)
    bench.fail("a", 1)
    bench.judge("a", False, 3.0)
    bench.judge("a", True, 5.0)
    change = bench.ejector.recovered(bench.pool.backend("a"), 5.0)
    assert change is not None
    assert (change.before, change.after, bench.out()) == (State.EJECTED, State.UP, "")
    assert bench.ejector.recovered(bench.pool.backend("a"), 6.0) is None


def test_the_end_of_an_ejection_does_not_lift_a_verdict_of_the_checks() -> None:
    bench = Bench(consecutive=1)
    bench.fail("a", 1)
    bench.judge("a", False)
    (change,) = bench.ejector.tick(30.0)
    assert (change.after, bench.out()) == (State.DOWN, "a")


def test_what_fails_while_it_is_out_anyway_is_no_news() -> None:
    bench = Bench(consecutive=2, panic_below=1.0)
    bench.judge("a", False)
    assert bench.pool.panic
    assert bench.fail("a", 10) == [None] * 10
    bench.fail("b", 2)
    assert bench.fail("b", 10, 20.0) == [None] * 10
    assert bench.pool.backend("b").ejected_until == 30.0, "no straggler makes it longer"
    assert bench.pool.backend("b").ejections == 1


def test_after_its_return_only_new_failures_count() -> None:
    bench = Bench(consecutive=3)
    bench.fail("a", 5)
    bench.ejector.tick(30.0)
    assert bench.fail("a", 2, 31.0) == [None, None]
    assert bench.fail("a", 1, 31.0) != [None]


def test_a_removed_backend_is_nobodys_business() -> None:
    bench = Bench(consecutive=1)
    gone = bench.pool.remove("a")
    assert bench.ejector.failed(gone, Reason.TIMED_OUT, 0.0) is None
    assert bench.told == []
    bench.fail("b", 1)
    bench.pool.remove("b")
    assert bench.ejector.tick(1000.0) == []


@pytest.mark.parametrize(
    "status,counts", [(200, False), (500, False), (502, True), (504, True), (505, False)]
)
def test_which_statuses_count(status: int, counts: bool) -> None:
    assert Bench().ejector.counts(status) == counts


def test_what_gateways_answer_and_how_long_they_take_is_mostly_not_their_fault() -> None:
    bench = Bench(consecutive=1)
    relays = Ejector(bench.pool, EjectionSpec(consecutive=1), relays=True)
    edge = bench.pool.backend("a")
    assert relays.failed(edge, Reason.TIMED_OUT, 0.0) is None
    assert (edge.streak, edge.faults) == (0, 0)
    assert not relays.counts(503)
    assert relays.failed(edge, Reason.RESPONSE_FAILED, 0.0) is not None
    told = Ejector(bench.pool, EjectionSpec.model_validate({"statuses": ["500"]}), relays=True)
    assert told.counts(500), "the operator said so"
