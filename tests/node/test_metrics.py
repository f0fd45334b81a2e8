"""Counting and rendering: buckets, zeros, labels, and the same meaning as the client library's own text."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cdnlab.node.exposition import Exposition
from cdnlab.node.metrics import (
    BOUNDS,
    OTHER,
    Family,
    Histogram,
    MetricSpec,
    Series,
    Tallies,
    Tally,
    family,
    problems,
    quantile,
    undocumented,
)
from cdnlab.node.node import NODE_METRICS
from cdnlab.node.store import STORE_METRICS

DURATION = MetricSpec(
    "cdnlab_test_request_duration_seconds", "histogram", ("result", "client_place"), "How long."
)
REQUESTS = MetricSpec("cdnlab_test_requests_total", "counter", ("result", "client_place"), "How many.")
BYTES = MetricSpec("cdnlab_test_response_bytes_total", "counter", ("result", "client_place"), "How much.")
STATE = MetricSpec("cdnlab_test_backend_up", "gauge", ("backend",), "Whether it is up.")
SHARED = (*NODE_METRICS, *STORE_METRICS)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (50e-6, 0), (51e-6, 1), (1e-3, 4), (1.0, 13), (10.0, 16), (10.01, 17), (3600.0, 17)],
)
def test_an_observation_falls_into_the_first_bucket_that_holds_it(seconds: float, bucket: int) -> None:
    tally = Tally()
    tally.add(seconds, 7)
    assert (tally.count, tally.bytes, tally.seconds) == (1, 7, seconds)
    assert tally.buckets.index(1) == bucket
    assert sum(tally.buckets) == 1


def test_bounds_rise_from_50_microseconds_to_10_seconds() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert (BOUNDS[0], BOUNDS[-1]) == (50e-6, 10.0)


def test_a_place_that_is_not_listed_counts_as_other() -> None:
    tallies = Tallies(("hit", "miss"), ["icn", "fra"])
    assert tallies.of("icn") is not tallies.of("fra")
    assert tallies.of("nowhere") is tallies.of("") is tallies.of(OTHER)


def test_every_series_exists_from_the_start_at_zero() -> None:
    tallies = Tallies(("hit", "miss"), ["icn"])
    made = list(tallies.families(DURATION, REQUESTS, BYTES))
    assert [len(one.samples) for one in made] == [4 * (len(BOUNDS) + 3), 4, 4]
    assert {sample.value for one in made for sample in one.samples} == {0}
    assert Series(STATE, ["a", "b"]).family().samples[1].labels == (("backend", "b"),)


def some_families() -> list[Family]:
    tallies = Tallies(("hit", "miss"), ["icn", "fra"], hits=["hit"])
    for seconds in (20e-6, 3e-3, 0.7, 42.0):
        tallies.of("icn")[0].add(seconds, 1024)
    odd = Series(STATE, ['quote " slash \\ line \n', "plain"])
    odd.set(0.25, "plain")
    stalls = Histogram(MetricSpec("cdnlab_test_stall_seconds", "histogram", (), "Back\\slash and\nnew line."))
    stalls.observe(0.006)
    return [*tallies.families(DURATION, REQUESTS, BYTES), odd.family(), stalls.family()]


def test_our_text_means_the_same_as_the_library_s() -> None:
    families = some_families()
    exposition = Exposition(lambda: families)
    ours = "".join(one.text() for one in families)
    theirs = generate_latest(exposition.registry).decode()

    def meaning(text: str) -> dict[str, object]:
        found = text_string_to_metric_families(text)
        return {f.name: (f.type, f.documentation, f.samples) for f in found if f.name.startswith("cdnlab_")}

    assert meaning(ours) == meaning(theirs)
    assert len(meaning(ours)) == len(families)


@pytest.mark.peers
def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    text = Exposition(some_families).text()
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_process_is_in_the_scrape() -> None:
    assert b"process_resident_memory_bytes" in Exposition(list).text()


def test_labels_must_be_those_declared() -> None:
    with pytest.raises(ValueError, match="cdnlab_test_backend_up"):
        family(STATE, [(("a", "b"), 1)])
    with pytest.raises(ValueError, match="cdnlab_test_backend_up"):
        Series(STATE).add("a")


def buckets(**counts: int) -> list[int]:
    made = [0] * (len(BOUNDS) + 1)
    for index, count in counts.items():
        made[int(index[1:])] = count
    return made


@pytest.mark.parametrize(
    ("counted", "share", "value"),
    [
        (buckets(), 0.5, None),
        (buckets(_0=1), 1.0, 50e-6),
        (buckets(_0=10), 0.5, 25e-6),
        (buckets(_4=100), 0.5, 0.75e-3),  # half of the bucket from 0.5 to 1 ms
        (buckets(_0=99, _16=1), 0.99, 50e-6),
        (buckets(_0=50, _13=50), 0.99, 0.5 + 0.5 * 49 / 50),
        (buckets(_17=5), 0.5, 10.0),  # beyond the last bound nothing is known
    ],
)
def test_quantiles(counted: list[int], share: float, value: float | None) -> None:
    assert quantile(counted, share) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (MetricSpec("edge_requests_total", "counter", (), "x"), "starts with cdnlab_"),
        (MetricSpec("cdnlab_requests", "counter", (), "x"), "ends in _total"),
        (MetricSpec("cdnlab_up_total", "gauge", (), "x"), "ends in _total"),
        (MetricSpec("cdnlab_wait_ms", "gauge", (), "x"), "base units"),
        (MetricSpec("cdnlab_up", "gauge", (), " "), "help"),
        (MetricSpec("cdnlab_up", "gauge", ("place",), "x"), "scrape sets"),
    ],
)
def test_naming_rules(spec: MetricSpec, rule: str) -> None:
    assert [rule in problem for problem in problems([spec])] == [True]


def test_a_name_is_declared_once() -> None:
    assert problems([STATE, STATE]) == ["cdnlab_test_backend_up is declared twice"]


def test_shared_metrics_follow_the_rules_and_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    assert problems(SHARED) == []
    assert undocumented(SHARED, page) == []
    assert undocumented([STATE], page) == ["cdnlab_test_backend_up"]
