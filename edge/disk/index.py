"""What lies on disk, and where: the table in memory that a lookup asks.

An entry is two ints of 32 bytes and its share of a dict: about 130 bytes an object, however large it is. The key itself
is not held; what is read from disk says its key, and a lookup compares. The ints are SipHash's of the key, which is
random per process, so that clients cannot choose them. The table is cut into shards, so that no dict grows past the
size whose resizing stalls the loop, and holds nothing that the garbage collector follows, but for keys with variants.

Decides what is found under a key, and which of two records counts. Must not know files or threads. Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

from edge.disk.place import hits_of, same, segment_of, touched
from edge.object import StoredObject

SHARDS = 256
_BITS = 60
_MASK = (1 << _BITS) - 1
_SHIFT = (
    _BITS - SHARDS.bit_length() + 1
)  # a dict looks at the lowest bits, so the shard is chosen by the highest


class Waiting:
    """Stands in the table for what is on its way to the disk. `stored` can be served meanwhile, None if it cannot;
    then `heard` are called when it has arrived, or is known not to. `wanted`: it has not been removed since."""

    __slots__ = ("heard", "stored", "wanted")

    def __init__(self, stored: StoredObject | None = None) -> None:
        self.stored = stored
        self.wanted = True
        self.heard: list[Callable[[], None]] = []


Place = int | Waiting


class Places:
    """The variants under one key: `names` are the fields that choose, `objects` by the hash of the variant key."""

    __slots__ = ("names", "objects")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        self.names = names
        self.objects: dict[int, Place] = {}


Entry = Place | Places


def key_hash(key: bytes) -> int:
    """What stands for a key, or a variant key, in this process."""
    return hash(key) & _MASK


class Index:
    """Places by key and variant. `keys` has, by segment, the hash of each key that a record of it was for."""

    __slots__ = ("_shards", "keys", "objects", "variants_max")

    def __init__(self, variants_max: int = 32) -> None:
        self._shards: list[dict[int, Entry]] = [{} for _ in range(SHARDS)]
        self.keys: dict[int, array[int]] = {}
        self.objects = 0
        self.variants_max = variants_max

    def find(self, key: int) -> Entry | None:
        """What is known under the hash of a key."""
        return self._shards[key >> _SHIFT].get(key)

    def at(self, key: int, variant: int | None) -> Place | None:
        """The place of one object."""
        found = self.find(key)
        if isinstance(found, Places):
            return None if variant is None else found.objects.get(variant)
        return found if variant is None else None

    def put(self, key: int, variant: int | None, names: tuple[bytes, ...], place: Place) -> None:
        """A new object: it replaces its predecessor, and whatever varies by other names."""
        shard = self._shards[key >> _SHIFT]
        found = shard.get(key)
        if variant is None:
            self.remove(key)
            shard[key] = place
        else:
            if not isinstance(found, Places) or found.names != names:
                self.remove(key)
                found = shard[key] = Places(names)
            self._drop(found, variant)
            if len(found.objects) >= self.variants_max:
                self._drop(found, next(iter(found.objects)))
            found.objects[variant] = place
        self._count(place)
        if isinstance(place, int):
            self._note(key, place)

    def arrive(self, key: int, variant: int | None, waiting: Waiting, place: int) -> bool:
        """What waited has been written; False if it is no longer wanted."""
        if self.at(key, variant) is not waiting:
            return False
        self._replace(key, variant, place)
        self.objects += 1
        self._note(key, place)
        return True

    def move(self, key: int, variant: int | None, old: int, new: int) -> bool:
        """A record was copied; False if the old one is no longer wanted."""
        found = self.at(key, variant)
        if not isinstance(found, int) or not same(found, old):
            return False
        self._replace(key, variant, new)
        self._note(key, new)
        return True

    def touch(self, key: int, variant: int | None) -> None:
        """It answered a request."""
        found = self.at(key, variant)
        if isinstance(found, int):
            self._replace(key, variant, touched(found))

    def adopt(self, key: int, variant: int | None, names: tuple[bytes, ...], place: int) -> bool:
        """A record that a start found; whatever is known already is newer. False if it does not count."""
        shard = self._shards[key >> _SHIFT]
        found = shard.get(key)
        if variant is None:
            if found is not None:
                return False
            shard[key] = place
        else:
            if found is None:
                found = shard[key] = Places(names)
            if not isinstance(found, Places) or found.names != names or variant in found.objects:
                return False
            if len(found.objects) >= self.variants_max:
                return False
            found.objects[variant] = place
        self.objects += 1
        self._note(key, place)
        return True

    def remove(self, key: int, variant: int | None = None) -> list[Place]:
        """Forget what lies under a key, or one variant of it; the places that were."""
        shard = self._shards[key >> _SHIFT]
        found = shard.get(key)
        if found is None:
            return []
        if variant is not None:
            if not isinstance(found, Places):
                return []
            gone = self._drop(found, variant)
            if not found.objects:
                del shard[key]
            return [] if gone is None else [gone]
        del shard[key]
        places = list(found.objects.values()) if isinstance(found, Places) else [found]
        for place in places:
            self._uncount(place)
        return places

    def within(self, segment: int, key: int) -> list[tuple[int | None, int]]:
        """(variant, place) of what lies under a key in one segment."""
        found = self.find(key)
        if isinstance(found, int):
            return [(None, found)] if segment_of(found) == segment else []
        if not isinstance(found, Places):
            return []
        objects = found.objects.items()
        return [(variant, at) for variant, at in objects if isinstance(at, int) and segment_of(at) == segment]

    def leave(self, segment: int) -> array[int]:
        """The segment is to go: the hashes of the keys its records were for. They are forgotten as a list."""
        return self.keys.pop(segment, array("Q"))

    def hits(self, key: int, variant: int | None) -> int:
        """How often an object answered lately."""
        found = self.at(key, variant)
        return hits_of(found) if isinstance(found, int) else 0

    def __iter__(self) -> Iterator[tuple[int, int | None, Place]]:
        """(key, variant, place) of all, in no order."""
        for shard in self._shards:
            for key, found in shard.items():
                if isinstance(found, Places):
                    for variant, place in found.objects.items():
                        yield key, variant, place
                else:
                    yield key, None, found

    def _replace(self, key: int, variant: int | None, place: int) -> None:
        shard = self._shards[key >> _SHIFT]
        found = shard[key]
        if isinstance(found, Places):
            assert variant is not None
            found.objects[variant] = place
        else:
            shard[key] = place

    def _note(self, key: int, place: int) -> None:
        self.keys.setdefault(segment_of(place), array("Q")).append(key)

    def _drop(self, found: Places, variant: int) -> Place | None:
        place = found.objects.pop(variant, None)
        if place is not None:
            self._uncount(place)
        return place

    def _count(self, place: Place) -> None:
        if isinstance(place, int):
            self.objects += 1

    def _uncount(self, place: Place) -> None:
        if isinstance(place, int):
            self.objects -= 1
        else:
            place.wanted = False
