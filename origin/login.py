"""Login, cart and logout over HTTP: pages with forms for people, JSON for programs.

Decides the cookie, who counts as a browser, which form is believed, and how each refusal looks. Must not know where
sessions are kept, nor what a cart may hold.

No cache stores any of it (`no-store`). A form is believed unless the browser says that another site's page sent it
(Sec-Fetch-Site, or Origin where there is none), and the cookie is SameSite=Lax. A secret in the form would have to be
known to every server, or forms would fail without stickiness for a reason that has nothing to do with sessions.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from origin import cart_view, reply
from origin.cart import Refusal, Refused, Session, named
from origin.items import Item
from origin.items_shelf import Shelf
from origin.sessions import LONGEST_IDENTITY, Keeper
from origin.site_http import SECURITY, SiteHttp

COOKIE = "cdnlab-session"
FIELDS = {"Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff"}
STATUS = {
    Refusal.NO_SESSION: 401,
    Refusal.UNKNOWN_SESSION: 401,
    Refusal.NO_NAME: 422,
    Refusal.FOREIGN: 403,
    Refusal.BAD_BODY: 415,
    Refusal.NO_ITEM: 404,
    Refusal.FULL: 409,
    Refusal.CONTENDED: 503,
    Refusal.STORE_AWAY: 503,
}
MORE = {
    401: {"WWW-Authenticate": f'Cookie cookie-name="{COOKIE}", form-action="/login"'},
    503: {"Retry-After": "1"},
}
MOST_INPUTS = 16
STRANGERS = (Refusal.NO_SESSION, Refusal.UNKNOWN_SESSION)

Act = Callable[[web.Request], Awaitable[web.Response]]


class Login:
    """The handlers of /login, /cart and /logout."""

    def __init__(self, keeper: Keeper, shelf: Shelf, site: SiteHttp, server: str) -> None:
        self.keeper = keeper
        self.results = dict.fromkeys(RESULTS, 0)
        """Requests by what came of them: a name of RESULTS."""
        self._shelf = shelf
        self._site = site
        self._server = server

    def routes(self) -> tuple[tuple[str, str, Act], ...]:
        """(method, path, handler) of all; GET answers HEAD too."""
        return (
            ("GET", "/login", self._guarded(self._form)),
            ("POST", "/login", self._guarded(self._log_in)),
            ("GET", "/cart", self._guarded(self._cart)),
            ("POST", "/cart", self._guarded(self._change)),
            ("POST", "/logout", self._guarded(self._log_out)),
        )

    def status(self) -> dict[str, object]:
        """The "sessions" of /status; `count` are those in this server's memory."""
        kind = "clustered" if self.keeper.clustered else "local"
        done = {name: count for name, count in self.results.items() if count}
        return {"kind": kind, "count": len(self.keeper), "evicted": self.keeper.evicted, "requests": done}

    def _guarded(self, act: Act) -> Act:
        """`act`, whose refusals become answers; each is counted."""

        async def guarded(request: web.Request) -> web.Response:
            try:
                answer, result = await act(request), "ok"
            except Refused as refused:
                answer, result = await self._refuse(request, refused.refusal), str(refused.refusal)
            self.results[result] += 1
            answer.headers.update(FIELDS)
            return answer

        return guarded

    # -- what is done ---------------------------------------------------------------------------------------

    async def _form(self, request: web.Request) -> web.Response:
        """Never a redirect to the cart: where each request meets another server, the two would go in a circle."""
        session, seen = None, None
        try:
            session = await self._session(request)
        except Refused as refused:
            if refused.refusal not in STRANGERS:
                raise
            seen = None if refused.refusal is Refusal.NO_SESSION else refused.refusal
        if not _browser(request):
            return self._said(request, session)
        return self._login_page(request, session, seen, 200)

    async def _log_in(self, request: web.Request) -> web.Response:
        """A login makes a new session, whatever cookie came along: nobody can be given a session to log in to."""
        values = await _values(request)
        session = Session(named(values.get("user"), values.get("password")))
        identity = await self.keeper.make(session)
        former = _identity(request)
        if former is not None:
            await self.keeper.end(former)
        answer = _to(request, "/cart") if _browser(request) else self._said(request, session)
        _set_cookie(request, answer, identity)
        return answer

    async def _cart(self, request: web.Request) -> web.Response:
        session = await self._session(request)
        if not _browser(request):
            return self._said(request, session)
        return await self._page(request, session, None, 200)

    async def _change(self, request: web.Request) -> web.Response:
        """`item`: the number of an item to put in; `take`: of one to take out."""
        values = await _values(request)
        identity = self._needed(request)
        number, takes = _number(values.get("item")), _number(values.get("take"))
        if number is None and takes is None:
            raise Refused(Refusal.NO_ITEM)
        if number is not None and number not in (await self._shelf.read()).rows:
            raise Refused(Refusal.NO_ITEM)

        def act(session: Session) -> None:
            if takes is not None:
                session.take(takes)
            if number is not None:
                session.put(number)

        session = await self.keeper.change(identity, act)
        return _to(request, "/cart") if _browser(request) else self._said(request, session)

    async def _log_out(self, request: web.Request) -> web.Response:
        await _values(request)
        await self.keeper.end(self._needed(request))
        answer = _to(request, "/login") if _browser(request) else self._said(request, None)
        _set_cookie(request, answer, None)
        return answer

    # -- who asks -------------------------------------------------------------------------------------------

    def _needed(self, request: web.Request) -> str:
        identity = _identity(request)
        if identity is None:
            raise Refused(Refusal.NO_SESSION)
        return identity

    async def _session(self, request: web.Request) -> Session:
        return await self.keeper.read(self._needed(request))

    # -- how it looks ---------------------------------------------------------------------------------------

    async def _refuse(self, request: web.Request, refusal: Refusal) -> web.Response:
        status = STATUS[refusal]
        if not _browser(request):
            return reply.problem(status, refusal.sentence, MORE.get(status))
        if refusal in STRANGERS:
            return _to(request, "/login")
        try:
            return await self._page(request, await self._session(request), refusal, status)
        except Refused:
            return self._login_page(request, None, refusal, status)

    def _said(self, request: web.Request, session: Session | None) -> web.Response:
        """The JSON of a session, or of none."""
        value: dict[str, object] = {
            "server": self._server,
            "sessions": "clustered" if self.keeper.clustered else "local",
            "user": session.user if session else None,
            "items": [{"id": number, "count": count} for number, count in sorted(session.cart.items())]
            if session
            else [],
            "pieces": session.pieces if session else 0,
            "version": session.version if session else 0,
        }
        return web.Response(body=reply.dump(value), headers={"Content-Type": "application/json"})

    def _login_page(
        self, request: web.Request, session: Session | None, refusal: Refusal | None, status: int
    ) -> web.Response:
        return self._html(request, "/login", lambda view: cart_view.login(view, session, refusal), status)

    async def _page(
        self, request: web.Request, session: Session, refusal: Refusal | None, status: int
    ) -> web.Response:
        goods: list[Item] = (await self._shelf.read()).listed()
        return self._html(
            request, "/cart", lambda view: cart_view.cart(view, session, goods, refusal), status
        )

    def _html(
        self, request: web.Request, path: str, live: Callable[[cart_view.View], str], status: int
    ) -> web.Response:
        frame = self._site.frame(request, path)
        view = cart_view.View(frame.words, self._server, self.keeper.clustered, frame.suffix)
        fields = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Language": frame.language,
            **SECURITY,
            **MORE.get(status, {}),
        }
        return web.Response(status=status, body=frame.filled(live(view)), headers=fields)


