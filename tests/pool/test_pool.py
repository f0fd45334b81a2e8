"""Candidates and the reasons of those passed over; counts; what a pool refuses."""

from __future__ import annotations

import pytest

from cdnlab.pool.algorithms.registry import REGISTRY, Settings, register
from cdnlab.pool.backend import Backend
from cdnlab.pool.health import Health
from cdnlab.pool.pool import Passed, Pool
from cdnlab.pool.reasons import Reason

NEAREST = {"icn": ["icn", "nrt", "fra"], "fra": ["fra", "nrt", "icn"]}


def edges() -> Pool:
    backends = [
        Backend(f"edge-{place}", f"127.0.0.{n}", 80, place=place, health=Health(fall=1))
        for n, place in enumerate(("icn", "nrt", "fra"))
    ]
    return Pool("edges", backends, "nearest", Settings(nearest=NEAREST))


def fail(pool: Pool, *names: str) -> None:
    for name in names:
        pool.backend(name).health.result(0.0, False)
    pool.usable_changed()


@pytest.mark.parametrize(
    "down,place,taken,candidates,passed",
    [
        ((), "icn", 1, ["edge-icn"], []),
        (("edge-icn",), "icn", 1, ["edge-nrt"], [("edge-icn", Reason.DOWN)]),
        (("edge-icn",), "fra", 1, ["edge-fra"], []),  # farther than the one taken: not passed over
        (("edge-icn",), "fra", 3, ["edge-fra", "edge-nrt"], [("edge-icn", Reason.DOWN)]),
        (
            ("edge-icn", "edge-nrt"),
            "icn",
            1,
            ["edge-fra"],
            [("edge-icn", Reason.DOWN), ("edge-nrt", Reason.DOWN)],
        ),
        (
            ("edge-icn", "edge-nrt", "edge-fra"),
            "fra",
            1,
            [],
            [("edge-fra", Reason.DOWN), ("edge-nrt", Reason.DOWN), ("edge-icn", Reason.DOWN)],
        ),
    ],
)
def test_who_is_passed_over_and_why(
    down: tuple[str, ...], place: str, taken: int, candidates: list[str], passed: Passed
) -> None:
    pool = edges()
    fail(pool, *down)
    skipped: Passed = []
    order = pool.candidates(place, skipped)
    found = [backend.name for backend, _ in zip(order, range(taken), strict=False)]
    if len(found) < taken:
        assert next(order, None) is None
    assert found == candidates
    assert skipped == passed


def test_every_other_one_has_a_reason() -> None:
    pool = edges()
    pool.backend("edge-nrt").draining = True
    pool.usable_changed()
    chosen = next(pool.candidates("icn"))
    assert pool.explain("icn", chosen) == [("edge-nrt", Reason.DRAINING), ("edge-fra", Reason.FARTHER)]
    plain = Pool("origins", [Backend(name, "h", 80) for name in "ab"])
    assert plain.explain("", next(plain.candidates())) == [("b", Reason.TURN)]
    least = Pool("origins", [Backend(name, "h", 80) for name in "ab"], "least_connections")
    assert least.explain("", next(least.candidates())) == [("b", Reason.BUSIER)]


def test_counts_follow_the_exchanges() -> None:
    pool = edges()
    backend = pool.backend("edge-icn")
    pool.acquire(backend)
    pool.acquire(backend)
    pool.release(backend)
    assert (backend.live, backend.served) == (1, 1)


def test_an_unchecked_backend_is_usable() -> None:
    backend = Backend("a", "127.0.0.1", 80)
    assert backend.usable
    assert backend.reason() is Reason.UNKNOWN
    backend.health.result(1.0, True)
    assert backend.reason() is Reason.USABLE
    backend.draining = True
    assert (backend.usable, backend.reason()) == (False, Reason.DRAINING)


@pytest.mark.parametrize(
    "host,unix,key",
    [
        ("127.0.0.1", None, "127.0.0.1:80"),
        ("::1", None, "[::1]:80"),
        ("origin.example", None, "origin.example:80"),
        ("localhost", "/run/app.sock", "/run/app.sock"),
    ],
)
def test_the_key_is_the_address(host: str, unix: str | None, key: str) -> None:
    assert Backend("a", host, 80, unix=unix).key == key


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="backend a: weight -1 is below 0"):
        Backend("a", "h", 80, weight=-1)
    with pytest.raises(ValueError, match="backend edge-icn: weight -1 is below 0"):
        edges().set_weight("edge-icn", -1)
    with pytest.raises(ValueError, match="pool p: two backends have one name"):
        Pool("p", [Backend("a", "h", 80), Backend("a", "h", 81)])
    with pytest.raises(ValueError, match=r"no algorithm is called 'fastest'.*least_connections.*ring_hash"):
        Pool("p", [], "fastest")
    with pytest.raises(KeyError, match="pool edges has no backend edge-xxx"):
        edges().backend("edge-xxx")
    with pytest.raises(ValueError, match="two algorithms are called nearest"):
        register("nearest")(REGISTRY["nearest"])


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_label_and_a_sentence(reason: Reason) -> None:
    assert str(reason) == reason.value == reason.name.lower()
    assert " " in reason.sentence
