"""Why something is not on disk: each reason is a metric's label and has its sentence. Pure."""

from __future__ import annotations

from enum import StrEnum


class Dropped(StrEnum):
    """Why an object was not written."""

    QUEUE = "queue"
    FAILING = "failing"
    TOO_LARGE = "too-large"
    WORTHLESS = "worthless"
    CLOSED = "closed"
    OVERTAKEN = "overtaken"

    @property
    def sentence(self) -> str:
        """The reason in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Dropped.QUEUE: "more was waiting to be written than may wait",
    Dropped.FAILING: "the disk is full, or refuses writes",
    Dropped.TOO_LARGE: "it is larger than one object on disk may be",
    Dropped.WORTHLESS: "it is stale, and has no validator to check it with",
    Dropped.CLOSED: "the storage is being closed",
    Dropped.OVERTAKEN: "it was replaced or removed before it was written",
}


class State(StrEnum):
    """What the storage can do at the moment."""

    STARTING = "starting"
    READY = "ready"
    FULL = "full"
    FAILING = "failing"
    CLOSED = "closed"

    @property
    def sentence(self) -> str:
        """The state in words."""
        return _STATES[self]


_STATES = {
    State.STARTING: "it serves what it knows so far, and reads what else lies here",
    State.READY: "it reads and writes",
    State.FULL: "there is no room to write; it serves what lies here, and tries again later",
    State.FAILING: "writing fails; it serves what lies here, and tries again later",
    State.CLOSED: "it is closed",
}
