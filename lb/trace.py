"""Request ids and trace context: passed on where they are good, begun where they are not.

X-Request-Id of a client is kept if it is short and printable, so that a person can follow their own id. `traceparent`
is W3C Trace Context, Level 2: a valid one travels unchanged (we are no participant that records spans), an invalid or
absent one is begun with the sampled flag unset, since nobody here decided to record it.
"""

from __future__ import annotations

import os
import random
import re

_ID = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch
#: version "00": exactly four parts; a higher version may have more (§3.2.2); "ff" is forbidden, so are zero ids.
_PARENT = re.compile(
    rb"(?:00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    rb"|(?!00|ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?)"
).fullmatch

_bits = random.SystemRandom().getrandbits


class Ids:
    """Makes ids: a random part per process, then a count, so that none repeats and none is guessed far ahead."""

    __slots__ = ("_bits", "_count", "_prefix", "_salt", "_trace")

    def __init__(self) -> None:
        self._prefix = os.urandom(5).hex().encode()
        self._trace = os.urandom(8).hex().encode()
        self._salt = _bits(63) | 1 << 63
        self._count = _bits(24)
        self._bits = random.Random(_bits(128)).getrandbits

    def request_id(self) -> bytes:
        """A new request id: 18 characters or more."""
        self._count += 1
        return b"%b%08x" % (self._prefix, self._count)

    def traceparent(self) -> bytes:
        """A new traceparent, for the request whose id was made last. The right half of the trace id is random, since
        samplers decide by it (§3.2.2.3); it need not be secret, so no system call is spent."""
        return b"00-%b%016x-%016x-00" % (self._trace, self._bits(64), self._count ^ self._salt)


def good_request_id(value: bytes) -> bool:
    """Whether a client's id may travel, and be printed."""
    return _ID(value) is not None


def good_traceparent(value: bytes) -> bool:
    """Whether it follows W3C Trace Context §3.2."""
    return _PARENT(value) is not None
