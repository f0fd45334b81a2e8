"""Copies of some requests for a second pool, whose answers nobody gets (traffic mirroring, shadowing).

Decides which requests are copied and how many copies may be under way. It must not know how a head is made, nor what
became of the request itself, on which a copy has no bearing: it is sent after it, on connections of its own, and
nothing ever waits for it.

A copy is what the request was, but for

    Cdnlab-Mirrored: <the balancer's name>    so that the second pool can leave out what must happen once
    Expect                                    is left out: there is nobody who would wait for 100

Its Host stays. Envoy appends `-shadow` to it, which shows in any access log, but a server that has virtual hosts does
not know that name and answers with something else, and then the copy tests nothing. X-Request-Id and the trace stay,
too, so that the two can be found together. A client cannot send the field itself: ours are dropped from strangers.

A body is copied while it passes by, up to the replay buffer; a longer one is not mirrored. The copy starts when its
body is complete. Its answer is read and thrown away, so that the connection can be used again, up to `MOST_ANSWER`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from cdnlab.forward.messages import OutRequest

if TYPE_CHECKING:
    from cdnlab.forward.exchange import Forward
    from cdnlab.forward.forwarder import Forwarder
    from cdnlab.forward.messages import Failure
    from cdnlab.wire.fields import Field
    from cdnlab.wire.response import ResponseBlock

MOST = 256
"""Copies under way for one route. If the second pool is slow, requests beyond are not copied."""

OLD = 30.0
"""Seconds after which a copy gives way to a new one where there are as many as may be: an answer without an end would
hold its place for ever."""

MOST_ANSWER = 1 << 20
"""Bytes of an answer that are read for the connection's sake; then it is closed."""


class Copied(StrEnum):
    """What became of a request of a mirrored route whose turn it was."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Copied:
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    ANSWERED = "answered", "the second pool answered"
    FAILED = "failed", "the second pool could not be reached, or broke off"
    CUT = "cut", "its answer was too long, or it gave way to a new copy"
    FULL = "full", "not copied: as many copies are under way as may be"
    TOO_LARGE = "too_large", "not copied: its body is larger than the replay buffer"
    INCOMPLETE = "incomplete", "not copied: the client did not send its whole body"
    UPGRADE = "upgrade", "not copied: it asks for another protocol"


class Mirror:
    """One route's copies."""

    __slots__ = ("counts", "credit", "flying", "pool", "share")

    def __init__(self, pool: str, share: float) -> None:
        """`pool` gets copies of the share of requests, above 0 and at most 1."""
        self.pool = pool
        self.share = share
        self.credit = 1.0 - share / 2
        self.counts: dict[Copied, int] = dict.fromkeys(Copied, 0)
        self.flying: dict[Copy, None] = {}
        """Copies under way, the oldest first."""

    def take(self) -> bool:
        """Whether it is this request's turn to be copied: shares are spread as evenly as they can be."""
        self.credit += self.share
        if self.credit < 1.0:
            return False
        self.credit -= 1.0
        return True

    def skip(self, why: Copied) -> None:
        """Count one that is not copied."""
        self.counts[why] += 1

    def room(self, now: float) -> bool:
        """Whether one more copy may fly; one that has flown for too long gives way."""
        if len(self.flying) < MOST:
            return True
        oldest = next(iter(self.flying))
        if now - oldest.started < OLD:
            self.counts[Copied.FULL] += 1
            return False
        oldest.stop()
        return True

    def stop(self) -> None:
        """End all copies."""
        for copy in list(self.flying):
            copy.stop()


class Copy:
    """One copy: it takes the request's body as that passes by, and the answer as nobody."""

    __slots__ = (
        "_chunked", "_forward", "_forwarder", "_head", "_idempotent", "_key", "_limit", "_method", "_mirror",
        "_over", "_pieces", "_place", "_read", "_size", "started",
    )  # fmt: skip

    def __init__(
        self,
        mirror: Mirror,
        forwarder: Forwarder,
        key: bytes,
        head: bytes,
        method: bytes,
        place: str,
        idempotent: bool,
        body: int,
        started: float,
    ) -> None:
        """`key` is what the second pool chooses by, if it is keyed. `head` is complete, blank line included; `body`: 0
        none, n bytes, -1 chunked."""
        self._mirror = mirror
        self._key = key
        self._forwarder = forwarder
        self._head = head
        self._method = method
        self._place = place
        self._idempotent = idempotent
        self._chunked = body < 0
        self._limit = forwarder.replay_bytes
        self._pieces: list[bytes] = []
        self._size = 0
        self._read = 0
        self._over = False
        self._forward: Forward | None = None
        self.started = started

    def send(self) -> None:
        """Everything is there: send it, and forget about it."""
        mirror = self._mirror
        if self._over or not mirror.room(self.started):
            return
        mirror.flying[self] = None
        body, self._pieces = b"".join(self._pieces), []
        if self._chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        # to the forwarder the body is part of the head: there is nothing to wait for or to pause
        request = OutRequest(self._method, self._head + body, self._place, self._idempotent)
        forward = self._forwarder.start(request, self, key=self._key)
        if not self._over:
            self._forward = forward

    def stop(self) -> None:
        """Give it up."""
        forward = self._forward
        self._end(Copied.CUT)
        if forward is not None:
            forward.cancel("the copy is not wanted any more")

    def _end(self, how: Copied) -> None:
        if not self._over:
            self._over = True
            self._forward = None
            self._mirror.flying.pop(self, None)
            self._mirror.counts[how] += 1

    # -- the request's body, beside its way to the first pool -----------------------------------------------------

    def body_data(self, data: bytes) -> None:
        """Bytes of it."""
        if self._over:
            return
        self._size += len(data)
        if self._size > self._limit:
            self._pieces = []
            self._end(Copied.TOO_LARGE)
        else:
            self._pieces.append(data)

    def body_end(self, trailers: tuple[Field, ...]) -> None:
        """It is complete; trailers are not copied."""
        self.send()

    def body_failed(self, reason: str) -> None:
        """The client will not send the rest."""
        self._end(Copied.INCOMPLETE)

    # -- the answer -----------------------------------------------------------------------------------------------

    def forward_interim(self, raw: bytes) -> None:
        """Nobody waits for it."""

    def forward_head(
        self, block: ResponseBlock, volatile: tuple[Field, ...], length: int, whole: bytes | None
    ) -> None:
        """Whatever it says."""
        if whole is not None:
            self._end(Copied.ANSWERED)
        elif length > MOST_ANSWER:
            self.stop()

    def forward_data(self, data: bytes) -> None:
        """Thrown away."""
        self._read += len(data)
        if self._read > MOST_ANSWER:
            self.stop()

    def forward_end(self, trailers: tuple[Field, ...]) -> None:
        """The connection is free again."""
        self._end(Copied.ANSWERED)

    def forward_failed(self, failure: Failure) -> None:
        """No concern of anybody's but the counts'."""
        self._end(Copied.FAILED)

    def forward_upgraded(self, block: ResponseBlock, volatile: tuple[Field, ...], forward: Forward) -> None:
        """It asked for no upgrade."""
        self.stop()
