"""Pydantic's complaints about a topology, in words for its author.

Decides which words; finds the nearest known key and the setting's own sentence by walking the models.
Must not know files, nor any section by name.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cdnlab.plan.errors import PlanError, did_you_mean

_WORDS = {
    "greater_than_equal": "{given!r} is too small, it must be at least {ge:g}",
    "greater_than": "{given!r} is too small, it must be more than {gt:g}",
    "less_than_equal": "{given!r} is too large, it must be at most {le:g}",
    "less_than": "{given!r} is too large, it must be less than {lt:g}",
    "string_pattern_mismatch": "{given!r} is not understood",
    "too_short": "it is empty",
    "int_parsing": "{given!r} is not a whole number",
    "int_type": "{given!r} is not a whole number",
    "int_from_float": "{given!r} is not a whole number",
    "float_parsing": "{given!r} is not a number",
    "float_type": "{given!r} is not a number",
    "bool_parsing": "{given!r} is neither on nor off",
    "bool_type": "{given!r} is neither on nor off",
    "string_type": "{given!r} is not text",
    "dict_type": "{given!r} stands where keys with values belong",
    "model_type": "{given!r} stands where keys with values belong",
    "tuple_type": "{given!r} stands where a list belongs",
}
"""Pydantic's kinds of error, as this format's authors would say it; others keep pydantic's words."""

SHOWN = 5
"""Complaints told at once; a person repairs the first few and runs again."""

Loc = tuple[int | str, ...]


def explain(error: ValidationError, model: type[BaseModel]) -> PlanError:
    """All of `error`, which arose from reading a `model`, as one PlanError; `where` is the path in it."""
    details = error.errors()
    told = [
        _explain(detail, model) for detail in sorted(details, key=_rank) if not _consequence(detail, details)
    ]
    first, rest = told[0], told[1:SHOWN]
    if len(told) > SHOWN:
        rest.append(PlanError(f"and {len(told) - SHOWN} more"))
    return PlanError(first.problem, first.where, first.remedy, rest)


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> PlanError:
    kind, given = detail["type"], detail["input"]
    loc: Loc = tuple(step for step in detail["loc"] if step != "[key]")
    if kind == "extra_forbidden":
        return PlanError(f'unknown key "{loc[-1]}"', path(loc), did_you_mean(loc[-1], _keys(model, loc[:-1])))
    if kind == "missing":
        return PlanError(f'"{loc[-1]}" is missing', path(loc[:-1]), _remedy(model, loc))
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        hint = did_you_mean(given, options)
        remedy = hint if hint.startswith("did") else ""
        return PlanError(f'"{given}" is not one of {", ".join(options)}', path(loc), remedy)
    if kind in _WORDS:
        limits = {"given": given, **detail.get("ctx", {})}
        return PlanError(_WORDS[kind].format(**limits), path(loc), _remedy(model, loc))
    text = str(detail["ctx"]["error"]) if kind == "value_error" else detail["msg"]
    said = (
        kind == "store" or repr(given) in text
    )  # a store's URL may bear a password: its text shows the rest
    return PlanError(text if said else f"{given!r} is refused: {text}", path(loc))


def _rank(detail: ErrorDetails) -> int:
    """Unknown keys first: what is missing is often there under a wrong name."""
    return 0 if detail["type"] == "extra_forbidden" else 1


def _consequence(detail: ErrorDetails, details: list[ErrorDetails]) -> bool:
    """Whether a complaint only follows from another: a default not made, a list now too short."""
    loc = detail["loc"]
    deeper = any(other["loc"][: len(loc)] == loc and len(other["loc"]) > len(loc) for other in details)
    return detail["type"] == "default_factory_not_called" or (detail["type"] == "too_short" and deeper)


def _remedy(model: type[BaseModel], loc: Loc) -> str:
    """What the setting means, in its own sentence."""
    field = _field(model, loc)
    if field is None or not field.description:
        return ""
    name = next(step for step in reversed(loc) if isinstance(step, str))
    return f"{name} is: {field.description}"


def path(loc: Loc) -> str:
    """`pools.edges.backends[0].port` from its steps."""
    text = ""
    for step in loc:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _field(model: type[BaseModel], loc: Loc) -> FieldInfo | None:
    """The setting at `loc`, or the one whose list or mapping `loc` leads into."""
    for cut in range(len(loc), 0, -1):
        section = _section(model, loc[: cut - 1])
        if section is not None:
            return section.model_fields.get(str(loc[cut - 1]))
    return None


def _keys(model: type[BaseModel], loc: Loc) -> list[str]:
    section = _section(model, loc)
    return list(section.model_fields) if section is not None else []


def _section(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The model that stands at `loc`, if one does."""
    kind: Any = model
    for step in loc:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(step))
            if field is None:
                return None
            kind = bare(field.annotation)
        elif get_origin(kind) in (dict, tuple):
            kind = bare(get_args(kind)[1 if get_origin(kind) is dict else 0])
        else:
            return None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def bare(kind: Any) -> Any:
    """Without Annotated and without `| None`."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    given = [option for option in get_args(kind) if option is not type(None)]
    return bare(given[0]) if type(None) in get_args(kind) and len(given) == 1 else kind
