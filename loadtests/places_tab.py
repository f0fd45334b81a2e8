"""Two tabs in Locust's web UI: the table by place, and whether the generator itself was the limit.

Decides how rows look there. Must not know how they are counted, nor users.

Locust's page shows tables of ours where its template is told of them (`extended_tabs`, `extended_tables`) and the
answer to its own poll of /stats/requests, each two seconds, bears the rows (`extended_stats`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from flask import Response, request

PLACES, GENERATOR = "places", "generator"
_COLUMNS = {
    PLACES: (
        ("name", "Place"), ("users", "Users"), ("requests", "# Requests"), ("failures", "# Fails"),
        ("hits", "# Hits"), ("hit_ratio", "Hits (%)"), ("megabytes", "MB"), ("hit_byte_ratio", "Hits by byte (%)"),
        ("p50", "Median (ms)"), ("p95", "95%ile (ms)"), ("p99", "99%ile (ms)"),
    ),
    GENERATOR: (
        ("name", "Process"), ("cpu", "CPU now (%)"), ("worst_cpu", "CPU at worst (%)"), ("late", "Loop late now (ms)"),
        ("worst_late", "Loop late at worst (ms)"), ("verdict", "Verdict"),
    ),
}  # fmt: skip
_TITLES = {PLACES: "Places", GENERATOR: "Generator"}

Rows = Callable[[], Sequence[dict[str, Any]]]


def add(web_ui: Any, places: Rows, generator: Rows) -> None:
    """Show both tables; `places` and `generator` give the rows by column name whenever the page asks."""
    web_ui.template_args["extended_tabs"] = [{"title": title, "key": key} for key, title in _TITLES.items()]
    web_ui.template_args["extended_tables"] = [
        {"key": key, "structure": [{"key": name, "title": title} for name, title in columns]}
        for key, columns in _COLUMNS.items()
    ]

    @web_ui.app.after_request  # type: ignore[untyped-decorator]
    def with_rows(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            rows = [{"key": PLACES, "data": places()}, {"key": GENERATOR, "data": generator()}]
            response.set_data(json.dumps({**(response.json or {}), "extended_stats": rows}))
        return response
