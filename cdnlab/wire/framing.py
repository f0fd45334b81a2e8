"""How long a body is: the rules against request smuggling.

Decides by RFC 9112 §6 alone which bytes belong to a message. Where the RFC lets a recipient repair (equal
Content-Lengths, an empty list member, a length beside a coding) this refuses: two hops that repair
differently are how requests are smuggled. Must not know memos, connections or methods' meanings.
"""

from __future__ import annotations

from cdnlab.wire.errors import Malformed, Why
from cdnlab.wire.fields import Field, is_token, split_list, split_parameters

CHUNKED = -1
UNTIL_CLOSE = -2
LENGTH_DIGITS = 18  # so every length is below 2^60 and no reader of ours or of others overflows


def content_length(values: list[bytes], status: int | None = None) -> int:
    """The one Content-Length in `values` (RFC 9110 §8.6: 1*DIGIT). Raises Malformed, with `status` where
    given."""
    if len(values) != 1:
        raise Malformed(Why.LENGTH_MANY, b", ".join(values), status=status)
    value = values[0]
    # bytes.isdigit is ASCII only; int() alone would take +5, 1_0, " 5"
    if not value.isdigit() or len(value) > LENGTH_DIGITS:
        raise Malformed(Why.LENGTH_INVALID, value, status=status)
    return int(value)


def request_length(fields: tuple[Field, ...], version: int) -> int:
    """Bytes of a request's body, 0 if it has none, or CHUNKED (RFC 9112 §6.3). Raises Malformed: 400, 501."""
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if not codings:
        return content_length(lengths) if lengths else 0
    if version == 10:
        raise Malformed(Why.CODING_VERSION)
    if lengths:
        raise Malformed(Why.LENGTH_AND_CODING)
    if len(codings) != 1 or codings[0].lower() != b"chunked":
        _refuse_coding(codings)
    return CHUNKED


def _refuse_coding(codings: list[bytes]) -> None:
    """501 for a well-formed list that ends in chunked after other codings, 400 for all else (RFC 9112 §6.1,
    §6.3)."""
    value = b", ".join(codings)
    members = [member.strip(b" \t").lower() for member in value.split(b",")]
    others = members[:-1]
    if (
        len(codings) == 1
        and members[-1] == b"chunked"
        and all(is_token(split_parameters(coding)[0]) for coding in others)
        and b"chunked" not in {split_parameters(coding)[0] for coding in others}
    ):
        raise Malformed(Why.CODING_UNKNOWN, value)
    raise Malformed(Why.CODING_INVALID, value)


def response_length(fields: tuple[Field, ...], version: int) -> int:
    """Bytes of a response's body as its fields say it, CHUNKED, or UNTIL_CLOSE (RFC 9112 §6.3). Raises
    Malformed: 502.

    UNTIL_CLOSE also for a well-formed list of codings whose last is not chunked; such a connection is not
    used again.
    """
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if not codings:
        return content_length(lengths, 502) if lengths else UNTIL_CLOSE
    if version == 10:
        raise Malformed(Why.CODING_VERSION, status=502)
    if lengths:
        raise Malformed(Why.LENGTH_AND_CODING, status=502)
    value = b", ".join(codings)
    if value.lower() == b"chunked":
        return CHUNKED
    return _odd_response_coding(value)


def _odd_response_coding(value: bytes) -> int:
    members = [split_parameters(member) for member in split_list(value)]
    names = [name.lower() for name, _ in members]
    if not names or not all(map(is_token, names)) or names.count(b"chunked") > 1:
        raise Malformed(Why.CODING_INVALID, value, status=502)
    if names[-1] != b"chunked":
        return UNTIL_CLOSE
    if len(names) == 1:  # `chunked;q=1` or `, chunked`
        raise Malformed(Why.CODING_INVALID, value, status=502)
    # gzip, chunked: we never asked for it (TE), and could not undo it
    raise Malformed(Why.CODING_UNKNOWN, value, status=502)
