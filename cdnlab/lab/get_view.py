"""How `get` shows what it found: the answer, the stations, redirects, and the two times side by side.

It decides words and layout only; every fact is in the visit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from cdnlab.lab import explain_view, tables
from cdnlab.lab.fetch import Answer, FetchFailed
from cdnlab.lab.redirects import Kind, Verdict

if TYPE_CHECKING:
    from cdnlab.lab.get import Visit


def show(visit: Visit, *, stderr: bool) -> None:
    """Print the visit for a person."""
    console = tables.console(stderr=stderr)
    answer = visit.answer
    console.print(_request_line(visit), soft_wrap=True)
    console.print(_status_line(answer), soft_wrap=True)
    console.print()
    if visit.hops:
        console.print(explain_view.render(visit.path))
    else:
        console.print(
            Text("No node explained itself: this answer did not come from the lab.", style="yellow")
        )
    for name in ("cache-status", "via"):
        if answer.field(name):
            console.print(Text(f"{name.title()}: {tables.printable(answer.field(name))}", style="dim"))
    console.print()
    if visit.redirect is not None:
        _show_redirect(console, visit, visit.redirect)
    if visit.direct is None:
        console.print(_times(answer))
    else:
        _compare(console, visit, visit.direct)
    if answer.cut:
        console.print(Text(f"Broken off: {answer.cut}", style="red"))


def _request_line(visit: Visit) -> Text:
    place = visit.topology.place(visit.request.place)
    text = Text.assemble((visit.request.method.decode(), "bold"), " ", visit.request.url)
    return text.append(f"  from {place.city} ({place.code})", style="dim")


def _status_line(answer: Answer) -> Text:
    text = Text(
        f"HTTP/1.1 {answer.status} {answer.reason}".rstrip(), style=tables.status_style(answer.status)
    )
    facts = [answer.field("content-type"), tables.size(answer.size)]
    return text.append("  " + tables.printable(", ".join(fact for fact in facts if fact)), style="dim")


def _times(answer: Answer) -> Text:
    text = Text.assemble("Total ", (tables.millis(answer.total), "bold"))
    parts = (
        f"  (connected after {tables.millis(answer.connect)}, head after {tables.millis(answer.first_byte)})"
    )
    return text.append(parts, style="dim")


def _show_redirect(console: Console, visit: Visit, verdict: Verdict) -> None:
    fine = verdict.kind is Kind.WITHIN
    style = "" if fine else "yellow" if verdict.kind is Kind.ELSEWHERE and not verdict.remedy else "red"
    console.print(Text(f"Redirect to {tables.printable(visit.chain[1])}", style=style), soft_wrap=True)
    for url in visit.chain[2:]:
        console.print(Text(f"      to {tables.printable(url)}", style=style), soft_wrap=True)
    console.print(Text(f"  {verdict.kind.sentence}", style=style))
    if verdict.remedy:
        console.print(Text(f"  {verdict.remedy}"), soft_wrap=True)
    console.print()


def _compare(console: Console, visit: Visit, direct: Answer | FetchFailed) -> None:
    assert visit.origin is not None
    name = visit.origin.backend.name
    if isinstance(direct, FetchFailed):
        console.print(_times(visit.answer))
        console.print(Text(f"Direct to {name}: {direct}", style="red"))
        return
    table = tables.plain_table(
        "", "through the lab", f"direct to {name}", right=["through the lab", f"direct to {name}"]
    )
    ours = visit.answer
    rows = [
        ("connected", ours.connect, direct.connect),
        ("head", ours.first_byte, direct.first_byte),
        ("total", ours.total, direct.total),
    ]
    for title, one, other in rows:
        style = "bold" if title == "total" else ""
        table.add_row(title, Text(tables.millis(one), style=style), Text(tables.millis(other), style=style))
    console.print(table)
    console.print(Text(_sentence(ours, direct, visit.origin.rtt), style="dim"))


def _sentence(ours: Answer, direct: Answer, rtt: float) -> str:
    parts = []
    if ours.total > 0 and direct.total > 0:
        factor = max(direct.total, ours.total) / min(direct.total, ours.total)
        word = "faster" if ours.total < direct.total else "slower"
        times = f"{factor:.0f}" if factor >= 10 else f"{factor:.1f}"
        parts.append(
            f"Through the lab it was {times} times {word}." if factor >= 1.05 else "Both took as long."
        )
    if "stored" in ours.field("cache-status").split("; "):
        parts.append("It was a miss, and is stored now: ask again.")
    if rtt:
        parts.append(f"Directly, each round trip to the origin takes {tables.millis(rtt)}.")
    if direct.status != ours.status:
        parts.append(f"The origin answered {direct.status} directly, and {ours.status} through the lab.")
    return " ".join(parts)


# ---- as data ----


def as_json(visit: Visit) -> dict[str, Any]:
    """The visit as plain data; times in seconds."""
    found: dict[str, Any] = {
        "request": {
            "method": visit.request.method.decode(),
            "url": visit.request.url,
            "place": visit.request.place,
            "source": visit.address,
        },
        "response": _answer(visit.answer),
        "stations": explain_view.as_json(visit.path),
    }
    if visit.redirect is not None:
        verdict = visit.redirect
        found["redirect"] = {
            "kind": str(verdict.kind),
            "sentence": verdict.kind.sentence,
            "remedy": verdict.remedy,
            "chain": visit.chain,
        }
    if visit.origin is not None:
        backend, direct = visit.origin.backend, visit.direct
        told = _answer(direct) if isinstance(direct, Answer) else {"error": str(direct)}
        found["direct"] = {
            "origin": backend.name,
            "place": backend.place,
            "round_trip": visit.origin.rtt,
            **told,
        }
    return found


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "reason": answer.reason,
        "fields": answer.fields,
        "size": answer.size,
        "connect": answer.connect,
        "first_byte": answer.first_byte,
        "total": answer.total,
        "cut": answer.cut,
    }
