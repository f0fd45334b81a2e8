"""One real default lab for all the tests beside peers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.labs import RunningLab, lab


@pytest.fixture(scope="session")
def running() -> Iterator[RunningLab]:
    """The whole default lab, real nodes and distances, ready."""
    with lab(module="cdnlab", topology=None) as started:
        yield started.ready()
