"""What names a stored response: the target URI, once (RFC 9111 §2, RFC 9110 §7.1).

Decides the bytes that a cache keys on: this prefix, then the path and query as wire brought them to canonical form. It
must not know about methods, variants or storage.
"""

from __future__ import annotations


def key_prefix(scheme: bytes, host: bytes) -> bytes:
    """The part of the key that one header block determines: `scheme://host`, host lower-case with its port."""
    return scheme + b"://" + host
