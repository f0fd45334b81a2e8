"""The requirements that the edge is held to, and the mark by which a test says which of them it shows.

The rows stand in requirements/rfc*.toml: [id, level, what we do]. A row that we choose not to meet has a sentence in
the same file's table `unmet`. A test names its rows by RFC and id, `@shows("9111/4.2.3-1")`; a name that is no row is
an error where the test is collected.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

LEVELS = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY")


@dataclass(frozen=True)
class Row:
    """One requirement."""

    rfc: int
    id: str
    """Section and number: 4.2.3-1."""
    level: str
    does: str
    unmet: str | None

    @property
    def name(self) -> str:
        return f"{self.rfc}/{self.id}"

    @property
    def section(self) -> str:
        return self.id.rpartition("-")[0]


@dataclass(frozen=True)
class Part:
    """One RFC's requirements, in the order of its sections."""

    rfc: int
    title: str
    rows: tuple[Row, ...]


def _read(path: Path) -> Part:
    data = tomllib.loads(path.read_text())
    unmet: dict[str, str] = data.get("unmet", {})
    rows = tuple(
        Row(data["rfc"], id_, level, does, unmet.pop(id_, None)) for id_, level, does in data["rows"]
    )
    assert not unmet, f"{path.name}: unmet names rows that are not there: {', '.join(unmet)}"
    assert len({row.id for row in rows}) == len(rows), f"{path.name}: an id is there twice"
    assert all(row.level in LEVELS for row in rows), f"{path.name}: a level is none of {', '.join(LEVELS)}"
    return Part(data["rfc"], data["title"], rows)


_ORDER = (9111, 9110, 5861, 8246, 9211, 9213, 9875)
PARTS = tuple(_read(Path(__file__).parent / "requirements" / f"rfc{number}.toml") for number in _ORDER)
ROWS = {row.name: row for part in PARTS for row in part.rows}


def shows(*names: str) -> pytest.MarkDecorator:
    """Mark a test as one that shows these rows."""
    missing = [name for name in names if name not in ROWS]
    assert not missing, f"no such requirement: {', '.join(missing)}"
    return pytest.mark.requirement(*names)
