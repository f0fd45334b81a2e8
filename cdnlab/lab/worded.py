"""Enumerations whose members bear a sentence for people beside their name. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Worded(StrEnum):
    """Members are written as (name, sentence)."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Self:
        """A member whose value is its name and whose `sentence` is for people."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member
