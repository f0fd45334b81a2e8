"""The settings of compression at the edge.

Decides what may be set and what holds if nothing is. What follows from it is edge/coding's.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator

from cdnlab.plan.section import KIB, MIB, Section, setting
from cdnlab.plan.units import Size

Coding = Literal["br", "zstd", "gzip"]
CODINGS: tuple[Coding, ...] = get_args(Coding)
"""The codings that can be made, in the default order of preference: what each makes of text, the smallest first."""

_TYPE = re.compile(r"(?:\*/\*\+|[a-z0-9!#$&^_.+-]+/)[a-z0-9!#$&^_.+-]+|[a-z0-9!#$&^_.+-]+/\*")


def _type(value: str) -> str:
    if not _TYPE.fullmatch(value.lower()):
        raise ValueError("write such as `text/html`, `text/*` or `*/*+json`")
    return value.lower()


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("name each coding once")
    return value


class CompressionSpec(Section):
    """Compressed forms of what is stored, made at the edge."""

    enabled: bool = setting(
        True, "Off sends everything as it came; what an origin has coded passes through either way."
    )
    codings: Annotated[tuple[Coding, ...], AfterValidator(_distinct)] = setting(
        CODINGS,
        "The codings offered, in order of preference where a client likes several equally.",
        "`br`, `zstd`, `gzip`",
    )
    min_size: Size = setting(
        KIB,
        "A smaller body is sent as it is: with its head it fits into one packet or two anyway. CloudFront: 1000.",
        "bytes",
        ge=1,
    )
    max_size: Size = setting(
        10 * MIB, "A larger body is sent as it is. CloudFront: 10,000,000.", "bytes", ge=1, le=256 * MIB
    )
    types: tuple[Annotated[str, AfterValidator(_type)], ...] = setting(
        (),
        "The media types that are coded, in place of those in docs/compression.md: `text/html`, `text/*`, `*/*+json`.",
        "media types",
    )
    br_level: int = setting(
        5, "Brotli's quality. nginx's module: 6; 10 and 11 take ten times as long.", ge=0, le=11
    )
    zstd_level: int = setting(
        9, "Zstandard's level; those above 19 pass the window that RFC 9659 allows.", ge=1, le=19
    )
    gzip_level: int = setting(6, "zlib's level. zlib's own default: 6.", ge=1, le=9)
