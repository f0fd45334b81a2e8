"""docs/conformance.md, made from the requirements and from the marks of the tests that show them.

    python -m tests.edge.conformance.document > docs/conformance.md

The tests are collected as pytest collects them, so that what the page names is what runs. A test that is expected to
fail shows nothing.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.edge.conformance.register import LEVELS, PARTS, ROWS, Part, Row

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "conformance.md"
COMMAND = "python -m tests.edge.conformance.document > docs/conformance.md"

Tests = dict[str, Counter[tuple[str, str]]]
"""A row's name to (file, test) to the number of its cases."""

_HEAD = f"""\
# Conformance

What the RFCs ask of a shared cache that is a gateway, one row a requirement, and the tests that show each. The words in
the third column say what the edge does; a row that it does not meet says so, with its reason.

The tests ask from outside. `cdnlab edge --listen 127.0.0.1:9000 --origin http://127.0.0.1:8000`, with no other option,
runs as a process of its own before an origin that answers what the test says, on real sockets; whether a response was
reused is seen by whether the origin was asked. They were written from the RFCs, not from the code.

    pytest tests/edge/conformance                                    # all of them, in seconds
    pytest tests/edge/conformance -k test_a_304_updates_each_field   # one

This page is made from the requirements in `tests/edge/conformance/requirements` and from the tests' own marks, such as
`@shows("9111/4.2.3-1")`:

    {COMMAND}

A test fails where a row has neither a test nor a reason, and where this page is not what would be made. MAY stands for
what an RFC allows and the edge makes use of.
"""


def collected() -> Tests:
    """The tests of this directory by the rows that they show."""
    found: Tests = {}

    class Keep:
        def pytest_collection_finish(self, session: pytest.Session) -> None:
            for item in session.items:
                _note(item, found)

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", str(HERE)], plugins=[Keep()])
    if code:
        raise SystemExit(f"the tests could not be collected:\n{said.getvalue()}")
    return found


def _note(item: pytest.Item, found: Tests) -> None:
    if item.get_closest_marker("xfail") is not None:
        return
    name: str = getattr(item, "originalname", item.name)
    case = getattr(item, "callspec", None)
    if case is not None and any(mark.name == "requirement" for mark in case.marks):
        name = f"{name}[{case.id}]"
    for mark in item.iter_markers("requirement"):
        for row in mark.args:
            found.setdefault(row, Counter())[item.path.name, name] += 1


def problems(rows: Iterable[Row], tests: Tests) -> list[str]:
    """What keeps the table from being whole, a sentence each."""
    found = []
    for row in rows:
        if row.unmet is not None and not row.unmet.strip():
            found.append(f"RFC {row.name} is not met, and its table `unmet` gives no reason")
        elif row.unmet is None and not tests.get(row.name):
            found.append(f"RFC {row.name} has no test: mark one with @shows, or give the reason in `unmet`")
    return found


def document(tests: Tests) -> str:
    """The whole page."""
    return "\n".join([_HEAD, _summary(), *(_part(part, tests) for part in PARTS)])


def _summary() -> str:
    lines = [f"| RFC | {' | '.join(LEVELS)} | not met |", "|---" * (len(LEVELS) + 2) + "|"]
    for part in PARTS:
        levels = Counter(row.level for row in part.rows)
        unmet = sum(row.unmet is not None for row in part.rows)
        counts = " | ".join(str(levels[level]) for level in LEVELS)
        lines.append(f"| [{part.rfc}](#{_anchor(part)}) {part.title} | {counts} | {unmet} |")
    return "\n".join([*lines, ""])


def _title(part: Part) -> str:
    return f"RFC {part.rfc}: {part.title}"


def _anchor(part: Part) -> str:
    return "".join(c for c in _title(part).lower().replace(" ", "-") if c.isalnum() or c == "-")


def _part(part: Part, tests: Tests) -> str:
    lines = [
        f"## {_title(part)}",
        "",
        "| section | level | what the edge does | shown by |",
        "|---|---|---|---|",
    ]
    for row in part.rows:
        link = f"[{row.section}](https://www.rfc-editor.org/rfc/rfc{part.rfc}#section-{row.section})"
        does = row.does if row.unmet is None else f"**Not met.** {row.unmet} (Asked: {row.does})"
        lines.append(f"| {link} | {row.level} | {does} | {_shown(tests.get(row.name))} |")
    return "\n".join([*lines, ""])


def _shown(cases: Counter[tuple[str, str]] | None) -> str:
    files: dict[str, list[str]] = {}
    for (file, name), count in sorted((cases or Counter()).items()):
        files.setdefault(file, []).append(f"`{name}`" + (f" ×{count}" if count > 1 else ""))
    return "; ".join(f"{file.removesuffix('.py')}: {', '.join(names)}" for file, names in files.items())


if __name__ == "__main__":
    shown = collected()
    if missing := problems(ROWS.values(), shown):
        sys.exit("\n".join(missing))
    sys.stdout.write(document(shown))
