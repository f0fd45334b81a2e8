"""The lessons: both languages against the table of commands, and every command against a real lab."""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console
from typer.testing import CliRunner

from cdnlab.lab import demo_sessions_view
from cdnlab.lab.cli import app
from cdnlab.lab.demo import DEMOS
from cdnlab.lab.demo_sessions import LESSONS as SENTENCES
from cdnlab.lab.demo_sessions_count import Row
from cdnlab.lab.lessons import LESSONS, PAGES
from tests.support.labs import RunningLab, lab, until

pytestmark = pytest.mark.scenario

ROOT = Path(__file__).parents[1]
SIMPLIFIED = {"docs/lessons.md": "*What is simplified.*", "docs/lessons.ko.md": "*단순하게 만든 점.*"}


class Step(NamedTuple):
    """A command of a lesson, and the lines that a reader is told to expect."""

    lesson: str
    words: str
    expected: tuple[str, ...]


def parts(page: str) -> dict[str, str]:
    """The lessons of a page by their headings."""
    _, *found = re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)
    return {head: body for head, _, body in (part.partition("\n") for part in found)}


def steps(page: str) -> Iterator[Step]:
    """Every command of a page, in order."""
    for lesson, body in parts(page).items():
        for block in re.findall(r"^```\n(.*?)^```", body, re.DOTALL | re.MULTILINE):
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                words, *expected = step.rstrip("\n").split("\n")
                yield Step(lesson, words, tuple(line for line in expected if line != "…"))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_the_lessons_of_the_table(page: str) -> None:
    column = PAGES.index(page)
    found = parts(page)
    assert list(found) == [lesson[column] for lesson in LESSONS]
    assert [(step.lesson, step.words) for step in steps(page)] == [
        (lesson[column], words) for lesson in LESSONS for words in lesson.commands
    ]
    for name, body in found.items():
        paragraphs = [part for part in body.split("\n\n") if not part.startswith("```")]
        assert len(paragraphs[0]) > 200, f"{name} begins with a paragraph"
        assert sum(SIMPLIFIED[page] in part for part in paragraphs) == 1, name


def test_both_languages_expect_the_same() -> None:
    english, korean = ([(step.words, step.expected) for step in steps(page)] for page in PAGES)
    assert english == korean


def test_the_commands_show_what_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers may differ, and which balancer holds the address, and which origin's turn it is."""
    lesson = ""
    with lab(module="cdnlab", topology=None) as running:
        running.ready()
        for step in steps(PAGES[0]):
            if step.lesson != lesson:
                until(lambda: _usable(running), "the edge in Seoul in use")
                lesson = step.lesson
            # so wide that nothing is broken, but for flows, which a narrow terminal shows otherwise
            monkeypatch.setenv("COLUMNS", "80" if "--flows" in step.words else "250")
            if not step.words.startswith("cdnlab demo "):  # those have tests of their own
                _expect(step, _said(running, step.words))


def _usable(running: RunningLab) -> bool:
    nodes = running.ask("/lab")["nodes"]
    passed = CliRunner().invoke(app, ["get", "/", "--from", "icn", "--state", str(running.directory)])
    return all(node["ready"] for node in nodes) and "chose edge-icn" in passed.output


def _said(running: RunningLab, words: str) -> str:
    for offset in (1, 2):
        words = words.replace(str(8080 + offset), str(running.base + offset))
    program, *rest = shlex.split(words)
    if program == "cdnlab":
        done = CliRunner().invoke(app, [*rest, "--state", str(running.directory)])
        assert done.exit_code == 0, done.output
        return done.stdout + done.stderr
    assert program == "python3"
    ran = subprocess.run([sys.executable, *rest], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _expect(step: Step, output: str) -> None:
    """Each expected line stands in the output, after the one before it."""
    lines = iter(output.splitlines())
    for expected in step.expected:
        pattern = _pattern(expected)
        assert any(re.search(pattern, line) for line in lines), f"{step.words}\n{expected}\n\n{output}"


def _pattern(line: str) -> str:
    pattern = re.escape(line).replace("…", ".*")
    pattern = re.sub(r"(?<![\w-])(lb\\-)[ab]\b", r"\1[ab]", pattern)
    pattern = re.sub(r"(?<!\w)\d+(\\\.\d+)?", r"[\\d.,]+", pattern)
    pattern = re.sub(r"(origin\\-)\d", r"\1\\d", pattern)
    return re.sub(r"(\\ )+", r"\\s+", pattern)


def test_expected_lines_are_matched_and_not_just_anything() -> None:
    step = Step("", "x", ("● lb-a …  balancer", "total   81 ms"))
    _expect(step, "a\n● lb-b  0.3 ms  balancer, stands\n│\ntotal 4.5 ms\n")
    for wrong in (
        "● lb-a  0.3 ms  edge\ntotal 4 ms",
        "total 4 ms\n● lb-a  1 ms  balancer",
        "● lb-a 1 balancer",
    ):
        with pytest.raises(AssertionError):
            _expect(step, wrong)


def test_the_table_of_the_sessions_looks_as_the_pages_say() -> None:
    """Its numbers are another test's (tests/lab/test_demo.py), which runs it."""
    rows = [
        Row("off", "local", "nothing", 30, 30, None, 90, 29, 20, 30, 0, 1.0),
        Row("cookie", "local", "nothing", 30, 30, None, 90, 90, 0, 0, 0, 1.0),
        Row("cookie", "local", "a server killed", 30, 30, 10, 90, 90, 10, 10, 0, 1.0),
        Row("cookie", "clustered", "a server killed", 30, 30, 10, 90, 90, 0, 0, 0, 1.0),
        Row("cookie", "clustered", "store restarted, empty", 30, 30, None, 90, 90, 30, 30, 0, 1.0),
        Row("off", "clustered", "nothing", 30, 30, None, 90, 90, 0, 0, 0, 1.0),
        Row("off", "clustered", "store restarted, log", 30, 30, None, 90, 90, 0, 0, 0, 1.0),
    ]
    assert all(holds(row) for (_, holds), row in zip(SENTENCES, rows, strict=True))
    shown = io.StringIO()
    demo_sessions_view.show(rows, [sentence for sentence, _ in SENTENCES], Console(file=shown, width=80))
    lines = {line.rstrip() for line in shown.getvalue().splitlines()}
    for page in (*PAGES, "docs/sessions.md"):
        told = [
            line for line in (ROOT / page).read_text().splitlines() if re.match(r"\d  (off|cookie) ", line)
        ]
        assert len(told) == 7, page
        assert lines >= set(told), page


def test_every_demonstration_is_in_a_lesson() -> None:
    taught = {words for lesson in LESSONS for words in lesson.commands}
    assert {f"cdnlab demo {name}" for name in DEMOS} <= taught
