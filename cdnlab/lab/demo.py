"""`cdnlab demo`: the demonstrations, each on a lab of its own, and the lessons that lead through all of it.

Decides what is listed. What a demonstration does is its own file's business, and is imported when it is run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cdnlab.lab.cli import SETTINGS, Entry, Lazy
from cdnlab.lab.lessons import LESSONS, PAGES

DEMOS = {
    "l4": Entry(
        "cdnlab.lab.demo_l4:command",
        "TCP and UDP flows: one expires, one is picked anew, one lives through a takeover.",
    ),
    "sessions": Entry(
        "cdnlab.lab.demo_sessions:command",
        "What stickiness and session clustering save: logins and carts lost, counted.",
    ),
}


class Demos(Lazy):
    """The group of demonstrations."""

    entries = DEMOS


app = typer.Typer(
    cls=Demos,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=SETTINGS,
    invoke_without_command=True,
)


@app.callback()
def demo(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="The list as one JSON object.")] = False,
) -> None:
    """Run a demonstration on a lab of its own; without a name, list them, and the lessons.

    Example: cdnlab demo sessions
    """
    if context.invoked_subcommand is None:
        sys.stdout.write(_as_json() if as_json else _as_text())


def _as_json() -> str:
    demos = [{"name": name, "sentence": entry.sentence} for name, entry in DEMOS.items()]
    lessons = [
        {"name": lesson.title, "korean": lesson.korean, "commands": list(lesson.commands)}
        for lesson in LESSONS
    ]
    return json.dumps({"demos": demos, "lessons": lessons}, indent=2, ensure_ascii=False) + "\n"


def _as_text() -> str:
    width = max(map(len, DEMOS))
    lines = ["Demonstrations. Each brings up a lab of its own, and ends it:"]
    lines += [f"  cdnlab demo {name:{width}}  {entry.sentence}" for name, entry in DEMOS.items()]
    lines += ["", f"Lessons. {_pages()} lead through them; type the commands beside `cdnlab up`:"]
    for lesson in LESSONS:
        titles = dict.fromkeys((lesson.title, lesson.korean))
        lines += ["", f"  {' · '.join(titles)}", *(f"    {words}" for words in lesson.commands)]
    return "\n".join([*lines, ""])


def _pages() -> str:
    """Where the lessons are: in a checkout by path."""
    root = Path(__file__).parents[2]
    here = all((root / page).exists() for page in PAGES)
    return " and ".join(str(root / page) if here else page for page in PAGES)
