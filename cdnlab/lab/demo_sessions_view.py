"""How `demo sessions` prints what was measured: a table, and under it what each line shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from cdnlab.lab.demo_sessions_count import Row
from cdnlab.lab.tables import NONE, plain_table

NUMBERS = ("there", "items\nput", "logins\nlost", "carts\nlost", "5xx")
NOTE = (
    "there: clients that were at the server to which it was done; a cart is lost if anything is missing in it; "
    "5xx: answers 5xx or none, asked again"
)


def show(rows: Sequence[Row], lessons: Sequence[str], console: Console) -> None:
    """The table, and a sentence for each row; not wider than 80 columns in its usual sizes."""
    most = max((row.clients for row in rows), default=0)
    console.print(f"{most} clients in each line, each with cookies of its own:\n")
    table = plain_table("", "sticky", "sessions", "what was done", *NUMBERS, right=("", *NUMBERS))
    for number, row in enumerate(rows, 1):
        table.add_row(
            str(number),
            row.sticky,
            row.sessions,
            row.event,
            NONE if row.there is None else str(row.there),
            f"{row.put}/{row.tried}" if row.tried else NONE,
            str(row.logins_lost),
            NONE if row.carts_lost is None else str(row.carts_lost),
            str(row.errors),
        )
    console.print(table)
    console.print()
    for number, lesson in enumerate(lessons, 1):
        console.print(f"{number}  {lesson}", soft_wrap=True)
    for number, row in enumerate(rows, 1):
        if row.logged_in < row.clients:
            console.print(
                f"{number}  {row.clients - row.logged_in} clients could not log in.", soft_wrap=True
            )
    console.print(f"\n{NOTE}", soft_wrap=True)
