"""A topology from a file, or the one that ships; and every complaint with its file, line and path.

Decides how YAML is read and how errors are told. Must not know what a setting means.

YAML is read in the spirit of 1.2: only true and false are booleans, so `access: off` and a country `no` stay
words (settings that are true or false take on and off all the same). A key given twice is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import yaml

from cdnlab.plan.errors import PlanError
from cdnlab.plan.topology import Topology

DEFAULT = Path(__file__).with_name("defaults") / "lab.yaml"
"""The shipped topology, which is also the best documentation of the format."""
DEEPEST = 50
"""Levels of nesting that are read."""


def load(path: str | Path | None = None) -> Topology:
    """The topology in the file at `path`; None is the shipped one. PlanError says what is wrong where."""
    file = DEFAULT if path is None else Path(path)
    return parse(_read(file), str(file))


def parse(text: str, file: str = "") -> Topology:
    """The topology in `text`; `file` is its name for complaints."""
    root = _compose(text, file)
    data = _construct(root, file)
    if not isinstance(data, dict):
        raise PlanError("this is no topology", file, f"start from a copy of {DEFAULT}")
    try:
        return Topology.build(data)
    except PlanError as error:
        raise _placed(error, file, root) from None


def schema() -> dict[str, Any]:
    """The JSON Schema of a topology file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Topology.model_json_schema()}


# -- reading ------------------------------------------------------------------------------------------------


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML with only true and false for booleans, and no dates."""

    yaml_implicit_resolvers: ClassVar = {
        first: [
            rule for rule in rules if rule[0] not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
        ]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PlanError("there is no such file", str(file), "give the path of a topology file") from None
    except UnicodeDecodeError as error:
        raise PlanError(f"it is not UTF-8 at byte {error.start}", str(file), "save it as UTF-8") from None
    except OSError as error:
        raise PlanError(f"it can't be read ({error.strerror})", str(file), "give a readable file") from None


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        _look_how_deep(text, file)
        root: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except UnicodeError:
        raise PlanError("this is not Unicode text", file, "save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file
        problem = getattr(error, "problem", None) or str(error)
        raise PlanError(
            f"this is not YAML: {problem}", where, "mind the indentation and the quotes"
        ) from None
    repeated = next(_repeated(root, ""), None)
    if repeated is not None:
        path, line = repeated
        raise PlanError("this key is given twice", _where(file, line, path), "keep one of them")
    return root


def _look_how_deep(text: str, file: str) -> None:
    """PlanError for what is nested beyond all sense: the reader in C is recursive, and would take the process along."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                line = event.start_mark.line if event.start_mark is not None else 0
                problem = f"this is nested deeper than {DEEPEST} levels"
                raise PlanError(problem, _where(file, line, ""), "a topology has a handful of them")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _construct(root: yaml.Node | None, file: str) -> Any:
    if root is None:
        return None
    loader = _Loader("")
    try:
        return loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise PlanError(
            problem, _where(file, mark.line if mark else 0, ""), "use plain values only"
        ) from None
    except (ValueError, AttributeError) as error:  # a number of thousands of digits, a tag that does not fit
        raise PlanError(f"a value can't be read: {error}", file, "use plain values only") from None
    finally:
        loader.dispose()


def _repeated(node: yaml.Node | None, path: str, seen: set[int] | None = None) -> Iterator[tuple[str, int]]:
    """(path, line) of each key that its mapping has already. An alias is looked into once: it may hold itself."""
    seen = set() if seen is None else seen
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            here = f"{path}.{key.value}" if path else str(key.value)
            if str(key.value) in keys:
                yield here, key.start_mark.line
            keys.add(str(key.value))
            yield from _repeated(value, here, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated(item, f"{path}[{index}]", seen)


# -- telling ------------------------------------------------------------------------------------------------

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


def _placed(error: PlanError, file: str, root: yaml.Node | None) -> PlanError:
    """The same complaint, its path preceded by file and line."""
    more = [_placed(further, file, root) if further.where else further for further in error.more]
    return PlanError(error.problem, _where(file, _line(root, error.where), error.where), error.remedy, more)


def _where(file: str, line: int, path: str) -> str:
    place = f"{file}:{line + 1}" if file else f"line {line + 1}"
    return f"{place}: {path}" if path else place


def _line(node: yaml.Node | None, path: str) -> int:
    """The line, counted from 0, of the deepest step of `path` that the file has."""
    line = node.start_mark.line if node is not None else 0
    for key, index in _STEP.findall(path):
        step = _step(node, key, index)
        if step is None:
            break
        line, node = step
    return line


def _step(node: yaml.Node | None, key: str, index: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((name.start_mark.line, value) for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
        item = node.value[int(index)]
        return item.start_mark.line, item
    return None
