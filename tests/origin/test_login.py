"""Login, cart and logout over real sockets: as a browser, as a program, and as somebody who means harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from cdnlab.node.health_answer import NodeState
from cdnlab.node.node import Node
from cdnlab.node.store import Store, StoreAway
from origin.app import OriginApp, build
from origin.cart import Refusal
from origin.command import alone
from origin.language import LANGUAGES
from origin.login import COOKIE
from origin.pages import PRIVATE
from tests.origin.test_items_shelf import Start, stores
from tests.origin.test_site import Document

__all__ = ["stores"]

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def anna(origin: OriginApp) -> AsyncIterator[aiohttp.ClientSession]:
    assert origin.address is not None
    host, port = origin.address
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(f"http://{host}:{port}", cookie_jar=jar) as session:
        yield session


async def log_in(who: aiohttp.ClientSession, name: str = "anna") -> None:
    async with who.post("/login", data={"user": name, "password": "x"}) as response:
        assert (response.status, (await response.json())["user"]) == (200, name)


async def test_a_program_logs_in_buys_and_logs_out(anna: aiohttp.ClientSession) -> None:
    async with anna.get("/login") as response:
        assert (await response.json())["user"] is None
    await log_in(anna)
    for number in (3, 3, 1):
        async with anna.post("/cart", json={"item": number}) as response:
            assert response.status == 200
    async with anna.post("/cart", data={"take": "1"}) as response:
        said = await response.json()
    assert (said["server"], said["sessions"]) == ("origin-1", "local")
    assert (said["items"], said["pieces"]) == ([{"id": 3, "count": 2}], 2)
    async with anna.post("/logout") as response:
        assert "Max-Age=0" in response.headers["Set-Cookie"]
    async with anna.get("/cart") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Cookie ")
        assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_browser_does_it_with_forms(anna: aiohttp.ClientSession, language: str) -> None:
    ask = {**HTML, "Accept-Language": language}
    async with anna.get("/cart", headers=ask) as response:
        assert (response.status, response.url.path) == (200, "/login")
        page = Document(await response.text())
    assert "login-form" in page.ids
    assert page.all("html")[0]["lang"] == language
    form = next(one for one in page.all("form") if one.get("id") == "login-form")
    assert (form["method"], form["action"]) == ("post", "/login")
    async with anna.post("/login", data={"user": "<b>x", "password": "x"}, headers=ask) as response:
        assert (response.status, response.url.path) == (200, "/cart")
        text = await response.text()
    assert "&lt;b&gt;x" in text
    assert "<b>x" not in text
    async with anna.post("/cart", data={"item": "4"}, headers=ask) as response:
        page = Document(await response.text())
    assert [row.get("data-item") for row in page.all("tr") if row.get("data-item")] == ["4"]
    assert {"who", "kept", "cart", "shelf"} <= set(page.ids)
    async with anna.post("/logout", headers=ask) as response:
        assert response.url.path == "/login"


async def test_the_language_of_the_address_is_kept(anna: aiohttp.ClientSession) -> None:
    body = {"user": "a", "password": "b"}
    async with anna.post("/login?lang=ko", data=body, headers=HTML, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/cart?lang=ko")
    async with anna.get("/cart?lang=ko", headers=HTML) as response:
        assert response.headers["Content-Language"] == "ko"
        page = Document(await response.text())
    assert all(form["action"] in ("/cart?lang=ko", "/logout?lang=ko") for form in page.all("form"))


async def test_no_cache_may_keep_any_of_it(anna: aiohttp.ClientSession) -> None:
    for headers in (HTML, {}):
        for path in PRIVATE:
            async with anna.get(path, headers=headers, allow_redirects=False) as response:
                assert response.headers["Cache-Control"] == "private, no-store", path
        for path in ("/login", "/cart", "/logout"):
            async with anna.post(path, headers=headers, allow_redirects=False) as response:
                assert response.headers["Cache-Control"] == "private, no-store", path
                assert response.status in (303, 401, 422), path


async def test_the_cookie(anna: aiohttp.ClientSession) -> None:
    async def cookie(**headers: str) -> tuple[str, list[str]]:
        body = {"user": "a", "password": "b"}
        async with anna.post("/login", data=body, headers=headers) as response:
            value, *attributes = response.headers["Set-Cookie"].split("; ")
            return value.removeprefix(f"{COOKIE}="), attributes

    first, attributes = await cookie()
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"]
    second, attributes = await cookie(**{"X-Forwarded-Proto": "https"})
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"]
    assert first != second, "a login never takes a session that was there"
    assert len(first) >= 43
    anna.cookie_jar.clear()
    async with anna.get("/cart", headers={"Cookie": f"{COOKIE}={first}"}) as response:
        assert response.status == 401, "the session of before the login has ended"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://gru.{bare}"},
        {"Origin": "http://gru.localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "{host}"},
    ],
)
@pytest.mark.parametrize(
    "path, body", [("/cart", "item=3"), ("/logout", ""), ("/login", "user=b&password=b")]
)
async def test_another_sites_form_does_nothing(
    anna: aiohttp.ClientSession, origin: OriginApp, headers: dict[str, str], path: str, body: str
) -> None:
    await log_in(anna)
    assert origin.address is not None
    host = "http://{}:{}".format(*origin.address)
    bare = host.removeprefix("http://")
    given = {name: value.format(host=host, bare=bare) for name, value in headers.items()}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with anna.post(path, data=body.encode(), headers={**given, **form}) as response:
        assert response.status == 403
        assert "Set-Cookie" not in response.headers
    async with anna.get("/cart") as response:
        said = await response.json()
    assert (said["user"], said["pieces"]) == ("anna", 0)


async def test_its_own_form_is_believed(anna: aiohttp.ClientSession, origin: OriginApp) -> None:
    assert origin.address is not None
    own = "http://{}:{}".format(*origin.address)
    body = {"user": "a", "password": "b"}
    for headers in (
        {"Origin": own},
        {"Sec-Fetch-Site": "same-origin", "Origin": own},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://shop.example", "X-Forwarded-Host": "shop.example"},
        {"Origin": "http://gru.localhost:8080", "Host": "localhost:8080"},
    ):
        async with anna.post("/login", data=body, headers=headers) as response:
            assert response.status == 200, headers


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "path, kind, body, status",
    [
        ("/login", FORM, b"user=&password=x", 422),
        ("/login", FORM, b"user=%00&password=x", 422),
        ("/login", FORM, b"\xff=1", 415),
        ("/login", FORM, b"&".join(b"a=1" for _ in range(17)), 415),
        ("/login", "application/json", b"{", 415),
        ("/login", "application/json", b"[" * 5000, 415),
        ("/login", "application/json", b"[]", 415),
        ("/login", "text/plain", b"user=a&password=b", 415),
        ("/login", FORM, b"user=" + b"a" * 9000, 413),
        ("/cart", FORM, b"item=77", 404),
        ("/cart", FORM, b"item=-1", 404),
        ("/cart", FORM, b"item=1e3", 404),
        ("/cart", FORM, "item=²".encode(), 404),
        ("/cart", FORM, b"", 404),
        ("/cart", FORM, b"take=1", 404),
        ("/cart", "application/json", b'{"item": true}', 404),
        ("/cart", "application/json", b'{"item": [1]}', 404),
    ],
)
async def test_what_cannot_be_meant(
    anna: aiohttp.ClientSession, path: str, kind: str, body: bytes, status: int
) -> None:
    await log_in(anna)
    async with anna.post(path, data=body, headers={"Content-Type": kind}) as response:
        assert response.status == status
    async with anna.post(path, data=body, headers={"Content-Type": kind, **HTML}) as response:
        assert response.status == status
    async with anna.get("/cart") as response:
        assert (await response.json())["user"] == "anna"


@pytest.mark.parametrize("value", ["x", "a" * 5000, "..%2f", "\u00e9"])
async def test_a_made_up_cookie_is_a_strangers(client: aiohttp.ClientSession, value: str) -> None:
    headers = {"Cookie": f"{COOKIE}={value}"}
    async with client.get("/cart", headers=headers) as response:
        assert response.status == 401
    async with client.get("/cart", headers={**headers, **HTML}) as response:
        assert (response.status, response.url.path) == (200, "/login")


async def test_what_came_of_requests_is_counted(origin: OriginApp, anna: aiohttp.ClientSession) -> None:
    await log_in(anna)
    async with anna.get("/cart"), anna.post("/cart", data={"item": "99"}):
        pass
    status = origin.status()["sessions"]
    assert status == {"kind": "local", "count": 1, "evicted": 0, "requests": {"ok": 2, "no_item": 1}}
    families = {found.spec.name: found.samples for found in origin.metrics()}
    counted = {
        sample.labels[0][1]: sample.value for sample in families["cdnlab_origin_session_requests_total"]
    }
    assert counted == {"ok": 2, **dict.fromkeys(Refusal, 0), "no_item": 1}
    assert [sample.value for sample in families["cdnlab_origin_sessions"]] == [1]


@pytest.fixture
async def two(stores: tuple[Store, Store, Start]) -> AsyncIterator[list[OriginApp]]:
    """Two origins that share a store."""
    apps = []
    for number, store in enumerate(stores[:2], 1):
        name = f"origin-{number}"
        node = Node(alone("127.0.0.1:0", name=name, sessions="clustered", store=store.url), name, store=store)
        apps.append(build(node))
        node.serve(apps[-1])
        await apps[-1].start()
        node.change(NodeState.READY, "serving")
    yield apps
    for app in apps:
        await app.stop()


async def test_two_servers_with_a_store_and_then_without_it(
    two: list[OriginApp], stores: tuple[Store, Store, Start]
) -> None:
    """One cart at both; without the store a page that says so, and the rest of the site as ever."""
    urls = ["http://{}:{}".format(*app.address) for app in two if app.address]
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as anna:
        async with anna.post(f"{urls[0]}/login", data={"user": "anna", "password": "x"}) as response:
            assert (await response.json())["sessions"] == "clustered"
        await asyncio.gather(
            *(_post(anna, f"{urls[n % 2]}/cart", {"item": str(n % 5 + 1)}) for n in range(20))
        )
        async with anna.get(f"{urls[1]}/cart") as response:
            said = await response.json()
        assert (said["server"], said["pieces"]) == ("origin-2", 20)
        with pytest.raises(StoreAway):
            await stores[0].call("SHUTDOWN", "NOSAVE")
        for path in PRIVATE:
            async with anna.get(urls[0] + path) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "1")
            async with anna.get(urls[1] + path, headers=HTML) as response:
                page = Document(await response.text())
            assert (response.status, {"refused", "login-form"} - set(page.ids)) == (503, set())
        assert await _post(anna, f"{urls[0]}/login", {"user": "a", "password": "b"}) == 503
        assert await _post(anna, f"{urls[0]}/logout", {}) == 503
        async with anna.get(urls[0] + "/shop") as response:
            assert response.status == 200
        assert [each["feature"] for each in two[0].node.status()["degraded"]] == ["sessions", "items"]


async def _post(who: aiohttp.ClientSession, url: str, form: dict[str, str]) -> int:
    async with who.post(url, data=form) as response:
        return response.status
