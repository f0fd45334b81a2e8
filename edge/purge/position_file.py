"""Where this edge stood, in a file beside the objects on disk.

Objects on disk meet the rules when they are read, so what has to outlive the process is which rules those are: the file
says from where on in the stream they are read again. It is written after its effects: a position is in it only once no
object that was marked before it counts as clean. Purges that no stream carries stand in the file themselves, from
before they are acknowledged. Whatever is wrong with the file, the answer is None: then everything on disk is
revalidated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge.purge.position import Position
from edge.purge.purges import Kept
from edge.purge.rules import Kind, Rule

NAME = "purges.json"
_NEW = f"{NAME}.new"
FILES = frozenset({NAME, _NEW})
"""What may lie in the directory because of this."""


def read(directory: Path) -> Kept | None:
    """The file in `directory`; None if there is none that can be trusted."""
    try:
        said = json.loads((directory / NAME).read_bytes())
        where = said["position"]
        place = None
        if where is not None:
            generation, epoch, sequence, link = where
            place = Position(str(generation), int(epoch), int(sequence), str(link))
        rules = tuple(
            Rule(Kind(kind), name.encode("latin-1"), bool(soft)) for kind, name, soft in said["rules"]
        )
        lives = tuple((str(life), int(number)) for life, number in said["lives"])
        return Kept(place, lives, int(said["local"]), rules)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def write(directory: Path, kept: Kept) -> None:
    """Replace the file as a whole, and return when it is on the disk. OSError."""
    path = directory / NAME
    new = path.with_name(_NEW)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(json.dumps(_plain(kept)).encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    _sync_directory(directory)


def _plain(kept: Kept) -> dict[str, Any]:
    return {
        "position": list(kept.place) if kept.place is not None else None,
        "lives": [list(row) for row in kept.lives],
        "local": kept.local,
        "rules": _rows(kept.rules),
    }


def _rows(rules: Iterable[Rule]) -> list[list[Any]]:
    return [[rule.kind.value, rule.name.decode("latin-1"), int(rule.soft)] for rule in rules]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
