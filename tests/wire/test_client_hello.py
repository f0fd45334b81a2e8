"""The server name in a ClientHello: whole, in pieces, in many records, and from those who mean no good."""

from __future__ import annotations

import ssl
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdnlab.wire.client_hello import MESSAGE_BYTES, TOTAL_BYTES, ClientHello
from cdnlab.wire.errors import Malformed, Why


def vector(prefix: int, body: bytes) -> bytes:
    return len(body).to_bytes(prefix, "big") + body


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, body)


def names(*found: tuple[int, bytes]) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for kind, name in found)))


def message(
    *extensions: bytes, tail: bytes = b"", session: bytes = b"", suites: bytes = b"\x13\x01"
) -> bytes:
    body = b"\x03\x03" + bytes(32) + vector(1, session) + vector(2, suites) + vector(1, b"\x00")
    if extensions:
        body += vector(2, b"".join(extensions))
    return b"\x01" + vector(3, body + tail)


def records(handshake: bytes, size: int = 16384) -> bytes:
    pieces = [handshake[at : at + size] for at in range(0, len(handshake), size)]
    return b"".join(b"\x16\x03\x01" + vector(2, piece) for piece in pieces)


def read(data: bytes, step: int = 1 << 20) -> ClientHello:
    hello = ClientHello()
    for at in range(0, len(data), step):
        if hello.feed(data[at : at + step]):
            break
    return hello


def from_openssl(name: str | None, version: ssl.TLSVersion) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    sent = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return sent.read()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["shop.example.com", "a.b", None])
def test_what_openssl_sends(name: str | None, version: ssl.TLSVersion) -> None:
    hello = read(from_openssl(name, version))
    assert hello.complete
    assert hello.server_name == name


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16384])
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_cut_anywhere_it_says_the_same(size: int, step: int) -> None:
    data = records(message(extension(10, b"\x00\x02\x00\x1d"), names((0, b"Shop.Example.COM"))), size)
    hello = read(data, step)
    assert hello.complete
    assert hello.server_name == "shop.example.com"
    assert not read(data[:-1], step).complete


CASES: dict[str, tuple[bytes, str | None]] = {
    "no extensions at all": (message(), None),
    "no server name": (message(extension(23, b"")), None),
    "a name of another kind only": (message(names((7, b"x"))), None),
    "another kind before the host name": (message(names((7, b"x"), (0, b"a.example"))), "a.example"),
    "an underscore": (message(names((0, b"_dmarc.a.example"))), "_dmarc.a.example"),
}


@pytest.mark.parametrize("case", CASES)
def test_accepted(case: str) -> None:
    data, name = CASES[case]
    hello = read(records(data))
    assert hello.complete
    assert hello.server_name == name


REFUSED = {
    "plain HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an alert": b"\x15\x03\x01\x00\x02\x01\x00",
    "application data": b"\x17\x03\x03\x00\x01x",
    "SSL 2": b"\x80\x2e\x01\x03\x01",
    "an empty record": b"\x16\x03\x01\x00\x00",
    "a record that is too long": b"\x16\x03\x01\x40\x01\x01",
    "a ServerHello": records(b"\x02" + vector(3, bytes(40))),
    "a message that is too long": records(b"\x01" + (MESSAGE_BYTES + 1).to_bytes(3, "big") + b"x"),
    "a record of another type in between": records(message(names((0, b"a.a"))), 20)[:25] + b"\x15\3\1\0\2\1\0",
    "two messages in one record": records(message() + b"\x01"),
    "two server_name extensions": records(message(names((0, b"a.example")), names((0, b"b.example")))),
    "two host names": records(message(names((0, b"a.example"), (0, b"b.example")))),
    "an extension twice": records(message(extension(23, b""), extension(23, b""))),
    "an empty name": records(message(names((0, b"")))),
    "an empty list of names": records(message(extension(0, b"\x00\x00"))),
    "a list that ends too early": records(message(extension(0, b"\x00\x09\x00\x00\x02a"))),
    "bytes after the list": records(message(extension(0, vector(2, b"\x00" + vector(2, b"a")) + b"x"))),
    "a NUL in the name": records(message(names((0, b"a.example\x00.evil")))),
    "a name with a space": records(message(names((0, b"a example")))),
    "a trailing dot": records(message(names((0, b"a.example.")))),
    "a name of 256 bytes": records(message(names((0, b"a" * 256)))),
    "extensions that end too early": records(message(b"\x00\x00\x00\x05x")),
    "bytes after the extensions": records(message(names((0, b"a")), tail=b"x")),
    "an odd number of bytes of suites": records(message(suites=b"\x13")),
    "no suites": records(message(suites=b"")),
    "a session id of 33 bytes": records(message(session=bytes(33))),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_refused(case: str, step: int) -> None:
    with pytest.raises(Malformed) as refused:
        read(REFUSED[case], step)
    assert refused.value.code is Why.CLIENT_HELLO


def test_the_first_byte_is_enough_to_know_that_it_is_none() -> None:
    with pytest.raises(Malformed):
        read(b"G")


def test_records_of_one_byte_cost_no_more_than_their_bytes() -> None:
    """16 KiB in records of one byte, six bytes at a time: were all read again each time, it would take minutes."""
    large = message(extension(21, bytes(15000)))
    hello, started = ClientHello(), time.process_time()
    data = records(large, 1)
    fed = 0
    while fed + 6 <= TOTAL_BYTES:
        assert not hello.feed(data[fed : fed + 6])
        fed += 6
    with pytest.raises(Malformed):
        hello.feed(data[fed : fed + 6])
    assert len(data) > TOTAL_BYTES
    assert time.process_time() - started < 1.0


@given(st.binary(max_size=400), st.integers(1, 50))
def test_whatever_comes_is_refused_or_waited_for(data: bytes, step: int) -> None:
    try:
        read(data, step)
    except Malformed:
        pass


@given(st.data())
def test_a_hello_with_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(records(message(names((0, b"shop.example.com")), extension(16, b"\x00\x03\x02h2"))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        hello = read(bytes(whole), data.draw(st.integers(1, len(whole))))
    except Malformed:
        return
    assert hello.server_name is None or hello.server_name.isascii()


@given(st.from_regex(r"[a-z0-9]{1,20}(\.[a-z0-9-]{0,10}[a-z0-9]){0,5}", fullmatch=True), st.integers(1, 60))
def test_the_name_that_was_put_in_comes_out(name: str, size: int) -> None:
    wanted = name if not any(label.startswith("-") for label in name.split(".")) else None
    data = records(message(extension(43, b"\x02\x03\x04"), names((0, name.encode()))), size)
    if wanted is None:
        with pytest.raises(Malformed):
            read(data)
    else:
        assert read(data, struct.calcsize("B") * 7).server_name == wanted
