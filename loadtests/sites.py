"""What there is to be asked for, and how popular it is: the demo site's things, or one's own application's.

Decides paths and the names that statistics group them under. Must not know connections, users, nor Locust. Pure:
chance is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Protocol
from urllib.parse import urlencode

from loadtests.popularity import Zipf

PAGES = ("/", "/shop", "/downloads", "/places", "/freshness", "/variants", "/behave/help")
"""The demo site's pages, the most popular first."""
ITEMS = 5
"""Items that the shop has at first."""
PART_OF = "/files/1MiB.bin"
PART_MAX = 64 * 1024
LIFETIMES = (5, 20, 60, 300)  # seconds that shared caches keep an object of /behave
OBJECT_MIN, OBJECT_MEDIAN, OBJECT_MAX = 200, 4096, 65536  # bytes
NAMES_MAX = 60
"""Names of statistics for one's own paths; what comes after shares one."""

_NUMBER = re.compile(r"\d+|[0-9a-fA-F]{8,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HASHED = re.compile(r"(?<=[.-])(?=[0-9A-Za-z_-]*\d)[0-9A-Za-z_-]{8,}(?=\.\w+$)")


class Site(Protocol):
    """What a visit is made of."""

    def page(self, chance: Random) -> str:
        """The page that is wanted next."""

    def more(self, chance: Random) -> Iterator[str]:
        """What the visitor looks at besides: things that are no pages."""

    def part_of(self, chance: Random, wholes: Sequence[str]) -> str | None:
        """The large thing a part of which is wanted, if one is; `wholes`: those that have been seen whole."""

    def name(self, path: str) -> str:
        """The name in statistics: the path, but one name for all that differ by an id."""

    def expects(self, path: str, status: int) -> bool:
        """Whether an error status is no failure there."""


class DemoSite:
    """The pages, items, objects and downloads of the demo site."""

    def __init__(self, objects: int, exponent: float, seed: int) -> None:
        """`objects`: how many of /behave, from 1. `seed`: decides their sizes and lifetimes."""
        self._pages, self._items = Zipf(len(PAGES), exponent), Zipf(ITEMS, exponent)
        self._objects = Zipf(objects, exponent)
        self._paths = [_object(number, seed) for number in range(objects)]

    def page(self, chance: Random) -> str:
        """One of PAGES."""
        return PAGES[self._pages.pick(chance)]

    def more(self, chance: Random) -> Iterator[str]:
        """Some objects of /behave, sometimes an item of the shop."""
        for _ in range(chance.choice((0, 1, 2, 3))):
            yield self._paths[self._objects.pick(chance)]
        if chance.random() < 0.3:
            yield f"/api/items/{self._items.pick(chance) + 1}"

    def part_of(self, chance: Random, wholes: Sequence[str]) -> str | None:
        """At one page in ten a part of the smallest download."""
        return PART_OF if chance.random() < 0.1 else None

    def name(self, path: str) -> str:
        """The path without its query; assets share one name, items another."""
        bare = path.partition("?")[0]
        if bare.startswith("/assets/"):
            return "/assets/*"
        return "/api/items/:id" if bare.startswith("/api/items/") else bare

    def expects(self, path: str, status: int) -> bool:
        """An item may have been deleted: the shop's visitors can."""
        return status == 404 and path.startswith("/api/items/")


class OwnSite:
    """Any site: some paths, the most popular first, and whatever their pages name."""

    def __init__(self, paths: Sequence[str], exponent: float) -> None:
        """`paths`: at least one."""
        self._paths, self._ranks = tuple(paths), Zipf(len(paths), exponent)
        self._names: set[str] = set()

    def page(self, chance: Random) -> str:
        """One of the paths."""
        return self._paths[self._ranks.pick(chance)]

    def more(self, chance: Random) -> Iterator[str]:
        """Nothing: what else there may be is not known."""
        return iter(())

    def part_of(self, chance: Random, wholes: Sequence[str]) -> str | None:
        """At one page in ten a part of something large that was served whole and takes ranges."""
        return chance.choice(wholes) if wholes and chance.random() < 0.1 else None

    def name(self, path: str) -> str:
        """The path with `:id` for numbers and hashes, `*` in hashed file names, and without its query."""
        bare, mark, _ = path.partition("?")
        segments = [":id" if _NUMBER.fullmatch(segment) else segment for segment in bare.split("/")]
        segments[-1] = _HASHED.sub("*", segments[-1])
        name = "/".join(segments) + mark
        if name not in self._names and len(self._names) >= NAMES_MAX:
            return "(other paths)"
        self._names.add(name)
        return name

    def expects(self, path: str, status: int) -> bool:
        """Never."""
        return False


class BadPaths(ValueError):
    """A file of paths that can't be used; the text says where."""


def read_paths(lines: Iterable[str]) -> tuple[str, ...]:
    """The paths of a file: one a line, the most popular first; `#` begins a comment. BadPaths."""
    paths = []
    for number, line in enumerate(lines, 1):
        path = line.partition("#")[0].strip()
        if not path:
            continue
        if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
            raise BadPaths(f"line {number}: {path[:60]!r} is no path; one begins with / and holds no space")
        paths.append(path)
    if not paths:
        raise BadPaths("no path in it; give one a line, such as /")
    return tuple(paths)


def _object(number: int, seed: int) -> str:
    chance = Random(f"{seed}/{number}")
    size = min(OBJECT_MAX, max(OBJECT_MIN, int(chance.lognormvariate(0.0, 1.0) * OBJECT_MEDIAN)))
    lifetime = chance.choice(LIFETIMES)
    # Half of them the browser keeps too; of the others it asks each time whether they are still the same.
    kept = "public, max-age=%d" if number % 2 else "public, max-age=0, s-maxage=%d"
    told = {"key": f"object-{number}", "size": size, "cc": kept % lifetime, "etag": f"v{seed}-{number}"}
    return f"/behave?{urlencode(told)}"
