"""docs/topology.md, from the settings' own declarations: `python -m cdnlab.plan.document > docs/topology.md`.

Decides how a setting is shown. Must not know any setting by name: what is said here was declared there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cdnlab.plan.explain import bare
from cdnlab.plan.load import DEFAULT
from cdnlab.plan.topology import Topology
from cdnlab.world.places import PLACES

INTRODUCTION = """\
# The topology

<!-- Made by `python -m cdnlab.plan.document > docs/topology.md`; change the declarations in cdnlab/plan instead. -->

One YAML file describes the whole network: places, pools, nodes, routes and policies. Every node is started as
(topology file, node name) and reads the same file. `cdnlab up` without a file starts the one that ships, which
stands at the end of this page and is the best introduction; `cdnlab check FILE` says whether a file holds together,
and `cdnlab check --schema` prints the JSON Schema for an editor.

Sizes are bytes, or such as `64KiB`, `256MiB` (`K` and `Ki` are 1024, `kB` is 1000). Durations are seconds, or such as
`300ms`, `2s`, `5m`, `1h`. Switches are `on` and `off`. An unknown key, a name that is used but not declared, a key
given twice or an address used twice is an error that names the line and the remedy.
"""

KIB = 1024


def document() -> str:
    """The whole page, in Markdown."""
    parts = [INTRODUCTION]
    parts += [
        _section(path, model, text) for path, model, text in _sections("", Topology, "The file as a whole.")
    ]
    parts += [
        _places(),
        f"## The default topology\n\n```yaml\n{DEFAULT.read_text(encoding='utf-8').rstrip()}\n```\n",
    ]
    return "\n".join(parts)


def _sections(path: str, model: type[BaseModel], text: str) -> Iterator[tuple[str, type[BaseModel], str]]:
    """(path, model, sentence) of a section and all below it, in the order of their declaration."""
    yield path, model, text
    for name, field in model.model_fields.items():
        inner, step = _inner(field, name)
        if inner is not None:
            below = f"{path}.{step}" if path else step
            yield from _sections(below, inner, (inner.__doc__ or "").strip().splitlines()[0])


def _inner(field: FieldInfo, name: str) -> tuple[type[BaseModel] | None, str]:
    """The model within a setting, if it holds one, and how its path is written."""
    kind, step = bare(field.annotation), name
    if get_origin(kind) is dict:
        kind, step = bare(get_args(kind)[1]), f"{name}.NAME"
    elif get_origin(kind) is tuple:
        kind, step = bare(get_args(kind)[0]), f"{name}[]"
    return (kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None), step


def _section(path: str, model: type[BaseModel], text: str) -> str:
    rows = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    rows += [_row(name, field) for name, field in model.model_fields.items()]
    title = f"## `{path}`" if path else "## The file"
    return "\n".join([title, "", text, "", *rows, ""])


def _row(name: str, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_default(field)} | {_allowed(field)} | {meaning} |"


def _extra(field: FieldInfo, key: str) -> str:
    extra = field.json_schema_extra
    return str(extra.get(key, "")) if isinstance(extra, dict) else ""


def _default(field: FieldInfo) -> str:
    if _extra(field, "default_text"):
        return _extra(field, "default_text")
    if field.is_required():
        return "required"
    inner, step = _inner(field, "")
    if inner is not None:
        return "see below" if not step else "none" if not field.default else "see below"
    return _show(field.get_default(call_default_factory=True, validated_data={}), _extra(field, "unit"))


def _show(value: Any, unit: str) -> str:
    """A value as one would write it."""
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    if isinstance(value, tuple):
        return ", ".join(f"`{item if isinstance(item, str) else '-'.join(map(str, item))}`" for item in value)
    if unit.startswith("bytes") and isinstance(value, int):
        return f"`{_size(value)}`"
    if unit == "seconds" and isinstance(value, float):
        return f"`{value:g}s`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _size(value: int) -> str:
    for name, size in (("MiB", KIB * KIB), ("KiB", KIB)):
        if value and value % size == 0:
            return f"{value // size}{name}"
    return str(value)


def _allowed(field: FieldInfo) -> str:
    """The words, or the range with its unit, that a setting may have."""
    kind, unit = bare(field.annotation), _extra(field, "unit")
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    if kind is bool:
        return "`on`, `off`"
    limits = _range(_bound(field, Ge, Gt, unit), _bound(field, Le, Lt, unit))
    shown = "" if unit.startswith("bytes") and unit != "bytes per second" and limits else unit
    return f"{limits} {shown}".strip()


def _range(low: str, high: str) -> str:
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else f"up to {high}" if high else ""


def _bound(field: FieldInfo, closed: Any, open_: Any, unit: str) -> str:
    for limit in field.metadata:
        if isinstance(limit, closed):
            return _number(limit.ge if isinstance(limit, Ge) else limit.le, unit)
        if isinstance(limit, open_):
            return "above " + _number(limit.gt if isinstance(limit, Gt) else limit.lt, unit)
    return ""


def _number(value: Any, unit: str) -> str:
    return (
        _size(value) if unit.startswith("bytes") else f"{value:g}" if isinstance(value, float) else str(value)
    )


def _places() -> str:
    rows = ["| code | city | country | continent | position | prefix |", "|---|---|---|---|---|---|"]
    rows += [
        f"| `{place.code}` | {place.city} | {place.country} | {place.continent} "
        f"| {place.latitude:.2f}, {place.longitude:.2f} | {', '.join(place.prefixes)} |"
        for place in PLACES.values()
    ]
    text = "What `places` starts from. Nodes take .10 and up, clients .100 and up."
    return "\n".join(["## The shipped places", "", text, "", *rows, ""])


if __name__ == "__main__":
    sys.stdout.write(document())
