"""Every reason that this tier can give, in one table: what docs/reasons.md is made from.

    python -m edge.reasons > docs/reasons.md

Decides the words around the reasons; the reasons and their sentences are the enumerations' own. A test walks the table
and shows, for each member, a request that brings it about. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import NamedTuple, Protocol

from cdnlab.pool.reasons import Reason
from edge.coding.codable import NotCoded
from edge.cookies import CookieWarning
from edge.decision import NotReused, Stale
from edge.disk.reasons import Dropped
from edge.results import Result
from edge.storable import NotStored


class Reasons(Protocol):
    """A class of members that are texts and have a sentence."""

    def __iter__(self) -> Iterator[Member]: ...


class Member(Protocol):
    """One reason."""

    value: str

    @property
    def sentence(self) -> str: ...


class Kind(NamedTuple):
    """One enumeration, and where its members show."""

    title: str
    members: Reasons
    told: str
    """What they answer, and where they are seen."""


TABLE = (
    Kind(
        "Why what is stored was not used",
        NotReused,
        "The origin was asked. Seen as `detail` in `Cache-Status` (but for `nothing-stored`, `no-variant` and "
        "`expired`, which `fwd=uri-miss`, `fwd=vary-miss` and `fwd=stale` say already), as `reason` of "
        "`cdnlab_edge_not_reused_total`, as a sentence in `cdnlab get`, as `why` in `cdnlab log -v`.",
    ),
    Kind(
        "Why a stale response was sent",
        Stale,
        "Seen as `detail` in `Cache-Status`, as `reason` of `cdnlab_edge_stale_total`, as a sentence in `cdnlab get`, "
        "as `why` in `cdnlab log -v`.",
    ),
    Kind(
        "Why a response was not stored",
        NotStored,
        "Seen as `detail` in `Cache-Status`, behind a slash where there is a reason of the first table too; as "
        "`reason` of `cdnlab_edge_not_stored_total`, as a sentence in `cdnlab get`, as `why` in `cdnlab log -v`. "
        "What becomes known only when the head has been sent (`cut-short`, and `purged`, `too-large` or `no-room` of a "
        "body whose length was not announced) is seen in the metric and the log.",
    ),
    Kind(
        "What is remarked about a stored response",
        CookieWarning,
        "Nothing is refused. Seen as `reason` of `cdnlab_edge_warnings_total`, as a sentence in `cdnlab get`, as `why` "
        "in `cdnlab log -v` of the request that stored it.",
    ),
    Kind(
        "Why there is no compressed form",
        NotCoded,
        "The stored response is sent as the origin sent it. Seen as `reason` of `cdnlab_edge_not_coded_total`.",
    ),
    Kind(
        "Why an object did not come to disk",
        Dropped,
        "Seen as `reason` of `cdnlab_edge_disk_dropped_total`.",
    ),
    Kind(
        "Why a backend was passed over, or failed",
        Reason,
        "Balancers and edges choose by the same rules. Seen as a sentence in `cdnlab get`; of a request that failed, "
        "as `why` in `cdnlab log -v` and as a sentence in the answer.",
    ),
    Kind(
        "How a request was answered",
        Result,
        "One word for each request of an edge: the `result` of `cdnlab_edge_requests_total` and of `cdnlab log`.",
    ),
)

HEAD = """# Reasons

Whatever an edge does not do has a reason, and every reason a name and a sentence. The name is the same everywhere: in
`Cache-Status`, in the metrics, in the log. Ask `cdnlab get` for a request that happens, `cdnlab explain` for one that
might. This page is made from the code: `python -m edge.reasons > docs/reasons.md`.
"""


WIDTH = 120


def document() -> str:
    """The page."""
    parts = [HEAD]
    for kind in TABLE:
        rows = "\n".join(f"| `{member.value}` | {member.sentence} |" for member in kind.members)
        told = fill(kind.told, WIDTH, break_long_words=False, break_on_hyphens=False)
        parts.append(f"## {kind.title}\n\n{told}\n\n| reason | |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(document(), end="")
