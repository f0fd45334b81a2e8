"""What is counted, and what it is called.

The hot path adds to plain integers in the slots of a Tally (0.04 µs, against 1.1 for a client library's
counter); a scrape turns them into families. Each tier declares its metrics as rows of MetricSpec in one
table, and a test holds docs/metrics.md against it. Every series exists from the start, at zero, since a rate
over a series that was just born misses its first increment.

This file must not know who scrapes, nor any tier's results: they are given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, product
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Number = int | float
Labels = tuple[tuple[str, str], ...]

OTHER = "other"
"""The label of a client place that the topology does not list; it keeps the label set bounded."""

BOUNDS: tuple[float, ...] = (
    50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3,
    1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets, in seconds: a hit from memory takes 50 µs, a dying origin ten seconds."""


class MetricSpec(NamedTuple):
    """A metric, declared once. `name` is complete (a counter's ends in _total), in base units."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


class Tally:
    """One series of requests: how many, how many bytes, how many seconds, and into which bucket each fell."""

    __slots__ = ("buckets", "bytes", "count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.bytes = 0
        self.seconds = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float, size: int = 0) -> None:
        """Count one request of `seconds` and `size` bytes. The hottest paths may write these lines out."""
        self.count += 1
        self.bytes += size
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS, seconds)] += 1


class Tallies:
    """A tier's requests by result and client place.

    `errors` and `hits` name the results that /status counts as such; a tier without a cache has no hits.
    """

    __slots__ = ("by_place", "errors", "failed", "hits", "places", "results")

    def __init__(
        self,
        results: Sequence[str],
        places: Iterable[str],
        *,
        errors: Iterable[str] = (),
        hits: Iterable[str] = (),
    ) -> None:
        self.results = tuple(str(result) for result in results)
        self.places = (*dict.fromkeys(place for place in places if place != OTHER), OTHER)
        self.errors = self._indices(errors)
        self.hits = self._indices(hits)
        self.by_place = {place: [Tally() for _ in self.results] for place in self.places}
        self.failed = 0
        """Errors under a result that is none by itself, such as a 503 of the origin that was passed on."""

    def _indices(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.results.index(str(name)) for name in names)

    def of(self, place: str) -> list[Tally]:
        """The tallies of one client place, indexed like `results`; an unknown place counts as "other"."""
        return self.by_place.get(place) or self.by_place[OTHER]

    def rows(self) -> Iterator[tuple[tuple[str, str], Tally]]:
        """Each tally with its label values (result, client place)."""
        for place, tallies in self.by_place.items():
            for result, tally in zip(self.results, tallies, strict=True):
                yield (result, place), tally

    def families(
        self, duration: MetricSpec, requests: MetricSpec | None = None, sizes: MetricSpec | None = None
    ) -> Iterator[Family]:
        """The tallies as a histogram of durations and, where declared, counters of requests and bytes.

        Each spec has two labels: the result (or outcome) and the client place, in this order.
        """
        rows = list(self.rows())
        yield histogram(duration, rows)
        if requests is not None:
            yield family(requests, ((labels, tally.count) for labels, tally in rows))
        if sizes is not None:
            yield family(sizes, ((labels, tally.bytes) for labels, tally in rows))


class Series:
    """One counter or gauge, its values by label values; every combination of `domains` starts at zero."""

    __slots__ = ("spec", "values")

    def __init__(self, spec: MetricSpec, *domains: Iterable[str]) -> None:
        _check_labels(spec, len(domains))
        self.spec = spec
        self.values: dict[tuple[str, ...], Number] = dict.fromkeys(_combinations(domains), 0)

    def add(self, *labels: str, by: Number = 1) -> None:
        """Raise the series with these label values by `by`; a new combination is made (keep them few)."""
        _check_labels(self.spec, len(labels))
        self.values[labels] = self.values.get(labels, 0) + by

    def set(self, value: Number, *labels: str) -> None:
        """Give a gauge its value."""
        _check_labels(self.spec, len(labels))
        self.values[labels] = value

    def family(self) -> Family:
        """The values as they are now."""
        return family(self.spec, self.values.items())


class Histogram:
    """A histogram outside the request path: one Tally per combination of label values."""

    __slots__ = ("spec", "tallies")

    def __init__(self, spec: MetricSpec, *domains: Iterable[str]) -> None:
        _check_labels(spec, len(domains))
        self.spec = spec
        self.tallies = {labels: Tally() for labels in _combinations(domains)}

    def observe(self, seconds: float, *labels: str) -> None:
        """Count one observation under these label values."""
        self.tallies[labels].add(seconds)

    def family(self) -> Family:
        """The observations as they are now."""
        return histogram(self.spec, self.tallies.items())


class Sample(NamedTuple):
    """One line of a scrape: `labels` are (name, value) pairs in the spec's order, then `le` if any."""

    name: str
    labels: Labels
    value: Number


