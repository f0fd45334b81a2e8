"""Why a datagram went no further, and what is counted of UDP: the words and the table of metrics."""

from __future__ import annotations

from enum import StrEnum

from cdnlab.node.metrics import MetricSpec


class Drop(StrEnum):
    """Why the balancer dropped a datagram; the label of its metric, and what `status` prints."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Drop:
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    NOT_HOLDER = "not_holder", "the balancer does not hold the VIP any more"
    FLOWS = "flows", "as many flows as may be (max_flows, flows.max)"
    CLIENT_FLOWS = "client_flows", "its client has as many flows as it may have (max_flows_per_client)"
    NO_BACKEND = "no_backend", "no backend is usable, or none could be reached"
    NO_SOCKET = "no_socket", "the machine has no port or no descriptor left for another flow"
    QUEUE = "queue", "too many wait: for a name to be resolved, or on their way over an emulated distance"
    BACKEND_BUSY = "backend_busy", "the kernel takes no more towards the backend at the moment"
    CLIENT_BUSY = "client_busy", "the kernel takes no more towards the client at the moment"
    UNDELIVERABLE = (
        "undeliverable",
        "the kernel refused it: too large, or no way there; or its source has no port",
    )
    LOOP = (
        "loop",
        "its source is the VIP itself or a backend, so the answer to the answer would go on for ever",
    )
    STRANGER = "stranger", "it came to a socket before its flow had asked anything: not from its backend"


DATAGRAMS = MetricSpec(
    "cdnlab_lb_udp_datagrams_total",
    "counter",
    ("listener", "direction"),
    "Datagrams relayed: up to backends, down to clients.",
)
BYTES = MetricSpec("cdnlab_lb_udp_bytes_total", "counter", ("listener", "direction"), "Their bytes.")
DROPPED = MetricSpec(
    "cdnlab_lb_udp_dropped_total",
    "counter",
    ("listener", "reason"),
    "Datagrams that went no further, by why.",
)
MOVED = MetricSpec(
    "cdnlab_lb_udp_moved_total",
    "counter",
    ("listener",),
    "Flows that went on to another backend: theirs refused, or was down.",
)
FLOWS = MetricSpec("cdnlab_lb_udp_flows", "gauge", ("listener",), "Flows relayed now.")
QUEUED = MetricSpec(
    "cdnlab_lb_udp_queued_bytes", "gauge", ("listener",), "Bytes of datagrams that wait in the balancer."
)
UDP_METRICS = (DATAGRAMS, BYTES, DROPPED, MOVED, FLOWS, QUEUED)


class Counts:
    """The counters of one service: plain integers."""

    __slots__ = ("down", "down_bytes", "dropped", "ended", "moved", "up", "up_bytes")

    def __init__(self) -> None:
        self.up = self.up_bytes = self.down = self.down_bytes = self.moved = 0
        self.dropped: dict[Drop, int] = dict.fromkeys(Drop, 0)

    def drop(self, why: Drop) -> None:
        """Count a datagram that goes no further."""
        self.dropped[why] += 1
