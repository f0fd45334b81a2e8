"""The shop's items: a bounded table and the rules for changing it.

Decides what an item may hold, what each change does, and each refusal. Must not know HTTP or where the table
lies: the caller gives JSON values in and puts the outcome into a response. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

MAX_ITEMS = 64  # a table that any client may feed; the list must stay one readable page
MAX_NAME = 80
MAX_TEXT = 400
MAX_PRICE = 1_000_000_000
MAX_NUMBER = 999_999
PICTURES = ("parcel", "mug", "globe", "lamp", "cable")

Item = dict[str, object]


class Refusal(StrEnum):
    """Why a change is not made; the sentence is shown to people."""

    ABSENT = "absent"
    FULL = "full"
    INVALID = "invalid"

    @property
    def sentence(self) -> str:
        return {
            Refusal.ABSENT: "There is no item of that number.",
            Refusal.FULL: f"The table holds {MAX_ITEMS} items at the most; delete one first.",
            Refusal.INVALID: "The item is not valid.",
        }[self]


class Refused(Exception):
    """A change that is not made: `refusal`, and `detail` for people."""

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(detail or refusal.sentence)
        self.refusal = refusal


def _seed() -> dict[int, Item]:
    rows = (
        ("mug", "Edge mug 엣지 머그", 14000, 12, "Keeps 330 ml fresh for max-age=1200."),
        ("globe", "Desk globe 지구본", 39000, 5, "Twelve places, one network."),
        ("lamp", "Origin lighthouse 등대", 52000, 3, "Lit even when nobody asks."),
        ("cable", "Submarine cable, 1 m 해저 케이블", 9000, 40, "Five microseconds, end to end."),
        ("parcel", "Cached parcel 택배", 4500, 99, "May be up to thirty seconds old."),
    )
    return {
        number: {"id": number, "name": name, "price": price, "stock": stock, "text": text, "picture": picture}
        for number, (picture, name, price, stock, text) in enumerate(rows, 1)
    }


@dataclass(slots=True)
class Items:
    """The table: items by number; a number is not used twice while there are others."""

    rows: dict[int, Item] = field(default_factory=_seed)
    last: int = 5
    changes: int = 0

    @classmethod
    def load(cls, text: bytes) -> Items:
        """The table that dump() wrote."""
        value = json.loads(text)
        rows = {int(item["id"]): item for item in value["items"]}
        return cls(rows, int(value["last"]), int(value["changes"]))

    def dump(self) -> bytes:
        """The whole table as JSON, for another process to load()."""
        return dump({"items": self.listed(), "last": self.last, "changes": self.changes})

    def listed(self) -> list[Item]:
        """All items by rising number."""
        return [self.rows[number] for number in sorted(self.rows)]

    def get(self, number: int) -> Item:
        """The item `number`; raises Refused(ABSENT)."""
        try:
            return self.rows[number]
        except KeyError:
            raise Refused(Refusal.ABSENT) from None

    def add(self, value: object) -> Item:
        """A new item from a JSON value; raises Refused(INVALID | FULL)."""
        item = complete(value)
        if len(self.rows) >= MAX_ITEMS:
            raise Refused(Refusal.FULL)
        return self._put(self._next(), item)

    def put(self, number: int, value: object) -> tuple[Item, bool]:
        """Replace item `number`, or create it, as PUT does: (item, created). Raises Refused(INVALID | FULL)."""
        item = complete(value)
        if not 1 <= number <= MAX_NUMBER:
            raise Refused(Refusal.INVALID, f"The number of an item is from 1 to {MAX_NUMBER}.")
        created = number not in self.rows
        if created and len(self.rows) >= MAX_ITEMS:
            raise Refused(Refusal.FULL)
        return self._put(number, item), created

    def merge(self, number: int, patch: object) -> Item:
        """Apply a JSON merge patch (RFC 7396) to item `number`; raises Refused(ABSENT | INVALID)."""
        before = self.get(number)
        if not isinstance(patch, dict):
            raise Refused(Refusal.INVALID, "A patch is a JSON object of the members to change.")
        merged = {name: value for name, value in {**before, **patch}.items() if value is not None}
        if merged.pop("id", number) != number:
            raise Refused(Refusal.INVALID, "The number of an item does not change.")
        return self._put(number, complete(merged))

    def delete(self, number: int) -> None:
        """Take item `number` away; raises Refused(ABSENT)."""
        self.get(number)
        del self.rows[number]
        self.changes += 1

    def _next(self) -> int:
        """One more than ever before; where somebody took the last number, the smallest free one."""
        if self.last < MAX_NUMBER:
            return self.last + 1
        return next(number for number in range(1, MAX_ITEMS + 1) if number not in self.rows)

    def _put(self, number: int, item: Item) -> Item:
        self.rows[number] = {"id": number, **item}
        self.last = max(self.last, number)
        self.changes += 1
        return self.rows[number]


def complete(value: object) -> Item:
    """A JSON value as an item without its number, defaults filled in; raises Refused(INVALID) naming the member."""
    if not isinstance(value, dict):
        raise Refused(Refusal.INVALID, 'An item is a JSON object such as {"name": "Lamp", "price": 9000}.')
    unknown = sorted(set(value) - {"id", "name", "price", "stock", "text", "picture"})
    if unknown:
        raise Refused(Refusal.INVALID, f"{unknown[0]!r} is not a member of an item.")
    return {
        "name": _text(value, "name", 1, MAX_NAME),
        "price": _number(value, "price"),
        "stock": _number(value, "stock"),
        "text": _text(value, "text", 0, MAX_TEXT),
        "picture": _picture(value),
    }


def etag(value: object) -> str:
    """A strong entity-tag made from the content itself, so that two origins with one state agree."""
    return f'"{sha256(dump(value)).hexdigest()[:16]}"'


def dump(value: object) -> bytes:
    """JSON bytes, always the same for the same value; `<` is escaped so that no browser takes it for a tag."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").encode() + b"\n"


def _text(value: Mapping[str, object], name: str, least: int, most: int) -> str:
    found = value.get(name, "")
    if not isinstance(found, str) or not least <= len(found.strip()) <= most or not found.isprintable():
        raise Refused(Refusal.INVALID, f"{name!r} must be {least} to {most} printable characters.")
    return found.strip()


def _number(value: Mapping[str, object], name: str) -> int:
    found = value.get(name, 0)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MAX_PRICE:
        raise Refused(Refusal.INVALID, f"{name!r} must be a whole number from 0 to {MAX_PRICE}.")
    return found


def _picture(value: Mapping[str, object]) -> str:
    found = value.get("picture", PICTURES[0])
    if found not in PICTURES:
        raise Refused(Refusal.INVALID, f"'picture' must be one of {', '.join(PICTURES)}.")
    return str(found)
