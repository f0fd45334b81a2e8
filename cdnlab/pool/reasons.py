"""Why a backend was not chosen: every "no" of a pool has a name and one sentence.

The name is the metric label, the log field and what `status` prints. This file knows no backend and no
request.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a backend was passed over, or why it is not usable."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Reason:
        """Make a member whose value is its label and whose `sentence` is for people."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        return member

    USABLE = "usable", "it may be sent to"
    UNKNOWN = "unknown", "not checked yet, so it may be sent to"
    DOWN = "down", "its health check fails"
    EJECTED = "ejected", "requests to it failed, so it is left out for a while"
    NO_WEIGHT = "no_weight", "its weight is 0, so it takes nothing new"
    DRAINING = "draining", "it is being drained and takes nothing new"
    TRIED = "tried", "it was already tried for this request"
    CONNECT_FAILED = "connect_failed", "no connection to it could be made"
    RESPONSE_FAILED = "response_failed", "it closed, or answered with something that is not HTTP"
    TIMED_OUT = "timed_out", "it did not answer in time"
    BAD_STATUS = "bad_status", "it answered with a status that is retried elsewhere"
    FARTHER = "farther", "a nearer one was usable"
    BUSIER = "busier", "another one had fewer exchanges in flight for its weight"
    NOT_OWNER = "not_owner", "the key belongs to another one"
    FULL = "full", "it had its share of the requests in flight already"
    TURN = "turn", "it was another one's turn"
    CHANCE = "chance", "another one was drawn"
    COSTLIER = "costlier", "it was not drawn, or of the two that were it was the slower or busier one"
    NOT_KEPT = "not_kept", "the client is kept with another one"
    STANDBY = "standby", "it stands by for those with a lower priority number"
    NO_ROOM = "no_room", "it has as many requests or connections as it may have (circuit breaker)"
    QUEUE_FULL = "queue_full", "no backend has room, and as many requests wait as may"
    QUEUE_TIMEOUT = "queue_timeout", "no backend had room in the time that a request may wait"
    NO_BACKEND = "no_backend", "the pool has no usable backend left"
