"""docs/conformance.md is what its requirements and its tests say, and no row is without a test or a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tests.edge.conformance.document import COMMAND, PAGE, Tests, collected, document, problems
from tests.edge.conformance.register import ROWS, shows


@pytest.fixture(scope="module")
def tests() -> Tests:
    return collected()


def test_each_row_has_a_test_or_a_reason(tests: Tests) -> None:
    assert problems(ROWS.values(), tests) == []


def test_each_mark_names_a_row(tests: Tests) -> None:
    assert set(tests) <= set(ROWS)
    with pytest.raises(AssertionError, match="no such requirement: 9111/99-1"):
        shows("9111/4-1", "9111/99-1")


def test_the_page_is_what_would_be_made(tests: Tests) -> None:
    assert PAGE.read_text() == document(tests), f"make it anew: {COMMAND}"


def test_what_is_missing_is_named() -> None:
    row = ROWS["9111/4-1"]
    shown: Tests = {row.name: Counter({("test_a.py", "test_b"): 1})}
    assert problems([row], shown) == []
    assert problems([row], {}) == [
        "RFC 9111/4-1 has no test: mark one with @shows, or give the reason in `unmet`"
    ]
    assert problems([replace(row, unmet="it would cost too much")], {}) == []
    assert problems([replace(row, unmet=" ")], shown) == [
        "RFC 9111/4-1 is not met, and its table `unmet` gives no reason"
    ]
