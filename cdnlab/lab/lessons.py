"""The lessons: their titles and the commands that each goes through.

What is taught stands in docs/lessons.md and docs/lessons.ko.md; a test holds both to this table, and runs it.
"""

from __future__ import annotations

from typing import NamedTuple

PAGES = ("docs/lessons.md", "docs/lessons.ko.md")


TCP = (
    "python3 -c \"import socket; s = socket.create_connection(('127.0.0.1', 8081), 5); "
    "s.sendall(b'hello\\n'); print(s.recv(200).decode())\""
)
UDP = (
    'python3 -c "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(5); '
    "s.sendto(b'hello', ('127.0.0.1', 8082)); print(s.recv(200).decode())\""
)


class Lesson(NamedTuple):
    """One lesson: its heading in English and in Korean, and what is typed in it, in order."""

    title: str
    korean: str
    commands: tuple[str, ...]


LESSONS: tuple[Lesson, ...] = (
    Lesson(
        "Load balancer",
        "로드 밸런서",
        (
            "cdnlab get / --from icn",
            "cdnlab kill edge-icn",
            "cdnlab get / --from icn",
            "cdnlab start edge-icn",
            "cdnlab drain edge-icn",
            "cdnlab get / --from icn",
            "cdnlab enable edge-icn",
            "cdnlab pool algorithm origins power_of_two",
            "cdnlab pool algorithm origins round_robin",
            "cdnlab kill lb-a",
            "cdnlab get / --from icn",
            "cdnlab start lb-a",
        ),
    ),
    Lesson("L4 device", "L4 장비", (TCP, "cdnlab status --flows", "cdnlab demo l4")),
    Lesson(
        "Sticky session and session clustering",
        "세션 고정과 세션 클러스터링",
        ("cdnlab demo sessions", "cdnlab get /cart"),
    ),
    Lesson(
        "CDN",
        "CDN",
        (
            "cdnlab get /shop --from gru",
            "cdnlab get /shop --from gru",
            "cdnlab explain /shop --from gru",
            "cdnlab purge /shop",
            "cdnlab get /shop --from gru",
        ),
    ),
    Lesson("TCP and UDP", "TCP와 UDP", ("cdnlab get / --from gru --direct", TCP, UDP)),
    Lesson(
        "HTTP",
        "HTTP",
        (
            'cdnlab get "/behave?status=404&cc=max-age=60"',
            "cdnlab get /echo -X POST --body",
            'cdnlab get /places -H "Accept-Language: ko"',
            "cdnlab audit /cart /shop",
        ),
    ),
)
