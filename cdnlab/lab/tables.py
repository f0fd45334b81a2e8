"""How numbers, states and tables look in a terminal. Pure: data in, rich renderables out.

It decides words, widths and colours. It must not know sockets, commands or where the data came from. What
status and the page say of a node is decided here and in page.js by the same rules: what the supervisor sees
of a process stands above what the node last said of itself.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]

NONE = "–"
COLOURS = {
    "ready": "green",
    "waiting": "cyan",
    "starting": "cyan",
    "draining": "yellow",
    "behind": "yellow",
    "paused": "yellow",
    "dead": "red",
    "silent": "red",
}
SIGNS = {
    "ready": "●",
    "waiting": "…",
    "starting": "○",
    "draining": "◐",
    "behind": "◔",
    "paused": "‖",
    "dead": "✗",
    "silent": "?",
}
TIERS = ("lb", "edge", "origin")


def console(*, stderr: bool = False) -> Console:
    """A console that takes data as data: no markup, no highlighting, no emoji codes."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)


# ---- numbers ----


def number(value: Any) -> float | None:
    """`value` if it is a number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count(value: Any) -> str:
    """1234 -> "1,234"."""
    found = number(value)
    return NONE if found is None else f"{found:,.0f}"


def rate(value: Any) -> str:
    """Per second: one decimal below ten."""
    found = number(value)
    if found is None:
        return NONE
    return f"{found:.1f}" if 0 < found < 9.95 else f"{found:,.0f}"


def percent(value: Any) -> str:
    """0.934 -> "93.4 %"."""
    found = number(value)
    if found is None:
        return NONE
    return f"{100 * found:.0f} %" if found in (0, 1) else f"{100 * found:.1f} %"


def millis(seconds: Any) -> str:
    """Seconds as milliseconds, with as many decimals as make sense: 0.00042 -> "0.42 ms"."""
    found = number(seconds)
    if found is None:
        return NONE
    ms = 1000 * found
    if ms < 0.995:
        return f"{ms:.2f} ms"
    if ms < 9.95:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 9999.5 else f"{found:.1f} s"


def size(octets: Any) -> str:
    """Bytes in binary units: 5120 -> "5.0 KiB"."""
    found = number(octets)
    if found is None:
        return NONE
    if found < 1024:
        return f"{found:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        found /= 1024
        if found < 1024 or unit == "GiB":
            break
    return f"{found:.1f} {unit}"


def ago(since: Any, wall: float) -> str:
    """How long ago the wall time `since` was: "12 s", "3 min", "2 h", "4 d"."""
    found = number(since)
    if found is None:
        return ""
    seconds = max(0.0, wall - found)
    for limit, unit, divisor in ((90, "s", 1), (5400, "min", 60), (129600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / divisor:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def clock(wall: Any, *, fraction: bool = False) -> str:
    """A wall time as local hours, minutes, seconds, optionally milliseconds."""
    found = number(wall)
    if found is None:
        return NONE
    text = time.strftime("%H:%M:%S", time.localtime(found))
    return f"{text}.{int(found % 1 * 1000):03d}" if fraction else text


def printable(text: Any) -> str:
    """`text` with "?" for what is not printable: a client's bytes must not steer the reader's terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text or ""))


# ---- states ----


def name(node: Json) -> str:
    """A node's name, by whichever of the two names the answer has."""
    return str(node.get("name") or node.get("node") or "?")


def state(node: Json) -> tuple[str, str]:
    """(state, reason) of a node as a person should see it."""
    reason = str(node.get("reason") or "")
    if node.get("running") is False:
        return "dead", reason or _ended(node.get("exit"))
    if node.get("paused"):
        return "paused", reason or "stopped by a signal until it is resumed"
    if not node.get("state"):
        return "silent", reason or "does not answer on its admin address"
    return str(node["state"]), reason


def _ended(code: Any) -> str:
    found = number(code)
    if found is None:
        return "its process has ended"
    return f"killed by signal {-found:.0f}" if found < 0 else f"ended with exit code {found:.0f}"


def state_text(word: str) -> Text:
    """The state with its sign and colour: never a colour alone."""
    return Text(f"{SIGNS.get(word, '●')} {word}", style=COLOURS.get(word, ""))


def status_style(status: Any) -> str:
    """The colour of a response status."""
    code = int(number(status) or 0)
    return {2: "green", 3: "cyan", 4: "yellow", 5: "red bold"}.get(code // 100, "red bold")


def result_style(result: str) -> str:
    """The colour of what a cache did."""
    return {"hit": "green", "miss": "yellow", "stale": "cyan", "pass": "magenta"}.get(result, "")


# ---- tables ----


def plain_table(*columns: str, right: Iterable[str] = ()) -> Table:
    """A table without frame, two spaces between columns; those named in `right` are right-aligned."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in columns:
        table.add_column(title, justify="right" if title in right else "left", no_wrap=True)
    return table