RESULTS = ("ok", *(str(refusal) for refusal in Refusal))


def _browser(request: web.Request) -> bool:
    """Whether a page is wanted and not JSON: browsers name HTML, programs don't (RFC 9110 §12.5.1)."""
    return "text/html" in request.headers.get("Accept", "")


def _identity(request: web.Request) -> str | None:
    found = request.cookies.get(COOKIE, "")
    return found if 0 < len(found) <= LONGEST_IDENTITY else None


def _to(request: web.Request, path: str) -> web.Response:
    """303: see there, in the language that was chosen."""
    language = request.query.get("lang")
    suffix = f"?lang={language}" if language in ("en", "ko") else ""
    return web.Response(status=303, headers={"Location": path + suffix})


def _set_cookie(request: web.Request, answer: web.Response, identity: str | None) -> None:
    """No Domain, so no other host gets it; no lifetime, so it goes with the browser."""
    secure = "; Secure" if request.headers.get("X-Forwarded-Proto") == "https" else ""
    gone = "; Max-Age=0" if identity is None else ""
    answer.headers["Set-Cookie"] = f"{COOKIE}={identity or ''}; Path=/; HttpOnly; SameSite=Lax{secure}{gone}"


async def _values(request: web.Request) -> Mapping[str, object]:
    """The inputs of a form, or the members of a JSON object; raises Refused(FOREIGN | BAD_BODY)."""
    if _foreign(request):
        raise Refused(Refusal.FOREIGN)
    body = await request.read()
    try:
        if request.content_type == "application/x-www-form-urlencoded":
            pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MOST_INPUTS)
            return dict(pairs)
        value = json.loads(body) if request.content_type == "application/json" else None
    except (ValueError, RecursionError):
        raise Refused(Refusal.BAD_BODY) from None
    if not isinstance(value, dict) and body:
        raise Refused(Refusal.BAD_BODY)
    return value or {}


def _foreign(request: web.Request) -> bool:
    """Whether a page of another site sent this, by what browsers say and no page can change.

    A request that says neither comes from no browser of these years, or from a program.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        sender = urlsplit(origin).netloc
    except ValueError:  # "http://[": no browser says that
        return True
    moved = sender.partition(".")[
        2
    ]  # balancers take the place out of gru.localhost, which nobody else can have
    ours = (request.host, request.headers.get("X-Forwarded-Host"))
    return sender not in ours and not (moved in ours and moved.partition(":")[0] == "localhost")


def _number(value: object) -> int | None:
    """The number of an item, from a form or from JSON; None if there is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 6:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
