"""The site's pages: templates filled in once, in each language, at start.

Decides what a page holds. The result depends on nothing but the package's files and the list of places, so
that two origins give the same bytes and the same entity-tags. Must not know requests. Pure but for reading
the templates.

A template holds `{{word}}`, `{{asset:site.css}}` for a file's hashed path, and `{{to:/shop}}` for a link that
keeps the language chosen by `?lang=`. A name that isn't known stops the start.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from html import escape

from cdnlab.world.places import Place
from origin import digest, fragments
from origin.assets import SITE, Assets
from origin.language import LANGUAGES

CACHE_CONTROL = "public, max-age=0, s-maxage=60"
"""Shared caches keep a page for a minute; the browser asks each time, so that what it sees is the edge."""

PAGES = {
    "/": "home",
    "/freshness": "freshness",
    "/variants": "variants",
    "/shop": "shop",
    "/downloads": "downloads",
    "/places": "places",
    "/behave/help": "behave",
}
NOT_FOUND = "missing"
PRIVATE = {"/login": "login", "/cart": "cart"}
"""Pages that say something to one client: whoever answers fills in what, where the template has `{{live}}`."""
_LIVE = "<!--live-->"
_SLOT = re.compile(r"\{\{([a-z_]+)(?::([^}]+))?\}\}")


@dataclass(frozen=True, slots=True)
class Page:
    """One page in one language: body, strong entity-tag and Repr-Digest."""

    body: bytes
    etag: str
    repr_digest: str
    language: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A private page in one language, to be filled in for each request."""

    text: str
    language: str
    suffix: str
    """What links keep: `?lang=ko` or nothing."""
    words: Mapping[str, str]
    """The words of what is filled in."""

    def filled(self, live: str) -> bytes:
        """The page with `live`, which is HTML, in its place."""
        return self.text.replace(_LIVE, live, 1).encode()


class Site:
    """Every page in every language."""

    def __init__(self, places: Sequence[Place], assets: Assets) -> None:
        self.assets = assets
        self._places = places
        self._words = {
            language: json.loads((SITE / language / "words.json").read_text("utf-8"))
            for language in LANGUAGES
        }
        self._layout = (SITE / "layout.html").read_text("utf-8")
        self._pages = {
            (path, language, chosen): self._page(path, name, language, chosen)
            for path, name in (*PAGES.items(), ("", NOT_FOUND))
            for language in LANGUAGES
            for chosen in (False, True)
        }
        self._frames = {
            (path, language, chosen): self._frame(path, name, language, chosen)
            for path, name in PRIVATE.items()
            for language in LANGUAGES
            for chosen in (False, True)
        }

    def frame(self, path: str, language: str, *, chosen: bool = False) -> Frame:
        """The private page at `path`; `chosen` as for page()."""
        return self._frames[path, language, chosen]

    def page(self, path: str, language: str, *, chosen: bool = False) -> Page | None:
        """The page at `path`; `chosen`: by ?lang=, and links keep it. None if there is none; "" is for those."""
        return self._pages.get((path, language, chosen))

    def _page(self, path: str, name: str, language: str, chosen: bool) -> Page:
        body = self._whole(path, name, language, chosen).encode()
        return Page(body, f'"{sha256(body).hexdigest()[:32]}"', digest.of(body), language)

    def _frame(self, path: str, name: str, language: str, chosen: bool) -> Frame:
        words = {name: str(text) for name, text in _mapping(self._words[language]["session"]).items()}
        suffix = f"?lang={language}" if chosen else ""
        return Frame(self._whole(path, name, language, chosen), language, suffix, words)

    def _whole(self, path: str, name: str, language: str, chosen: bool) -> str:
        words: Mapping[str, object] = self._words[language]
        texts = {**_texts(words), **_texts(_mapping(words["pages"])[name])}
        suffix = f"?lang={language}" if chosen else ""
        texts.update(self._made(path, language, suffix, words))
        fill = partial(self._slot, texts, suffix)
        texts["content"] = _SLOT.sub(fill, (SITE / language / f"{name}.html").read_text("utf-8"))
        return _SLOT.sub(fill, self._layout)

    def _made(self, path: str, language: str, suffix: str, words: Mapping[str, object]) -> dict[str, str]:
        other = next(name for name in LANGUAGES if name != language)
        cities = {str(code): str(city) for code, city in _mapping(words["cities"]).items()}
        columns = {str(name): str(text) for name, text in _mapping(words["columns"]).items()}
        return {
            "live": _LIVE,
            "lang": language,
            "other": other,
            "other_href": f"{path or '/'}?lang={other}",
            "bar_words": escape(json.dumps(words["bar"], ensure_ascii=False)),
            "demo_words": escape(json.dumps(words["demo"], ensure_ascii=False)),
            "navigation": fragments.navigation(path, suffix, words["navigation"]),
            "elsewhere": fragments.elsewhere(self._places, cities),
            "world": fragments.world(self._places, cities),
            "place_rows": fragments.place_rows(self._places, cities, columns),
            "file_rows": fragments.file_rows(columns),
            "parameter_rows": fragments.parameter_rows(_rows(words["parameters"]), columns),
        }

    def _slot(self, texts: Mapping[str, str], suffix: str, found: re.Match[str]) -> str:
        name, argument = found[1], found[2]
        if name == "asset":
            return self.assets.path(argument)
        if name == "to":
            path, hash_sign, anchor = argument.partition("#")
            return f"{path}{suffix}{hash_sign}{anchor}"
        return texts[name]


def _mapping(value: object) -> Mapping[str, Mapping[str, object]]:
    assert isinstance(value, dict)
    return value


def _rows(value: object) -> Mapping[str, list[str]]:
    assert isinstance(value, dict)
    return value


def _texts(words: Mapping[str, object]) -> dict[str, str]:
    return {name: escape(value) for name, value in words.items() if isinstance(value, str)}
