"""A resource that changes, and a client that asks for it in every way: what no sequence of requests may bring about.

The origin keeps versions of one resource, each with a text, a tag and a field of its own. It answers conditions and
ranges, changes on unsafe requests and by itself, and fails now and then: in a word, cut short, or not at all. Whatever
comes back must be of one version, must be what its tag and its fields say, and may be old only where that is allowed.
"""

from __future__ import annotations

import gzip
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.edge.conformance.register import shows
from tests.edge.conformance.scripted import GONE, Answer, Asked, answer, unmodified, whole_or_part
from tests.edge.conformance.site import Page, Reply, Site

CONTROLS = (
    "max-age=3600",
    "max-age=3600",
    "max-age=3600, stale-if-error=600",
    "max-age=10, stale-while-revalidate=600",
    "max-age=10, stale-if-error=600",
    "max-age=10, must-revalidate",
    "max-age=3600, no-cache",
    "max-age=0",
    "no-store",
    'max-age=3600, private="x-other"',
)


class Resource:
    """What the origin holds, and how it is going to answer."""

    def __init__(self, seed: int, worth_coding: bool = False) -> None:
        self.worth_coding = worth_coding
        self.choose = random.Random(seed)
        self.name = f"{seed}"
        self.version = 1
        self.varies = self.choose.random() < 0.4
        self.weak = self.choose.random() < 0.25
        self.mood = ""

    def text(self, version: int, foo: str) -> bytes:
        unlike = random.Random(f"{self.name} {version} {foo}")
        text = unlike.randbytes(40 + version % 7)
        return text.hex().encode() * 40 if self.worth_coding else text

    def tag(self, version: int, foo: str) -> str:
        return f'{"W/" if self.weak else ""}"{self.name}-{version}-{foo}"'

    def says(self, asked: Asked) -> Answer:
        """The answer to a request that may be conditional, for a part, or unsafe."""
        if self.mood == "gone":
            return GONE
        if self.mood == "503":
            return answer(status=503, body=b"unavailable")
        if asked.method not in ("GET", "HEAD"):
            self.version += 1
            return answer(status=self.choose.choice([200, 204, 303]))
        foo = asked["foo"] if self.varies else ""
        tag = self.tag(self.version, foo)
        fields = [f"ETag: {tag}", f"X-Version: {self.version}", f"X-Other: {self.version}"]
        fields.append(f"Cache-Control: {self.choose.choice(CONTROLS)}")
        fields += ["Content-Type: text/html"] * self.worth_coding
        fields += ["Vary: Foo"] * self.varies + ["Age: 20"] * (self.choose.random() < 0.5)
        if tag.removeprefix("W/") in asked["if-none-match"]:
            return unmodified(*fields)
        whole = whole_or_part(self.text(self.version, foo), *fields)(asked)
        if self.weak and asked["if-range"]:
            whole = answer(*fields, body=self.text(self.version, foo))
        return replace(whole, cut=self.choose.randrange(30)) if self.mood == "cut" else whole


def request(resource: Resource, choose: random.Random) -> tuple[str, list[str]]:
    """A method and fields."""
    if choose.random() < 0.12:
        return choose.choice(["POST", "PUT", "DELETE", "FOO"]), []
    foo = choose.choice("ab") if resource.varies else ""
    fields = [f"Foo: {foo}"] if foo else []
    if resource.worth_coding and choose.random() < 0.6:
        fields.insert(
            0, f"Accept-Encoding: {choose.choice(['gzip', 'gzip, identity;q=0.5', 'gzip;q=0', 'identity'])}"
        )
    seen = resource.tag(max(1, resource.version - choose.randrange(3)), foo)
    for chance, lines in (
        (0.35, [f"Range: bytes={choose.choice(['0-9', '10-19', '5-14', '-8', '20-', '0-', '100-'])}"]),
        (0.15, [f"If-None-Match: {seen}"]),
        (0.1, [f"If-Range: {seen}"]),
        (
            0.15,
            [
                f"Cache-Control: {choose.choice(['no-cache', 'max-age=0', 'max-stale', 'no-store', 'only-if-cached'])}"
            ],
        ),
    ):
        if choose.random() < chance:
            fields += lines
    return ("HEAD" if choose.random() < 0.1 else "GET"), fields


