"""The table's rules without HTTP, then its life over real sockets."""

from __future__ import annotations

import json

import aiohttp
import pytest

from origin.app import OriginApp
from origin.items import MAX_ITEMS, MAX_NUMBER, Items, Refused, complete
from origin.items_shelf import Shelf

LAMP = {"name": "Lamp", "price": 9000}
JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.mark.parametrize(
    "value, named",
    [
        ([], "object"),
        (None, "object"),
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "Lamp", "price": -1}, "price"),
        ({"name": "Lamp", "price": 1.5}, "price"),
        ({"name": "Lamp", "price": True}, "price"),
        ({"name": "Lamp", "price": 10**12}, "price"),
        ({"name": "Lamp", "stock": "many"}, "stock"),
        ({"name": "Lamp", "text": "x" * 401}, "text"),
        ({"name": "Lamp", "picture": "cat"}, "picture"),
        ({"name": "Lamp", "picture": []}, "picture"),
        ({"name": "Lamp", "colour": "red"}, "colour"),
    ],
)
def test_what_an_item_may_not_be(value: object, named: str) -> None:
    with pytest.raises(Refused, match=named):
        complete(value)


def test_the_table_is_bounded() -> None:
    items = Items()
    while len(items.rows) < MAX_ITEMS:
        items.add(LAMP)
    with pytest.raises(Refused, match="at the most"):
        items.add(LAMP)
    with pytest.raises(Refused, match="at the most"):
        items.put(MAX_NUMBER, LAMP)
    items.delete(1)
    items.add(LAMP)


def test_numbers_are_not_used_twice() -> None:
    items = Items()
    number = items.add(LAMP)["id"]
    assert isinstance(number, int)
    items.delete(number)
    assert items.add(LAMP)["id"] == number + 1


def test_a_visitor_who_takes_the_last_number_does_not_close_the_shop() -> None:
    items = Items()
    items.put(MAX_NUMBER, LAMP)
    assert items.add(LAMP)["id"] == 6


def test_a_table_survives_its_own_text() -> None:
    items = Items()
    items.add({"name": "등대 <b>", "price": 1})
    again = Items.load(items.dump())
    assert (again.listed(), again.last, again.changes) == (items.listed(), items.last, items.changes)
    assert b"<" not in items.dump()


async def test_a_change_that_is_refused_leaves_the_table_alone() -> None:
    shelf = Shelf(None, "key")
    before = shelf.items.dump()
    with pytest.raises(Refused):
        await shelf.change(lambda items: (items.delete(1), items.get(99)))
    assert (await shelf.read()).dump() == before


async def listed(client: aiohttp.ClientSession) -> tuple[list[dict[str, object]], str]:
    async with client.get("/api/items") as response:
        assert response.status == 200
        return (await response.json())["items"], response.headers["ETag"]


async def test_the_life_of_an_item(client: aiohttp.ClientSession) -> None:
    before, tag = await listed(client)
    async with client.post("/api/items", json=LAMP) as response:
        item, location, item_tag = (
            await response.json(),
            response.headers["Location"],
            response.headers["ETag"],
        )
        assert response.status == 201
        assert response.headers["Cache-Group-Invalidation"] == '"items"'
    after, new_tag = await listed(client)
    assert (len(after), new_tag != tag) == (len(before) + 1, True)

    async with client.get(location) as response:
        assert (await response.json(), response.headers["ETag"]) == (item, item_tag)
        assert response.headers["Cache-Control"] == "public, max-age=0, s-maxage=30"
        assert response.headers["Cache-Groups"] == '"items"'
    async with client.get(location, headers={"If-None-Match": item_tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with client.head(location) as response:
        assert (response.status, response.headers["ETag"]) == (200, item_tag)

    patch = json.dumps({"stock": 3})
    async with client.patch(location, data=patch, headers={**MERGE, "If-Match": item_tag}) as response:
        assert (response.status, (await response.json())["stock"]) == (200, 3)
        newer = response.headers["ETag"]
    async with client.patch(location, data=patch, headers={**MERGE, "If-Match": item_tag}) as response:
        assert response.status == 412
    async with client.put(location, json={"name": "등대"}, headers={"If-Match": newer}) as response:
        assert (response.status, (await response.json())["price"]) == (200, 0)
    async with client.delete(location) as response:
        assert (response.status, await response.read()) == (204, b"")
        assert response.headers["Cache-Group-Invalidation"] == '"items"'
    async with client.get(location) as response:
        assert response.status == 404
    assert await listed(client) != (before, tag)  # "changes" has moved on


async def test_put_creates(client: aiohttp.ClientSession) -> None:
    headers = {"If-None-Match": "*"}
    async with client.put("/api/items/77", json=LAMP, headers=headers) as response:
        assert response.status == 201
    async with client.put("/api/items/77", json=LAMP, headers=headers) as response:
        assert response.status == 412


@pytest.mark.parametrize(
    "method, path, body, fields, status",
    [
        ("DELETE", "/api/items", b"", {}, 405),
        ("PATCH", "/api/items", b"{}", MERGE, 405),
        ("POST", "/api/items/1", b"{}", JSON, 405),
        ("POST", "/api/items", b"name=Lamp", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("PATCH", "/api/items/1", b"{}", {"Content-Type": "text/plain"}, 415),
        ("POST", "/api/items", b"{", JSON, 400),
        ("POST", "/api/items", b"", JSON, 400),
        ("POST", "/api/items", b"\xff\xfe\xfd", JSON, 400),
        ("POST", "/api/items", b'{"name": "Lamp", "price": NaN}', JSON, 400),
        ("POST", "/api/items", b"[" * 8000, JSON, 400),
        ("POST", "/api/items", b"{}", JSON, 422),
        ("POST", "/api/items", b'{"name": "' + b"x" * 9000 + b'"}', JSON, 413),
        ("PATCH", "/api/items/1", b"[]", MERGE, 422),
        ("PATCH", "/api/items/1", b'{"id": 2}', MERGE, 422),
        ("PATCH", "/api/items/1", b'{"name": null}', MERGE, 422),
        ("PUT", "/api/items/0", b'{"name": "Lamp"}', JSON, 422),
        ("DELETE", "/api/items/99", b"", {}, 404),
        ("PATCH", "/api/items/99", b"{}", MERGE, 404),
        ("PUT", "/api/items/99", b'{"name": "Lamp"}', {**JSON, "If-Match": "*"}, 412),
        ("DELETE", "/api/items/1", b"", {"If-Match": '"other"'}, 412),
        ("GET", "/api/items/one", b"", {}, 404),
        ("GET", "/api/nothing", b"", {}, 404),
    ],
)
async def test_refusals_say_why_in_json_and_change_nothing(
    origin: OriginApp,
    client: aiohttp.ClientSession,
    method: str,
    path: str,
    body: bytes,
    fields: dict[str, str],
    status: int,
) -> None:
    before = origin.shelf.items.dump()
    async with client.request(method, path, data=body, headers=fields) as response:
        assert response.status == status
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["Cache-Control"] == "no-store"
        problem = json.loads(await response.read())
    assert (problem["status"], bool(problem["detail"])) == (status, True)
    assert ("Allow" in response.headers) is (status == 405)
    assert origin.shelf.items.dump() == before
