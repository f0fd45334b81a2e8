"""A session: who is logged in, and what lies in the cart.

Decides what a session may hold, what each change does, and each refusal. Must not know HTTP, cookies, or where
sessions are kept. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum

MAX_NAME = 40
MAX_LINES = 64  # different items in one cart: as many as the shop sells
MAX_COUNT = 999  # pieces of one item


class Refusal(StrEnum):
    """Why it is not done; the sentence is shown to people."""

    NO_SESSION = "no_session"
    UNKNOWN_SESSION = "unknown_session"
    NO_NAME = "no_name"
    FOREIGN = "foreign"
    BAD_BODY = "bad_body"
    NO_ITEM = "no_item"
    FULL = "full"
    CONTENDED = "contended"
    STORE_AWAY = "store_away"

    @property
    def sentence(self) -> str:
        return _SENTENCES[self]


_SENTENCES = {
    Refusal.NO_SESSION: "Nobody is logged in: the request bears no session cookie.",
    Refusal.UNKNOWN_SESSION: "Nobody is logged in: this server knows no session of that cookie.",
    Refusal.NO_NAME: f"A name is 1 to {MAX_NAME} printable characters, and a password is not empty.",
    Refusal.FOREIGN: "The form was sent by a page of another site.",
    Refusal.BAD_BODY: "The body must be a form or a JSON object, and its Content-Type must say so.",
    Refusal.NO_ITEM: "The shop has no item of that number.",
    Refusal.FULL: f"A cart holds {MAX_LINES} different items, and {MAX_COUNT} of one.",
    Refusal.CONTENDED: "Others changed this session each time between reading and writing; try again.",
    Refusal.STORE_AWAY: (
        "Sessions are kept in the store, and it is away. Nobody is logged out by that; try again. "
        "What was asked for last may have been done."
    ),
}


class Refused(Exception):
    """What is not done."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence)
        self.refusal = refusal


@dataclass(slots=True)
class Session:
    """Who, and the cart: pieces by the item's number. `version` rises with each change."""

    user: str
    cart: dict[int, int] = field(default_factory=dict)
    version: int = 1

    @classmethod
    def load(cls, text: bytes) -> Session:
        """The session that dump() wrote."""
        value = json.loads(text)
        cart = {int(number): int(count) for number, count in value["cart"].items()}
        return cls(str(value["user"]), cart, int(value["version"]))

    def dump(self) -> bytes:
        """The whole as JSON. Two versions never have the same text, so comparing texts compares versions."""
        return json.dumps({"user": self.user, "cart": self.cart, "version": self.version}).encode()

    @property
    def pieces(self) -> int:
        """How many things lie in the cart."""
        return sum(self.cart.values())

    def put(self, number: int) -> None:
        """One more of item `number`; raises Refused(FULL)."""
        count = self.cart.get(number, 0)
        if count >= MAX_COUNT or (not count and len(self.cart) >= MAX_LINES):
            raise Refused(Refusal.FULL)
        self.cart[number] = count + 1
        self.version += 1

    def take(self, number: int) -> None:
        """Take item `number` out; raises Refused(NO_ITEM)."""
        if self.cart.pop(number, None) is None:
            raise Refused(Refusal.NO_ITEM)
        self.version += 1


def named(user: object, password: object) -> str:
    """The name under which somebody logs in; raises Refused(NO_NAME). Any password does, but an empty one."""
    name = user.strip() if isinstance(user, str) else ""
    if not (1 <= len(name) <= MAX_NAME and name.isprintable() and isinstance(password, str) and password):
        raise Refused(Refusal.NO_NAME)
    return name