def checked(resource: Resource, reply: Reply, method: str, fields: list[str]) -> int | None:
    """The version that a reply is of, None if it is of none. It has to be of one version throughout."""
    if reply.status not in (200, 206, 304) or "x-version" not in reply:
        return None
    version = int(reply["x-version"])
    foo = next((line[-1] for line in fields if line.startswith("Foo")), "") if resource.varies else ""
    text, tag = resource.text(version, foo), resource.tag(version, foo)
    weakened = f"W/{tag.removeprefix('W/')}"
    if "content-encoding" in reply:
        assert any("Encoding: gzip" in line and line[-3:] != "q=0" for line in fields), str(reply)
        assert reply["etag"] == weakened, str(reply)
        if method == "HEAD":
            return version
        assert gzip.decompress(reply.body) == text, f"{reply} is not of {version}"
        text = reply.body
    else:
        assert reply["etag"] in ((tag, weakened) if reply.status == 304 else (tag,)), str(reply)
    if method == "HEAD" or reply.status == 304:
        assert reply.body == b""
        if reply.status == 304:
            assert any(
                reply["etag"].removeprefix("W/") in line for line in fields if "If-None-Match" in line
            ), str(reply)
    elif reply.status == 206:
        spans = reply["content-range"]
        first, last = (int(number) for number in spans.removeprefix("bytes ").partition("/")[0].split("-"))
        assert spans == f"bytes {first}-{last}/{len(text)}", str(reply)
        assert reply.body == text[first : last + 1] or not reply.whole, f"{reply} is no part of {text!r}"
        assert text[first : last + 1].startswith(reply.body)
    else:
        assert reply.body == text or (not reply.whole and text.startswith(reply.body)), (
            f"{reply} is not {text!r}"
        )
    assert reply["x-other"] in ("", str(version)), str(reply)
    return version


@shows(
    "9111/3.3-1",
    "9111/3.3-2",
    "9111/3.4-1",
    "9111/4.1-1",
    "9111/4.3.4-1",
    "9111/4.3.4-3",
    "9111/4.4-1",
    "9110/15.3.7.3-1",
    "9111/5.2.1.4-1",
)
@pytest.mark.parametrize("worth_coding", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_no_sequence_of_requests_mixes_versions_or_revives_one(
    site: Site, seed: int, worth_coding: bool
) -> None:
    resource, page = Resource(seed, worth_coding), site.page()
    oldest = 1
    for step in range(60):
        resource.mood = resource.choose.choice([""] * 12 + ["gone", "503", "cut"])
        if resource.choose.random() < 0.1:
            resource.version += 1
        method, fields = request(resource, resource.choose)
        before = resource.version
        reply = page.ask(
            method, *fields, answer=resource.says, body=b"x" if method not in ("GET", "HEAD") else None
        )
        what = f"step {step}: {method} {fields}, mood {resource.mood!r}, version {before}: {reply}"
        version = checked(resource, reply, method, fields)
        if resource.version > before and reply.status < 400:
            oldest = resource.version
        if version is not None:
            assert oldest <= version <= resource.version, f"revived, {what}"
            if "Cache-Control: no-cache" in fields:
                assert version == resource.version, what
    settled(resource, page)


@shows("9111/4-7", "9111/4.4-1", "9111/3.3-1", "9111/3.4-1", "9111/4.1-1", "9111/4.3.4-1", "9110/15.3.7.3-1")
@pytest.mark.parametrize("seed", range(100, 102))
def test_no_clients_at_once_bring_it_about(site: Site, seed: int) -> None:
    resource, page = Resource(seed), site.page()
    finished = [1]

    def client(number: int) -> None:
        choose = random.Random(f"{seed} {number}")
        for step in range(40):
            resource.mood = choose.choice([""] * 12 + ["gone", "503", "cut"])
            method, fields = request(resource, choose)
            oldest, newest = max(finished), resource.version
            unsafe = method not in ("GET", "HEAD")
            reply = site.exchange(method, page.target, page.host, tuple(fields), b"x" if unsafe else None)
            what = f"client {number}, step {step}: {method} {fields}, version {newest}: {reply}"
            if unsafe and reply.status < 400:
                finished.append(newest + 1)
            version = checked(resource, reply, method, fields)
            if version is not None:
                assert oldest <= version <= resource.version, f"revived, {what}"

    site.origin.answers[page.target] = resource.says
    with ThreadPoolExecutor(6) as pool:
        for outcome in [pool.submit(client, number) for number in range(6)]:
            outcome.result()
    settled(resource, page)


def settled(resource: Resource, page: Page) -> None:
    """In the end a client that insists gets what the origin has."""
    resource.mood = ""
    reply = page.get(
        "Cache-Control: no-cache", *(["Foo: a"] if resource.varies else []), answer=resource.says
    )
    assert reply.status == 200
    assert int(reply["x-version"]) == resource.version
