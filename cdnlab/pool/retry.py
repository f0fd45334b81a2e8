"""When a request may be sent a second time, and every reason why not. Pure.

Decides from what is known of one attempt (RFC 9110 §9.2.2, RFC 9112 §9.3.1). It must not know connections, nor when.

    the response's head has been forwarded       never
    nothing of it was handed to the kernel       always
    the method is not idempotent                 no: the backend may have acted
    its body lies whole in the replay buffer     yes, if the retry budget allows
    otherwise                                    no: the body cannot be had again
"""

from __future__ import annotations

from enum import StrEnum


class NotAgain(StrEnum):
    """Why a failed attempt is not followed by another, or a slow one not accompanied."""

    sentence: str
    for_good: bool
    """Whether no other pool may be asked, either."""

    def __new__(cls, name: str, sentence: str, for_good: bool = False) -> NotAgain:
        """A member whose value is its label and whose `sentence` is for people."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.sentence = sentence
        member.for_good = for_good
        return member

    NOBODY = "nobody", "nobody waits for it any more", True
    UNSAFE = "unsafe", "not sent again: the method is not idempotent and the backend may have acted", True
    BODY = "body", "not sent again: the body is larger than the replay buffer", True
    ATTEMPTS = "attempts", "not sent again: it was tried as often as it may be"
    BUDGET = "budget", "not sent again: the retry budget is used up"


def may_repeat(*, sent: bool, idempotent: bool, repeatable: bool) -> NotAgain | None:
    """Why a request must not be sent a second time to whomever, None if it may.

    `sent`: something of it was handed to the kernel. `repeatable`: its body, if it has one, can be had again.
    """
    if sent and not idempotent:
        return NotAgain.UNSAFE
    return None if repeatable else NotAgain.BODY
