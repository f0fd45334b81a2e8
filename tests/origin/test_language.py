from __future__ import annotations

import pytest

from origin.language import choose


@pytest.mark.parametrize(
    "field, language",
    [
        ("", "en"),
        ("ko", "ko"),
        ("KO-kr", "ko"),
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("fr, ko;q=0.5", "ko"),
        ("fr", "en"),
        ("*", "en"),
        ("*;q=0.1, ko;q=0.2", "ko"),
        ("ko;q=0", "en"),
        ("ko;q=0, *;q=0", "en"),
        ("en;q=0.5, ko;q=0.5", "en"),
        ("ko;q=0.5, en;q=0.5", "ko"),
        ("ko;q=2", "en"),
        ("ko;q=nonsense", "en"),
        ("korean", "en"),
        (",,ko,,", "ko"),
        ("x," * 100 + "ko", "en"),
    ],
)
def test_the_preferred_language(field: str, language: str) -> None:
    assert choose(field) == language
