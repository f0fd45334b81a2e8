"""The site over HTTP: the page or asset a request means, in the language it prefers.

Decides selection by path and language, and the fields that tell caches about it. Must not know what pages
hold.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from aiohttp import web

from cdnlab.world.places import Place
from origin import assets, pages, reply
from origin.language import LANGUAGES, choose

NOT_FOUND_CACHE = "public, max-age=0, s-maxage=10"  # a path that is missing may appear: remember it briefly
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
ROBOTS = b"User-agent: *\nDisallow: /behave\nDisallow: /echo\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SiteHttp:
    """The pages and assets as handlers."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.assets = assets.Assets()
        self.site = pages.Site(places, self.assets)

    def routes(self) -> Iterator[tuple[str, Handler]]:
        """(path, handler) of all that is read by GET and HEAD."""
        for path in pages.PAGES:
            yield path, self.page
        yield "/assets/{name}", self.asset
        yield "/favicon.ico", self.icon
        yield "/robots.txt", self.robots

    async def page(self, request: web.Request) -> web.StreamResponse:
        """A page in the language of ?lang=, else of Accept-Language."""
        page, fields = self._select(request, request.path)
        return reply.selected(
            request,
            page.body,
            media_type="text/html; charset=utf-8",
            etag=page.etag,
            cache_control=pages.CACHE_CONTROL,
            repr_digest=page.repr_digest,
            fields=fields,
        )

    def missing(self, request: web.Request) -> web.Response:
        """404 with a page that says so."""
        page, fields = self._select(request, "")
        headers = {
            **fields,
            "Content-Type": "text/html; charset=utf-8",
            "Cache-Control": NOT_FOUND_CACHE,
            "Repr-Digest": page.repr_digest,
        }
        return web.Response(status=404, body=page.body, headers=headers)

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """A file of the site under its hashed name."""
        asset = self.assets.by_path.get(request.path)
        if asset is None:
            return self.missing(request)
        return _asset(request, asset, assets.CACHE_CONTROL)

    async def icon(self, request: web.Request) -> web.StreamResponse:
        """The picture that browsers ask for by habit; its name is fixed, so it may change within a day."""
        return _asset(request, self.assets.by_name["favicon.png"], "public, max-age=86400")

    async def robots(self, request: web.Request) -> web.StreamResponse:
        """What crawlers should leave alone."""
        return reply.selected(
            request, ROBOTS, media_type="text/plain", etag='"robots-1"', cache_control="public, max-age=86400"
        )

    def frame(self, request: web.Request, path: str) -> pages.Frame:
        """The private page at `path`, in the language that page() would choose."""
        language, chosen = _language(request)
        return self.site.frame(path, language, chosen=chosen)

    def _select(self, request: web.Request, path: str) -> tuple[pages.Page, dict[str, str]]:
        """The page and the fields that say how it was chosen; with ?lang= the URL alone decides, so no Vary."""
        language, chosen = _language(request)
        page = self.site.page(path, language, chosen=chosen)
        assert page is not None
        vary = {} if chosen else {"Vary": "Accept-Language"}
        return page, {"Content-Language": language, **vary, **SECURITY}


def _language(request: web.Request) -> tuple[str, bool]:
    """The language, and whether the URL chose it."""
    asked = request.query.get("lang", "")
    return (
        (asked, True) if asked in LANGUAGES else (choose(request.headers.get("Accept-Language", "")), False)
    )


def _asset(request: web.Request, asset: assets.Asset, cache_control: str) -> web.Response:
    return reply.selected(
        request,
        asset.content,
        media_type=asset.media_type,
        etag=asset.etag,
        cache_control=cache_control,
        repr_digest=asset.repr_digest,
        fields={"X-Content-Type-Options": "nosniff"},
    )