class Family(NamedTuple):
    """What a scrape reads of one metric."""

    spec: MetricSpec
    samples: list[Sample]

    def text(self) -> str:
        """The family in the Prometheus text format 0.0.4."""
        spec = self.spec
        lines = [f"# HELP {spec.name} {_escaped_help(spec.help)}\n# TYPE {spec.name} {spec.kind}\n"]
        lines += [f"{_head(name, labels)} {value!r}\n" for name, labels, value in self.samples]
        return "".join(lines)


def family(spec: MetricSpec, rows: Iterable[tuple[Sequence[str], Number]]) -> Family:
    """A counter or gauge from (label values, value) rows."""
    return Family(spec, [Sample(spec.name, _labels(spec, tuple(values)), +value) for values, value in rows])


def histogram(spec: MetricSpec, rows: Iterable[tuple[Sequence[str], Tally]]) -> Family:
    """A histogram from (label values, tally) rows: cumulative buckets, _sum and _count."""
    samples: list[Sample] = []
    for values, tally in rows:
        labels = _labels(spec, tuple(values))
        name, heads = _bucket_heads(spec, labels)
        below = list(accumulate(tally.buckets))
        samples += [Sample(name, head, count) for head, count in zip(heads, below, strict=True)]
        samples.append(Sample(f"{spec.name}_sum", labels, tally.seconds))
        samples.append(Sample(f"{spec.name}_count", labels, below[-1]))
    return Family(spec, samples)


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """The value in seconds below which `share` (0 to 1) of the observations lie; None without observations.

    Linear within a bucket, as PromQL's histogram_quantile does; past the last bound it answers that bound.
    """
    total = sum(buckets)
    if not total:
        return None
    rank, lower = share * total, 0.0
    for count, upper in zip(buckets, BOUNDS, strict=False):
        if count and count >= rank:
            return lower + (upper - lower) * rank / count
        rank, lower = rank - count, upper
    return BOUNDS[-1]


def undocumented(table: Iterable[MetricSpec], page: str) -> list[str]:
    """Names in `table` that the documentation page does not mention as `name`; a tier's test wants none."""
    return [spec.name for spec in table if f"`{spec.name}`" not in page]


def problems(table: Sequence[MetricSpec]) -> list[str]:
    """What breaks our naming rules in a tier's table, one sentence each; a tier's test wants none."""
    found = [f"{spec.name}: {rule}" for spec in table for breaks, rule in _RULES if breaks(spec)]
    names = [spec.name for spec in table]
    return found + [f"{name} is declared twice" for name in sorted(set(names)) if names.count(name) > 1]


_RULES: tuple[tuple[Callable[[MetricSpec], bool], str], ...] = (
    (lambda spec: not spec.name.startswith("cdnlab_"), "a name starts with cdnlab_"),
    (lambda spec: (spec.kind == "counter") != spec.name.endswith("_total"), "a counter ends in _total"),
    (lambda spec: spec.name.endswith(("_ms", "_us", "_kb")), "base units: seconds and bytes"),
    (lambda spec: not spec.help.strip(), "a metric has a help text"),
    (lambda spec: not {"node", "tier", "place", "le"}.isdisjoint(spec.labels), "the scrape sets that label"),
)


def _combinations(domains: Iterable[Iterable[str]]) -> Iterator[tuple[str, ...]]:
    return product(*([str(value) for value in domain] for domain in domains))


def _check_labels(spec: MetricSpec, given: int) -> None:
    if len(spec.labels) != given:
        raise ValueError(f"{spec.name} has labels {spec.labels}, {given} were given")


@lru_cache(maxsize=65536)
def _labels(spec: MetricSpec, values: tuple[str, ...]) -> Labels:
    _check_labels(spec, len(values))
    return tuple(zip(spec.labels, map(str, values), strict=True))


@lru_cache(maxsize=65536)
def _bucket_heads(spec: MetricSpec, labels: Labels) -> tuple[str, tuple[Labels, ...]]:
    bounds = (*map(repr, BOUNDS), "+Inf")
    return f"{spec.name}_bucket", tuple((*labels, ("le", bound)) for bound in bounds)


@lru_cache(maxsize=65536)
def _head(name: str, labels: Labels) -> str:
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in labels)
    return f"{name}{{{inside}}}" if inside else name


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
