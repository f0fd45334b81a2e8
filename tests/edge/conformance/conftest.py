"""One edge for all tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.conformance.site import Site, running


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    with running() as running_site:
        yield running_site
