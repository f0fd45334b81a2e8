"""Structured field values (RFC 9651): items, lists and dictionaries, read and written.

Decides what a structured value means, all or nothing: any deviation is a ValueError and the field counts as
absent (§4.2), since half a parsed field is what two readers differ on. Must not know any field.

    Integer int · Decimal float · String str · Token Token · Byte Sequence bytes · Boolean bool · Date Date
    Display String DisplayString · Item (bare, parameters) · Inner List ([item, …], parameters)
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import NoReturn


class Token(str):
    """A short word (§3.3.4), such as the name of a cache."""

    __slots__ = ()


class DisplayString(str):
    """Text in any script (§3.3.8)."""

    __slots__ = ()


class Date(int):
    """Seconds since 1970 (§3.3.7)."""

    __slots__ = ()


BareItem = int | float | str | bytes | bool | Token | Date | DisplayString
Parameters = Mapping[str, BareItem]
Item = tuple[BareItem, Parameters]
InnerList = tuple[list[Item], Parameters]
Member = Item | InnerList

_LARGEST = 999_999_999_999_999  # §3.3.1: fifteen digits

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_NUMBER = re.compile(r"-?(?:([0-9]{1,12})\.([0-9]{1,3})|([0-9]{1,15}))(?![0-9.])")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*+)"')
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")
_BOOLEAN = re.compile(r"\?([01])")
_DATE = re.compile(r"@(-?[0-9]{1,15})(?![0-9.])")
_DISPLAY = re.compile(r'%"((?:[ !#$&-~]|%[0-9a-f]{2})*+)"')
_DISPLAY_ESCAPE = re.compile(rb"%(..)")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_SPACES = re.compile(r" *")


# ---- reading (§4.2) ----------------------------------------------------------------------------------------


def parse_item(value: bytes) -> Item:
    """The Item in `value` (§4.2.3). ValueError if it is not exactly one."""
    reader = _Reader(value)
    item = reader.item()
    reader.end()
    return item


def parse_list(value: bytes) -> list[Member]:
    """The members of the List in `value` (§4.2.1); several field lines are joined by a comma first.
    ValueError."""
    reader = _Reader(value)
    found: list[Member] = []
    while reader.more(bool(found)):
        found.append(reader.member())
    return found


def parse_dictionary(value: bytes) -> dict[str, Member]:
    """The Dictionary in `value` (§4.2.2): the last value of a key counts, at the place of its first.
    ValueError."""
    reader = _Reader(value)
    found: dict[str, Member] = {}
    while reader.more(bool(found)):
        key = reader.key()
        found[key] = reader.member() if reader.took("=") else (True, reader.parameters())
    return found


class _Reader:
    """A place in a text; each method takes what its name says or raises ValueError."""

    __slots__ = ("at", "text")

    def __init__(self, value: bytes) -> None:
        try:
            self.text = value.decode("ascii").strip(" ")
        except UnicodeDecodeError:
            raise ValueError("a structured value is ASCII") from None
        self.at = 0

    def fail(self, wanted: str) -> NoReturn:
        raise ValueError(f"{wanted} expected at {self.at} of {self.text[:200]!r}")

    def took(self, character: str) -> bool:
        if self.text.startswith(character, self.at):
            self.at += len(character)
            return True
        return False

    def match(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        match = pattern.match(self.text, self.at)
        if match is None:
            self.fail(wanted)
        self.at = match.end()
        return match

    def end(self) -> None:
        if self.at != len(self.text):
            self.fail("the end")

    def more(self, begun: bool) -> bool:
        """Whether a member follows; takes the comma before every one but the first."""
        if self.at == len(self.text):
            return False
        if begun:
            self.match(_COMMA, "a comma")
            if self.at == len(self.text):
                self.fail("a member")
        return True

    def key(self) -> str:
        return self.match(_KEY, "a key")[0]

    def member(self) -> Member:
        return self.inner_list() if self.text.startswith("(", self.at) else self.item()

    def inner_list(self) -> InnerList:
        self.took("(")
        items: list[Item] = []
        while True:
            spaces = self.match(_SPACES, "a space")[0]
            if self.took(")"):
                return items, self.parameters()
            if items and not spaces:
                self.fail("a space or ')'")
            items.append(self.item())

    def item(self) -> Item:
        return self.bare_item(), self.parameters()

    def parameters(self) -> Parameters:
        found: dict[str, BareItem] = {}
        while self.took(";"):
            self.match(_SPACES, "a space")
            key = self.key()
            found[key] = self.bare_item() if self.took("=") else True
        return found

    def bare_item(self) -> BareItem:
        first = self.text[self.at : self.at + 1]
        if first == "-" or "0" <= first <= "9":
            return self.number()
        if first == '"':
            return self.match(_STRING, "a String")[1].replace('\\"', '"').replace("\\\\", "\\")
        if first == ":":
            return self.byte_sequence()
        if first == "?":
            return self.match(_BOOLEAN, "a Boolean")[1] == "1"
        if first == "@":
            return Date(self.match(_DATE, "a Date")[1])
        if first == "%":
            return self.display_string()
        return Token(self.match(_TOKEN, "an item")[0])

    def number(self) -> int | float:
        match = self.match(_NUMBER, "a number")
        return float(match[0]) if match[2] else int(match[0])

    def byte_sequence(self) -> bytes:
        text = self.match(_BYTES, "a Byte Sequence")[1]
        try:
            return b64decode(text + "=" * (-len(text) % 4), validate=True)  # §4.2.7: padding may be missing
        except binascii.Error:
            self.fail("base64 before this place")

    def display_string(self) -> DisplayString:
        text = self.match(_DISPLAY, "a Display String")[1].encode("ascii")
        raw = _DISPLAY_ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), text)
        return DisplayString(raw.decode("utf-8"))  # UnicodeDecodeError is a ValueError


# ---- writing (§4.1) ----------------------------------------------------------------------------------------


def serialise_item(bare: BareItem, parameters: Parameters | None = None) -> bytes:
    """§4.1.3. ValueError for what the type cannot hold."""
    return _item(bare, parameters or {}).encode("ascii")


def serialise_list(members: Iterable[Member]) -> bytes:
    """§4.1.1; b"" for an empty list, which means that the field is not sent."""
    return ", ".join(map(_member, members)).encode("ascii")


def serialise_dictionary(members: Mapping[str, Member]) -> bytes:
    """§4.1.2; b"" for an empty dictionary, which means that the field is not sent."""
    return ", ".join(_dictionary_member(key, member) for key, member in members.items()).encode("ascii")


def _dictionary_member(key: str, member: Member) -> str:
    if member[0] is True:
        return _checked_key(key) + _parameters(member[1])
    return f"{_checked_key(key)}={_member(member)}"


def _member(member: Member) -> str:
    first, parameters = member
    if isinstance(first, list):
        return "(" + " ".join(_item(bare, inner) for bare, inner in first) + ")" + _parameters(parameters)
    return _item(first, parameters)


def _item(bare: BareItem, parameters: Parameters) -> str:
    return _bare(bare) + _parameters(parameters)


def _parameters(parameters: Parameters) -> str:
    return "".join(
        f";{_checked_key(key)}" + ("" if bare is True else "=" + _bare(bare))
        for key, bare in parameters.items()
    )


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"{key!r} is not a key: lower-case letters, digits, '_-.*', beginning with a letter or '*'"
        )
    return key


def _bare(bare: BareItem) -> str:
    if isinstance(bare, bool):
        return "?1" if bare else "?0"
    if isinstance(bare, int):
        return _integer(bare)
    if isinstance(bare, float):
        return _decimal(bare)
    if isinstance(bare, bytes):
        return f":{b64encode(bare).decode('ascii')}:"
    return _text(bare)


def _integer(number: int) -> str:
    if abs(number) > _LARGEST:
        raise ValueError(f"{number} has more than fifteen digits")
    return f"@{int(number)}" if isinstance(number, Date) else str(number)


def _decimal(number: float) -> str:
    rounded = round(number, 3)
    if not abs(rounded) < 1e12:  # also refuses what is not a number
        raise ValueError(f"{number} has more than twelve digits before its point")
    whole, _, fraction = f"{rounded:.3f}".partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def _text(text: str) -> str:
    if isinstance(text, Token):
        if not _TOKEN.fullmatch(text):
            raise ValueError(f"{text!r} is not a Token")
        return str(text)
    if isinstance(text, DisplayString):
        raw = text.encode("utf-8")
        plain = (chr(byte) if 0x20 <= byte < 0x7F and byte not in b'%"' else f"%{byte:02x}" for byte in raw)
        return '%"' + "".join(plain) + '"'
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{text!r} does not fit in a String; a DisplayString takes it")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
