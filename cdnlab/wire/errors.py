"""Why a message is refused: every reason has a name, a status and a sentence.

Decides nothing about connections: whoever reads the message closes it (RFC 9112 §9.6: after a framing error
nothing that follows on the connection can be trusted). Must not know who sent a message, nor what answers it.
"""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """One reason to refuse a message: `status` answers a request, `sentence` is for people."""

    status: int
    sentence: str

    def __new__(cls, value: str, status: int, sentence: str) -> Why:
        member = str.__new__(cls, value)
        member._value_ = value
        member.status = status
        member.sentence = sentence
        return member

    # request line and target
    REQUEST_LINE = "request_line", 400, "The request line is not 'METHOD SP target SP HTTP/1.x'."
    METHOD = "method", 400, "The method is not a token."
    METHOD_LONG = "method_long", 501, "The method is longer than any that is known."
    VERSION = "version", 505, "Only HTTP/1.0 and HTTP/1.1 are spoken here."
    TARGET_LONG = "target_long", 414, "The request target is longer than this listener accepts."
    TARGET_BYTES = "target_bytes", 400, "The request target holds a byte that must be percent-encoded."
    TARGET_ESCAPE = (
        "target_escape",
        400,
        "The request target holds a '%' without two hexadecimal digits, or %00 in its path.",
    )
    TARGET_FORM = "target_form", 400, "The request target is in none of the four forms that fit its method."
    # field lines
    HEAD_LARGE = "head_large", 431, "The header fields are larger than this listener accepts."
    HEAD_MANY = "head_many", 431, "There are more header fields than this listener accepts."
    FIELD_LINE = "field_line", 400, "A field line has no colon."
    FIELD_NAME = "field_name", 400, "A field name is empty or not a token, or has a space before its colon."
    FIELD_FOLD = "field_fold", 400, "A field line begins with white space (obsolete line folding)."
    FIELD_BYTES = (
        "field_bytes",
        400,
        "A field line holds a control byte, or a CR or LF that is not part of a line end.",
    )
    # what the fields say
    HOST_MISSING = "host_missing", 400, "An HTTP/1.1 request must have a Host field."
    HOST_MANY = "host_many", 400, "A request must not have more than one Host field."
    HOST_INVALID = "host_invalid", 400, "The host is not a name or address with an optional port."
    OPTIONS_MANY = "options_many", 400, "The Connection field has more than 64 options."
    EXPECTATION = "expectation", 417, "The only expectation that can be met is 100-continue."
    LENGTH_MANY = "length_many", 400, "There is more than one Content-Length."
    LENGTH_INVALID = "length_invalid", 400, "The Content-Length is not a plain decimal number below 10^18."
    LENGTH_AND_CODING = "length_and_coding", 400, "Content-Length and Transfer-Encoding exclude each other."
    CODING_VERSION = "coding_version", 400, "HTTP/1.0 has no Transfer-Encoding."
    CODING_INVALID = "coding_invalid", 400, "The Transfer-Encoding is not exactly 'chunked', once."
    CODING_UNKNOWN = "coding_unknown", 501, "No transfer coding but chunked is implemented."
    # chunks
    CHUNK_SIZE = (
        "chunk_size",
        400,
        "A chunk's size is not a hexadecimal number below 2^60, or its line does not end in CRLF.",
    )
    CHUNK_EXTENSION = (
        "chunk_extension",
        400,
        "A chunk's extension is malformed, or the extensions are too large.",
    )
    CHUNK_END = "chunk_end", 400, "A chunk's data is not followed by CRLF."
    TRAILERS = "trailers", 400, "The trailer section is too large or malformed."
    # responses
    STATUS_LINE = "status_line", 502, "The status line is not 'HTTP/1.x SP three digits SP reason'."
    # PROXY protocol
    PROXY_HEADER = "proxy_header", 400, "The connection does not begin with a well-formed PROXY header."
    PROXY_CHECKSUM = "proxy_checksum", 400, "The PROXY header's checksum does not match."
    # TLS, passed through
    CLIENT_HELLO = "client_hello", 400, "The connection does not begin with a well-formed TLS ClientHello."


class Malformed(Exception):
    """A message that is refused. `status` answers a request (502 where the message was a response), `code` is
    a Why, `text` its sentence with what was seen, fit to be shown to the sender (no internals, at most a
    short excerpt)."""

    __slots__ = ("code", "status", "text")

    def __init__(self, code: Why, seen: bytes | None = None, *, status: int | None = None) -> None:
        self.status: int = code.status if status is None else status
        self.code: Why = code
        self.text: str = code.sentence if seen is None else f"{code.sentence} Seen: {excerpt(seen)}"
        super().__init__(self.status, code, self.text)

    def __str__(self) -> str:
        return self.text


def excerpt(seen: bytes, most: int = 60) -> str:
    """A short printable excerpt of `seen`; whatever is not printable ASCII is shown as an escape."""
    shown = ascii(seen[:most].decode("latin-1"))
    return shown + "…" if len(seen) > most else shown
