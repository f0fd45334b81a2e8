"""Whatever a client shows, it is pinned or it is not: nothing that it sends breaks a request, or grows a table."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdnlab.forward import sticky as module
from cdnlab.forward.sticky import GONE_MAX, Stickiness
from cdnlab.net.clock import now
from cdnlab.plan.pools import StickySpec
from cdnlab.pool.backend import Backend
from cdnlab.pool.pin_cookie import Signer
from cdnlab.pool.pool import Pool

KEYS = {"1": b"k" * 32}


def pool() -> Pool:
    return Pool("servers", [Backend(f"server-{number}", "127.0.0.1", number) for number in (1, 2, 3)])


def keeper(mode: str, servers: Pool | None = None, **more: object) -> Stickiness:
    name = "sid" if mode == "learn" else "cdnlab-pin"
    spec = StickySpec.model_validate({"mode": mode, "cookie": name, **more})
    made = Stickiness(servers or pool(), spec, name, b"s" * 32)
    made.use_keys(KEYS, "1")
    return made


COOKIES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=60).map(lambda value: b"cdnlab-pin=" + value),
        st.binary(max_size=60).map(lambda value: b"a=b; sid=" + value),
    ),
    max_size=4,
)


@settings(deadline=None)
@pytest.mark.parametrize("mode", ["cookie", "source", "learn"])
@given(cookies=COOKIES, address=st.text(max_size=50))
def test_any_bytes_are_a_client_or_none(mode: str, cookies: list[bytes], address: str) -> None:
    one = keeper(mode)
    hold = one.find(cookies, address)
    chosen = one.where(hold, "", b"", now())
    backend = chosen or one.pool.backends[0]
    fields = [(b"set-cookie", cookie) for cookie in cookies]
    line = one.answered(hold, backend, 200, fields)
    assert line.count(b"\r\n") == (1 if line else 0), "no client writes lines into an answer"
    again = one.find(cookies, address)
    if mode == "source":
        assert one.where(again, "", b"", now()) is chosen is not None


def test_verified_cookies_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERIFIED_MAX", 10)
    one, signer = keeper("cookie"), Signer(KEYS, "1", "/", "servers")
    for number in range(100):
        value = signer.value("server-2", number.to_bytes(8, "big"))
        hold = one.find([b"cdnlab-pin=" + value], "", "/")
        assert hold.backend is one.pool.backends[1]
        one.find([b"cdnlab-pin=forged." + b"A" * 11 + b"." + b"%022d" % number], "", "/")
    assert len(one._young) <= 10
    assert len(one._old) <= 10
    assert sum(one.refused.values()) == 100


def test_backends_that_came_and_went_are_forgotten_in_the_end() -> None:
    servers = pool()
    one = keeper("cookie", servers)
    for number in range(GONE_MAX + 20):
        servers.add(Backend(f"new-{number}", "127.0.0.1", 1000 + number))
        servers.remove(f"new-{number}")
    assert len(one._gone) == GONE_MAX


def test_one_that_comes_back_under_its_name_has_its_clients_again() -> None:
    servers = pool()
    one, value = keeper("cookie", servers), Signer(KEYS, "1", "/", "servers").value("server-2", bytes(8))
    shown = [b"cdnlab-pin=" + value]
    gone = servers.remove("server-2")
    assert one.find(shown, "", "/").lost
    servers.add(gone)
    assert one.find(shown, "", "/").backend is gone


def test_a_hold_of_a_backend_that_was_replaced_is_not_used() -> None:
    """Another server under the same name knows nobody."""
    servers = pool()
    one = keeper("source", servers)
    hold = one.find([], "192.0.2.1")
    first = one.where(hold, "", b"", now())
    assert first is not None
    servers.remove(first.name)
    servers.add(Backend(first.name, "127.0.0.9", 9))
    assert one.where(hold, "", b"", now()) in servers.backends


def test_addresses_of_one_network_are_one_client() -> None:
    one = keeper("source", prefix4=24, prefix6=56)
    for here, there, same in (
        ("192.0.2.1", "192.0.2.254", True),
        ("192.0.2.1", "192.0.3.1", False),
        ("::ffff:192.0.2.1", "192.0.2.9", True),
        ("2001:db8:0:1::1", "2001:db8:0:ff::1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1ff::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ):
        assert (one.find([], here).key == one.find([], there).key) is same, (here, there)
