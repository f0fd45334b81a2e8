"""Which of the site's languages a client gets, from its Accept-Language field.

Decides by RFC 9110 §12.5.4 with the lookup of RFC 4647 §3.4: a range matches a language or a regional form of
it. Must not know pages, requests or sockets. Pure.
"""

from __future__ import annotations

LANGUAGES = ("en", "ko")
DEFAULT = "en"
MAX_RANGES = 32  # browsers send fewer than ten; more is somebody's experiment, and not worth the time


def choose(accept_language: str) -> str:
    """The language of LANGUAGES that the field prefers; DEFAULT when it names none, or refuses all."""
    best, best_weight = DEFAULT, 0.0
    for member in accept_language.split(",", MAX_RANGES)[:MAX_RANGES]:
        name, weight = _range(member)
        if weight > best_weight and (language := _matching(name)) is not None:
            best, best_weight = language, weight
    return best


def _range(member: str) -> tuple[str, float]:
    name, _, parameters = member.strip().partition(";")
    weight = parameters.strip().lower()
    if not weight:
        return name.strip().lower(), 1.0
    try:
        value = float(weight.removeprefix("q="))
    except ValueError:
        return "", 0.0
    return name.strip().lower(), value if 0.0 <= value <= 1.0 else 0.0


def _matching(name: str) -> str | None:
    if name == "*":
        return DEFAULT
    primary = name.split("-", 1)[0]
    return primary if primary in LANGUAGES else None
