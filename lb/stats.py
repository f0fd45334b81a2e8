"""What the balancer counts: the outcomes of requests and the table of its metrics."""

from __future__ import annotations

from enum import StrEnum

from cdnlab.node.metrics import MetricSpec


class Outcome(StrEnum):
    """How a request through the balancer ended; the label of its metrics and the `result` of its log."""

    sentence: str
    position: int
    """Its place among the outcomes; an attribute, since the hash of an enumeration's member is a Python call."""

    def __new__(cls, name: str, sentence: str) -> Outcome:
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        member.position = len(cls.__members__)
        return member

    OK = "ok", "the backend answered with a status below 500"
    SERVER_ERROR = "server_error", "the backend answered with a status of 500 or above"
    NO_BACKEND = "no_backend", "no backend was usable (503)"
    UNREACHABLE = "unreachable", "the backends could not be reached or broke off (502)"
    TIMEOUT = "timeout", "a backend did not answer in time (504)"
    CUT = "cut", "the response broke off after its head had been forwarded"
    CLIENT_GONE = "client_gone", "the client left before its response was complete"
    REFUSED = "refused", "the balancer itself refused the request (4xx, 508)"
    TUNNEL = "tunnel", "the connection was upgraded and carried bytes both ways"


ERRORS = (Outcome.SERVER_ERROR, Outcome.NO_BACKEND, Outcome.UNREACHABLE, Outcome.TIMEOUT, Outcome.CUT)

OUTCOMES = tuple(Outcome)

DURATION = MetricSpec(
    "cdnlab_lb_request_duration_seconds",
    "histogram",
    ("outcome", "client_place"),
    "From the end of a request's head to the end of its response.",
)
REQUESTS = MetricSpec(
    "cdnlab_lb_requests_total",
    "counter",
    ("outcome", "client_place"),
    "Requests answered, by how they ended.",
)
BYTES = MetricSpec(
    "cdnlab_lb_response_bytes_total", "counter", ("outcome", "client_place"), "Body bytes sent to clients."
)
HOLDER = MetricSpec("cdnlab_lb_vip_active", "gauge", ("vip",), "1 while this balancer holds the VIP.")
STATE = MetricSpec(
    "cdnlab_lb_failover_state",
    "gauge",
    ("vip", "state"),
    "1 for the failover state that this balancer is in, 0 for the others.",
)
TRANSITIONS = MetricSpec(
    "cdnlab_lb_failover_transitions_total",
    "counter",
    ("vip", "state"),
    "Changes of the failover state, by the new one.",
)
TABLE = (DURATION, REQUESTS, BYTES, HOLDER, STATE, TRANSITIONS)
