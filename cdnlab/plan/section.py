"""What the sections of a topology are made of.

Decides what all of them have in common; it must not know any of them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

KIB = 1024
MIB = 1024 * KIB


class Section(BaseModel):
    """What all sections have in common: they never change, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def setting(default: Any, text: str, unit: str = "", **limits: Any) -> Any:
    """One setting with its default, its sentence and its unit; `limits` are pydantic's (ge, le, …)."""
    return Field(default, description=text, json_schema_extra={"unit": unit} if unit else None, **limits)
