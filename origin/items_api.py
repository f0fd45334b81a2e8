"""`/api/items` over HTTP: reads that caches may keep, and changes that must make them forget.

Decides how the table's outcomes look as responses: validators, conditions (RFC 9110 §13), invalidation (RFC
9111 §4.4). Must not know what an item is nor where the table lies.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from cdnlab.net import clock
from origin import conditional, reply
from origin.items import Item, Items, Refusal, Refused, dump, etag
from origin.items_shelf import Contended, Shelf

MAX_BODY = 8 * 1024  # bytes; the longest valid item takes less than 3 KiB
CACHE_CONTROL = "public, max-age=0, s-maxage=30"
"""Shared caches keep the answers half a minute; the browser asks each time, so that the edge is seen and not it."""
GROUP = '"items"'
STATUS = {Refusal.ABSENT: 404, Refusal.FULL: 507, Refusal.INVALID: 422}
CHANGED = {"Cache-Control": "no-store", "Cache-Group-Invalidation": GROUP}
"""A change names the group of every answer made from the table (RFC 9875), for caches that know groups."""

MERGE_PATCH = "application/merge-patch+json"

Act = Callable[[web.Request], Awaitable[web.Response]]


class BadBody(Exception):
    """A body that can't be read: `status`, and a text for people."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ConditionFailed(Exception):
    """If-Match, If-None-Match or a date of the request does not hold: 412."""


class ItemsApi:
    """The handlers of the collection and of one item."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def collection(self, request: web.Request) -> web.Response:
        """GET, HEAD: the list. POST: a new item, 201 with its Location."""
        return await _guarded(request, {"GET": self._list, "HEAD": self._list, "POST": self._add})

    async def item(self, request: web.Request) -> web.Response:
        """GET, HEAD, PUT, PATCH (RFC 7396), DELETE of one item."""
        methods = {"GET": self._get, "HEAD": self._get, "PUT": self._put, "PATCH": self._merge}
        return await _guarded(request, {**methods, "DELETE": self._delete})

    async def _list(self, request: web.Request) -> web.Response:
        items = await self.shelf.read()
        return _representation(request, {"items": items.listed(), "changes": items.changes})

    async def _get(self, request: web.Request) -> web.Response:
        items = await self.shelf.read()
        return _representation(request, items.get(_number(request)))

    async def _add(self, request: web.Request) -> web.Response:
        value = await _json(request, "application/json")

        def act(items: Items) -> Item:
            _check(request, etag({"items": items.listed(), "changes": items.changes}))
            return items.add(value)

        item = await self.shelf.change(act)
        fields = {"Location": f"/api/items/{item['id']}"}
        return _changed(201, item, fields)

    async def _put(self, request: web.Request) -> web.Response:
        value, number = await _json(request, "application/json"), _number(request)

        def act(items: Items) -> tuple[Item, bool]:
            _check(request, etag(items.rows[number]) if number in items.rows else None)
            return items.put(number, value)

        item, created = await self.shelf.change(act)
        return _changed(201 if created else 200, item, {})

    async def _merge(self, request: web.Request) -> web.Response:
        value, number = await _json(request, MERGE_PATCH, "application/json"), _number(request)

        def act(items: Items) -> Item:
            _check(request, etag(items.get(number)))
            return items.merge(number, value)

        return _changed(200, await self.shelf.change(act), {})

    async def _delete(self, request: web.Request) -> web.Response:
        number = _number(request)

        def act(items: Items) -> None:
            _check(request, etag(items.get(number)))
            items.delete(number)

        await self.shelf.change(act)
        return web.Response(status=204, headers=CHANGED)


async def _guarded(request: web.Request, methods: Mapping[str, Act]) -> web.Response:
    """Run the method's act; every refusal becomes a response."""
    act = methods.get(request.method)
    if act is None:
        return reply.problem(
            405, f"{request.method} is not for this resource.", {"Allow": ", ".join(methods)}
        )
    try:
        return await act(request)
    except Refused as refused:
        return reply.problem(STATUS[refused.refusal], str(refused))
    except BadBody as bad:
        fields = {"Accept-Patch": MERGE_PATCH} if bad.status == 415 and request.method == "PATCH" else {}
        return reply.problem(bad.status, str(bad), fields)
    except ConditionFailed:
        return reply.problem(412, "The item has changed since you read it; read it again, then decide.")
    except Contended:
        return reply.problem(503, "Too many changes at once; try again.", {"Retry-After": "1"})


def _representation(request: web.Request, value: object) -> web.Response:
    return reply.selected(
        request,
        dump(value),
        media_type="application/json",
        etag=etag(value),
        cache_control=CACHE_CONTROL,
        fields={"Cache-Groups": GROUP},
    )


def _changed(status: int, item: Item, fields: dict[str, str]) -> web.Response:
    headers = {**CHANGED, "Content-Type": "application/json", "ETag": etag(item), **fields}
    return web.Response(status=status, body=dump(item), headers=headers)


def _number(request: web.Request) -> int:
    return int(request.match_info["number"])


def _check(request: web.Request, tag: str | None) -> None:
    verdict = conditional.evaluate(request.method, request.headers, etag=tag, wall=clock.wall())
    if verdict is not conditional.Verdict.PROCEED:
        raise ConditionFailed


async def _json(request: web.Request, *types: str) -> object:
    """The body as a JSON value; raises BadBody with 400, 413 or 415."""
    if request.content_type not in types:
        raise BadBody(415, f"The body must be {' or '.join(types)}, and its Content-Type must say so.")
    try:
        return json.loads(await request.read(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadBody(400, f"The body is not JSON: {str(error)[:200]}.") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")
