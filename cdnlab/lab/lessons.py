"""The lessons: their titles and the commands that each goes through.

What is taught stands in docs/lessons.md and docs/lessons.ko.md; a test holds both to this table, and runs it.
"""

from __future__ import annotations

from typing import NamedTuple

PAGES = ("docs/lessons.md", "docs/lessons.ko.md")


class Lesson(NamedTuple):
    """One lesson: its heading in English and in Korean, and what is typed in it, in order."""

    title: str
    korean: str
    commands: tuple[str, ...]


LESSONS: tuple[Lesson, ...] = (
    Lesson("Sticky session and session clustering", "세션 고정과 세션 클러스터링", ("cdnlab demo sessions",)),
)
