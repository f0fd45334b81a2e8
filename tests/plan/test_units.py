"""Quantities and names as people write them: rows of (text, value), and of what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic_core import PydanticCustomError

from cdnlab.plan import units
from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0), (1, 1), ("1", 1), (4096.0, 4096), ("64KiB", 65536), ("64kib", 65536), ("64k", 65536),
        ("64 K", 65536), ("256MiB", 268435456), ("1GiB", 1073741824), ("1GB", 1000000000), ("0.5KiB", 512),
        ("10b", 10),
    ],
)  # fmt: skip
def test_size(text: object, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", -1, "1.5", 0.3, "1 TB", "1,5MiB", "1_000", "0x10", True, None, [1], "1MiB/s"]
)
def test_no_size(text: object) -> None:
    with pytest.raises(PydanticCustomError, match=r"is not a (size|whole number)"):
        units.parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (2, 2), (0.3, 0.3), ("2", 2.0), ("300ms", 0.3), ("2s", 2.0), ("2 s", 2.0), ("5m", 300.0), ("1h", 3600.0),
        ("1d", 86400.0), ("250us", 0.00025), ("250µs", 0.00025), ("1.5s", 1.5), ("0", 0.0),
    ],
)  # fmt: skip
def test_duration(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ms", "5 parsecs", "-1s", "1h30m", "yes", True, None, [], "1S"])
def test_no_duration(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="is not a duration"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "statuses"),
    [(200, (200, 200)), ("204", (204, 204)), ("200-399", (200, 399)), ([200, 299], (200, 299))],
)
def test_statuses(text: object, statuses: tuple[int, int]) -> None:
    assert units.parse_statuses(text) == statuses


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[2001:DB8::1]", "2001:db8::1"), ("localhost", "localhost"),
        ("App.Example.COM", "app.example.com"), ("xn--9n2bp8q.com", "xn--9n2bp8q.com"), ("app_1", "app_1"),
    ],
)  # fmt: skip
def test_host(text: str, host: str) -> None:
    assert units.parse_host(text) == host


REFUSED: list[tuple[Callable[[object], object], object]] = [
    (units.parse_host, "http://app"),
    (units.parse_host, "app:3000"),
    (units.parse_host, "app/"),
    (units.parse_host, "-app"),
    (units.parse_host, "a" * 64),
    (units.parse_host, "a..b"),
    (units.parse_host, "예시.com"),
    (units.parse_host, ""),
    (units.parse_host, 5),
    (units.parse_address, "localhost"),
    (units.parse_address, "127.0.0.1:80"),
    (units.parse_address, "127.0.0.0/8"),
    (units.parse_address, 2130706433),
    (units.parse_name, "Edge"),
    (units.parse_name, "edge one"),
    (units.parse_name, "edge.one"),
    (units.parse_name, "-edge"),
    (units.parse_name, ""),
    (units.parse_name, "a" * 41),
    (units.parse_statuses, 99),
    (units.parse_statuses, 600),
    (units.parse_statuses, "300-200"),
    (units.parse_statuses, "2xx"),
    (units.parse_store_url, "http://127.0.0.1:6379"),
    (units.parse_store_url, "redis://"),
    (units.parse_url_path, "health"),
    (units.parse_url_path, "/a b"),
    (units.parse_url_path, "/a\r\nX: y"),
]


@pytest.mark.parametrize(("parse", "text"), REFUSED)
def test_refused(parse: Callable[[object], object], text: object) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse(text)
    assert repr(text) in str(caught.value), "the message shows what was written"


@pytest.mark.parametrize("url", ["http://user:geheim@h/0", "redis//u:geh/e@im@h/0", "geheim@"])
def test_a_store_that_is_refused_is_shown_without_its_password(url: str) -> None:
    with pytest.raises(PlanError) as caught:
        Topology.build({"store": {"url": url}})
    assert "is not the URL of a store" in str(caught.value)
    assert "geh" not in str(caught.value)
