"""How `audit` shows what it found: a table of the pages, then what is to be said of each.

It decides words and layout only; every fact is in the reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cdnlab.lab import tables
from cdnlab.lab.audit_leaks import Kind, Leak
from cdnlab.lab.audit_page import Report
from cdnlab.lab.audit_surprises import Surprise


def show(reports: Sequence[Report], users: Sequence[str]) -> None:
    """Print the reports for a person."""
    console = tables.console()
    console.print(Text(f"Two users: {' and '.join(users)}. {_from(reports)}", style="dim"))
    console.print()
    console.print(_table(reports))
    for report in reports:
        if report.failed or report.leaks:
            _leaks(console, report)
    for kind in Surprise:
        rows = [
            (_name(report), one.detail) for report in reports for one in report.findings if one.kind is kind
        ]
        if rows:
            _surprise(console, kind, rows)
    console.print()
    for line in _how(reports):
        console.print(Text(line, style="dim"))
    console.print(_verdict(reports))


def _from(reports: Sequence[Report]) -> str:
    places = [way.place for way in reports[0].target.ways if way.place]
    return f"They ask from {' and '.join(places)}." if places else "They ask from where this machine stands."


def _name(report: Report) -> str:
    """The path of a page of the lab; the URL of any other."""
    page = report.target.page
    return tables.printable(page.target if report.target.ways[0].code else page.url)


def _table(reports: Sequence[Report]) -> Table:
    table = tables.plain_table("status", "cached", "for", "by", right=["for"])
    table.add_column("page", overflow="fold")
    for report in reports:
        ruling = report.ruling
        name = _name(report)
        if report.failed:
            table.add_row(Text("none", style="red bold"), "", "", "", name)
            continue
        kept = report.cached or report.strangers_only or not report.reason
        lifetime, by = tables.NONE, tables.NONE  # where no field says: an edge may keep a 404 by a setting
        if ruling is not None and kept and ruling.by:
            lifetime, by = f"{ruling.lifetime:,} s", ruling.by
        status = Text(str(report.status), style=tables.status_style(report.status))
        table.add_row(status, _cached(report), lifetime, by, name)
    return table


def _cached(report: Report) -> Text:
    if report.leaks:
        return Text("leaks", style="red bold")
    if report.strangers_only:
        return Text("strangers'", style="green")
    return Text("yes", style="green") if report.cached else Text("no", style="yellow")


def _leaks(console: Console, report: Report) -> None:
    console.print()
    console.print(Text(_name(report), style="bold"))
    if report.failed:
        _line(console, report.failed)
    for (kind, what), leaks in _grouped(report.leaks).items():
        _line(console, f"{kind.sentence}: {what} ({'; '.join(leaks)})")


def _line(console: Console, text: str) -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column()
    grid.add_row(Text("✗", style="red"), Text(tables.printable(text), style="red"))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _grouped(leaks: Sequence[Leak]) -> dict[tuple[Kind, str], list[str]]:
    """Who received it, by what it is: one sentence for all of them."""
    found: dict[tuple[Kind, str], list[str]] = {}
    for leak in leaks:
        where = f" in {leak.place}" if leak.place else ""
        found.setdefault((leak.kind, f"{leak.owner}'s “{leak.what}”"), []).append(
            f"to {leak.receiver}{where}"
        )
    return found


def _surprise(console: Console, kind: Surprise, rows: Sequence[tuple[str, str]]) -> None:
    console.print()
    console.print(Text.assemble("• ", f"{kind.sentence[0].upper()}{kind.sentence[1:]}."))
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="fold")
    grid.add_column()
    for page, detail in rows:
        grid.add_row(Text(page, style="bold"), Text(tables.printable(detail), style="dim"))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _how(reports: Sequence[Report]) -> list[str]:
    """How the cache was passed, and how cold the first answers were."""
    asked = [report for report in reports if not report.failed]
    if not asked:
        return []
    lines = [f"{sum(report.asked for report in reports):,} requests."]
    for past in dict.fromkeys(report.past for report in asked):
        lines[0] += f" Compared {past}." if past else ""
    for cold in dict.fromkeys(report.cold for report in asked):
        names = [_name(report) for report in asked if report.cold == cold]
        lines.append(f"{'All' if len(names) == len(asked) else ', '.join(names)}: {cold}.")
    return lines


def _verdict(reports: Sequence[Report]) -> Text:
    count = sum(len(report.leaks) for report in reports)
    failed = sum(bool(report.failed) for report in reports)
    if count:
        return Text(f"{count} {'leak' if count == 1 else 'leaks'}.", style="red bold")
    if failed:
        return Text(f"{failed} of {len(reports)} pages gave no answer.", style="red")
    return Text("No leak was seen.", style="green")


# ---- as data ----


def as_json(reports: Sequence[Report], users: Sequence[str]) -> dict[str, Any]:
    """The reports as plain data; times in seconds."""
    return {
        "users": list(users),
        "leaks": sum(len(report.leaks) for report in reports),
        "pages": [_page(report) for report in reports],
    }


def _page(report: Report) -> dict[str, Any]:
    ruling = report.ruling
    return {
        "url": report.target.page.url,
        "places": [way.code for way in report.target.ways if way.code],
        "error": report.failed,
        "status": report.status,
        "cached": report.cached,
        "cached_for_strangers_only": report.strangers_only,
        "lifetime": ruling.lifetime if ruling is not None else None,
        "by": ruling.by if ruling is not None else "",
        "reason": report.reason,
        "why": report.sentence,
        "cold": report.cold,
        "past": report.past,
        "requests": report.asked,
        "leaks": [{**asdict(leak), "sentence": leak.kind.sentence} for leak in report.leaks],
        "surprises": [
            {"kind": str(one.kind), "sentence": one.kind.sentence, "detail": one.detail}
            for one in report.findings
        ],
    }
