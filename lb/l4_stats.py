"""What the L4 proxy for TCP counts: why clients were refused, and the table of its metrics."""

from __future__ import annotations

from enum import StrEnum

from cdnlab.node.metrics import MetricSpec


class Refused(StrEnum):
    """Why a client's connection was closed before it became a flow; the label of the metric."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Refused:
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    TOO_MANY = "flows", "the listener has as many flows as it may have"
    TOO_MANY_FROM_CLIENT = "flows_per_client", "this client has as many flows as it may have"
    TOO_FAST = "connection_rate", "this client opens connections faster than it may"
    STRANGER = "stranger", "the listener requires a PROXY header, and only trusted peers may send one"
    PROXY_HEADER = "proxy_header", "a PROXY header is required, and what came is none"
    PROXY_LATE = "proxy_late", "the PROXY header did not arrive in time"
    CLIENT_HELLO = "client_hello", "a TLS ClientHello is required, and what came is none"
    HELLO_LATE = "hello_late", "the TLS ClientHello did not arrive in time"
    CLIENT_LEFT = "client_left", "the client left before there was a flow"
    NO_BACKEND = "no_backend", "the pool has no usable backend with room"
    UNREACHABLE = "unreachable", "no connection to a backend could be made"
    NOT_HOLDER = "not_holder", "this balancer does not hold the address"
    SYSTEM = "system", "the system had no descriptor or memory left"


FLOWS = MetricSpec(
    "cdnlab_lb_l4_flows", "gauge", ("listener",), "TCP flows now, those that are being opened included."
)
ENDED = MetricSpec(
    "cdnlab_lb_l4_flows_total", "counter", ("listener", "end"), "TCP flows that ended, and why."
)
REFUSED = MetricSpec(
    "cdnlab_lb_l4_refusals_total",
    "counter",
    ("listener", "reason"),
    "TCP connections that never became a flow, and why.",
)
BYTES = MetricSpec(
    "cdnlab_lb_l4_bytes_total", "counter", ("listener", "direction"),
    "Bytes relayed over TCP, up (to backends) and down (to clients).",
)  # fmt: skip
SPLICED = MetricSpec(
    "cdnlab_lb_l4_spliced_bytes_total",
    "counter",
    ("listener",),
    "Those of them that were never copied into this process.",
)
RETRIES = MetricSpec(
    "cdnlab_lb_l4_connect_retries_total",
    "counter",
    ("listener",),
    "Candidates that could not be connected to, so that the next was tried.",
)
TABLE = (FLOWS, ENDED, REFUSED, BYTES, SPLICED, RETRIES)
