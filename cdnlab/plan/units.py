"""The quantities and names a person writes into a topology, and the types that read them.

Decides how sizes, durations, names, addresses and statuses are spelt. Must not know which setting has which.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal, NoReturn

from pydantic import BeforeValidator, PlainSerializer
from pydantic_core import PydanticCustomError

_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-zµ]*)\s*")
_SIZES = {
    "": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3,
    "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2, "g": 1024**3, "gib": 1024**3,
}  # fmt: skip
_DURATIONS = {"": 1.0, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_STORE = re.compile(r"(redis|rediss|unix|redis\+sentinel)://\S+")
_PATH = re.compile(r"/[!-~]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_STATUSES = re.compile(r"([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?")


def _refuse(kind: str, value: object, text: str) -> NoReturn:
    """Pydantic shows this text as it is; a plain ValueError would get a prefix."""
    raise PydanticCustomError(kind, "{value} {text}", {"value": repr(value), "text": text})


def parse_size(value: object) -> object:
    """Bytes from 1048576, "256MiB", "64k" (1024) or "1MB" (1000); whole bytes only. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        _refuse("size", value, "is not a size; write a number of bytes, or 64KiB, 256MiB, 1GiB")
    match = _NUMBER.fullmatch(str(value))
    if match is None or match[2].lower() not in _SIZES:
        _refuse("size", value, "is not a size; write a number of bytes, or 64KiB, 256MiB, 1GiB")
    size = float(match[1]) * _SIZES[match[2].lower()]
    if size != int(size):
        _refuse("size", value, "is not a whole number of bytes")
    return int(size)


def parse_duration(value: object) -> object:
    """Seconds from 2, 0.3, "300ms", "2s", "5m", "1h". Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        _refuse("duration", value, "is not a duration; write a number of seconds, or 300ms, 2s, 5m, 1h")
    if not isinstance(value, str):
        return value
    match = _NUMBER.fullmatch(value)
    if match is None or match[2] not in _DURATIONS:
        _refuse("duration", value, "is not a duration; write a number of seconds, or 300ms, 2s, 5m, 1h")
    return round(float(match[1]) * _DURATIONS[match[2]], 9)


def parse_address(value: object) -> object:
    """An IP address in its usual spelling. Raises ValueError."""
    try:
        return str(ip_address(value)) if isinstance(value, str) else _refuse("address", value, "is not text")
    except ValueError:
        _refuse("address", value, "is not an IP address; a name or a port does not belong here")


def parse_admin_address(value: object) -> object:
    """An IP address, or "off". Raises ValueError."""
    return value if value == "off" else parse_address(value)


def parse_host(value: object) -> object:
    """An IP address or a host name, without scheme, port or path. Raises ValueError."""
    if not isinstance(value, str):
        _refuse("host", value, "is not a host name or IP address")
    try:
        return str(ip_address(value.strip("[]")))
    except ValueError:
        pass
    if "://" in value or "/" in value:
        _refuse("host", value, "is a URL; give the host alone, port and tls have settings of their own")
    if not _HOSTNAME.fullmatch(value):
        _refuse("host", value, "is not a host name or IP address")
    return value.lower()


def parse_store_url(value: object) -> object:
    """The URL of a Redis-protocol server. Raises ValueError, which shows nothing of a user and password in it."""
    if not isinstance(value, str) or not _STORE.fullmatch(value):
        _refuse(
            "store",
            f"…@{value.rpartition('@')[2]}" if isinstance(value, str) and "@" in value else value,
            "is not the URL of a store; write redis://, rediss://, unix:// or redis+sentinel://…",
        )
    return value


def parse_url_path(value: object) -> object:
    """An absolute path. Raises ValueError."""
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        _refuse("path", value, "is not a path; begin it with a slash, and percent-encode what is not ASCII")
    return value


def parse_parameter_name(value: object) -> object:
    """The name of a query parameter as an application reads it, decoded, or a glob in which `*` stands for any
    characters. Raises ValueError."""
    if not isinstance(value, str) or not 0 < len(value) <= 256:
        _refuse(
            "parameter", value, 'is not the name of a parameter; write such as id, utm_* or, quoted, "2024"'
        )
    return value


def parse_kept_names(value: object) -> object:
    """`all`, `none`, or a list of names. Raises ValueError; looked at here, or each kind would have its complaint."""
    if isinstance(value, (list, tuple)):
        return tuple(parse_parameter_name(name) for name in value)
    if value not in ("all", "none"):
        _refuse("kept", value, "is neither all nor none nor a list of names; write such as [id, page]")
    return value


def parse_cookie_name(value: object) -> object:
    """A cookie's name: a token (RFC 6265 §4.1.1). Raises ValueError."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        _refuse("cookie", value, "is not the name of a cookie; use letters, digits, dashes and underscores")
    return value


def parse_name(value: object) -> object:
    """A name for a node, pool, VIP or backend: it stands in Via, metrics and tables. Raises ValueError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        _refuse("name", value, "is not a name; use lower-case letters, digits and dashes, at most 40")
    return value


def parse_statuses(value: object) -> object:
    """A range of status codes from 200 or "200-399" (or the pair itself). Raises ValueError."""
    if isinstance(value, (tuple, list)) and len(value) == 2:
        value = f"{value[0]}-{value[1]}"
    match = _STATUSES.fullmatch(str(value))
    if match is None or (match[2] and match[2] < match[1]):
        _refuse("statuses", value, "is not a status code or a range of them; write 200 or 200-399")
    return int(match[1]), int(match[2] or match[1])


def _show_statuses(value: tuple[int, int]) -> str:
    return f"{value[0]}-{value[1]}"


Size = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str)]
Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str)]
Address = Annotated[str, BeforeValidator(parse_address, json_schema_input_type=str)]
AdminAddress = Annotated[str, BeforeValidator(parse_admin_address, json_schema_input_type=str)]
Host = Annotated[str, BeforeValidator(parse_host, json_schema_input_type=str)]
StoreUrl = Annotated[str, BeforeValidator(parse_store_url, json_schema_input_type=str)]
CookieName = Annotated[str, BeforeValidator(parse_cookie_name, json_schema_input_type=str)]
ParameterName = Annotated[str, BeforeValidator(parse_parameter_name, json_schema_input_type=str)]
KeptNames = Annotated[tuple[str, ...] | Literal["all", "none"], BeforeValidator(parse_kept_names)]
UrlPath = Annotated[str, BeforeValidator(parse_url_path, json_schema_input_type=str)]
Name = Annotated[str, BeforeValidator(parse_name, json_schema_input_type=str)]
StatusRange = Annotated[
    tuple[int, int],
    BeforeValidator(parse_statuses, json_schema_input_type=int | str),
    PlainSerializer(_show_statuses, return_type=str),
]
