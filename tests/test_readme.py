"""The documents against the repository: links, commands, options, limits, reasons and the names of tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from cdnlab.lab.cli import COMMANDS, app
from cdnlab.plan.topology import Limits
from edge.results import Result

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")))
LINK = re.compile(r"\]\(([^)\s]+)\)")
PROMPT = re.compile(r"(?:\$ )?(?:bin/)?cdnlab (?P<words>.*)")


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def code_lines(page: Path) -> Iterator[str]:
    """The lines of a page's code: fenced blocks and indented ones."""
    fenced = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each cdnlab command in a page's code, `make up ARGS="…"` included."""
    for line in code_lines(page):
        if found := PROMPT.fullmatch(line):
            yield shlex.split(found["words"].rstrip("&"), comments=True)
        elif line.startswith("make up ARGS="):
            yield ["up", *shlex.split(shlex.split(line)[2].partition("=")[2])]


def group() -> tuple[Any, Any]:
    """The command line as a tree, and the context to look into it."""
    made: Any = typer.main.get_command(app)
    return made, made.make_context("cdnlab", [], resilient_parsing=True)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "cli.md"], ids=lambda page: page.name)
def test_every_command_is_one(page: Path) -> None:
    whole, context = group()
    found = list(commands(page))
    assert len(found) > 10
    for name, *words in found:
        command = whole.get_command(context, name)
        assert command is not None, name
        command.make_context(name, words, parent=context)  # UsageError for whatever is unknown


def options(command: Any) -> set[str]:
    spellings = [word for parameter in command.params for word in parameter.opts]
    return {word for word in spellings if word.startswith("-")}


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## `{heading}\b[^\n]*\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_commands_has_every_option(name: str) -> None:
    whole, context = group()
    text = section((ROOT / "docs" / "cli.md").read_text(), f"cdnlab {name}")
    rows = re.findall(r"^\| (`-.*?) \|", text, re.MULTILINE)
    documented = {word for row in rows for word in re.findall(r"`(--?[a-zA-Z-]+)", row)}
    assert documented == options(whole.get_command(context, name))
    assert f"    cdnlab {name}" in text, "an example"


def rows(text: str) -> dict[str, list[str]]:
    """The rows of a page's tables by their first cell, where that is code."""
    cells = (line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `"))
    return {first.strip(" `"): [cell.strip() for cell in others] for first, *others in cells}


def test_the_limits_are_those_of_the_topology() -> None:
    page = (ROOT / "docs" / "http.md").read_text()
    told = rows(page.partition("\n## Limits")[2].partition("\n## ")[0])
    declared = rows(
        (ROOT / "docs" / "topology.md").read_text().partition("\n## `limits`")[2].partition("\n## ")[0]
    )
    assert told.keys() == Limits.model_fields.keys()
    assert {name: cells[0] for name, cells in told.items()} == {n: cells[0] for n, cells in declared.items()}
    for name, cells in told.items():
        status = re.search(r"\((\d{3})\)", declared[name][2])
        assert status is None or cells[1].startswith(status[1]), name


def test_every_result_stands_with_its_sentence() -> None:
    told = rows((ROOT / "docs" / "http.md").read_text())
    for member in Result:
        assert told.get(str(member), [""])[-1].rstrip("| ") == member.sentence


def test_every_test_that_is_named_is_there() -> None:
    for page in PAGES:
        for path, _, name in (
            found.partition("::") for found in re.findall(r"`(tests/[\w/.:]+)`", page.read_text())
        ):
            assert (ROOT / path).exists(), path
            assert not name or re.search(rf"def {name}\b", (ROOT / path).read_text()), f"{path}::{name}"
