"""One visitor against a server that answers what a test says: what is taken for a failure, and under which name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from cdnlab.plan.load import load
from loadtests.checks import WHOLE_MIN
from loadtests.client import Server
from loadtests.run import Options, Visitor, prepare
from loadtests.tally import Tally
from tests.support.scripted_site import Site, scripted_site

TAG = 'ETag: "1"'


class Visit(NamedTuple):
    """The server, a visitor, and what Locust was told: (name, error)."""

    site: Site
    visitor: Visitor
    reported: list[tuple[str, str]]


@contextmanager
def visit() -> Iterator[Visit]:
    reported: list[tuple[str, str]] = []

    def report(*, name: str, seconds: float, size: int, error: Exception | None) -> None:
        reported.append((name, str(error or "")))

    with scripted_site() as site:
        site.answer("/", TAG, "Connection: close", body=b"page")
        run = prepare(
            Server("127.0.0.1", site.port, "127.0.0.1"), Options("icn"), load(None), Tally(), report, 0
        )
        run.look()
        visitor = Visitor(run, run.crowd.enter())
        try:
            yield Visit(site, visitor, reported)
        finally:
            visitor.leave()


@pytest.mark.parametrize(
    "fields, said",
    [
        ((TAG,), ""),
        (('ETag: W/"1"',), ""),
        ((), ""),
        (('ETag: "2"',), "304 under another entity-tag than If-None-Match named"),
    ],
)
def test_a_304_confirms_what_was_named(fields: tuple[str, ...], said: str) -> None:
    with visit() as (site, visitor, reported):
        visitor.view(lambda: True)
        site.answer("/", *fields, "Connection: close", status="304 Not Modified")
        visitor.view(lambda: False)
        assert site.asked[-1][1]["if-none-match"] == '"1"'
        assert reported[-1] == ("[icn] /", said)


def test_a_304_that_nobody_asked_for_is_a_failure() -> None:
    with visit() as (site, visitor, reported):
        site.answer("/", "Connection: close", status="304 Not Modified")
        visitor.view(lambda: False)
        assert reported[-1] == ("[icn] /", "304 to a request without a condition")


def test_a_part_under_if_range_is_of_the_whole_that_it_names() -> None:
    with visit() as (site, visitor, reported):
        site.answer("/", TAG, "Accept-Ranges: bytes", "Connection: close", body=b"x" * WHOLE_MIN)
        visitor.view(lambda: False)
        assert "/" in visitor.run.checker.wholes
        site.answer(
            "/",
            'ETag: "2"',
            "Content-Range: bytes 0-0/1",
            "Connection: close",
            status="206 Partial Content",
            body=b"y",
        )
        kept = dict(visitor.run.checker.wholes)
        while "if-range" not in site.asked[-1][1]:  # at half of all parts
            visitor.run.checker.wholes.update(kept)
            visitor._part("/")
        assert reported[-1] == ("[icn] / (part)", "a part of another whole than If-Range named")
