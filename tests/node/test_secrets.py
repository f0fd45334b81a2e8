"""Cookie keys: two at a time, the newer one signs once every node can have read it, and rotation drops the third."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cdnlab.node.secrets import STAGED, SecretsError, age_order, cookie_keys, load, make, rotate

NOW = 1_000_000.0


def key(directory: Path, kid: str, since: float = 0.0) -> None:
    path = directory / f"cookie_key.{kid}"
    path.write_text("ab" * 32 + "\n")
    os.utime(path, (since, since))


def test_the_first_key_signs_at_once(tmp_path: Path) -> None:
    made = make(tmp_path)
    keys, signs = cookie_keys(tmp_path, os.stat(tmp_path / "cookie_key.1").st_mtime)
    assert (keys, signs) == (made.cookie_keys, "1")


def test_a_new_one_is_accepted_at_once_and_signs_when_everybody_has_it(tmp_path: Path) -> None:
    key(tmp_path, "1")
    key(tmp_path, "2", NOW)
    keys, signs = cookie_keys(tmp_path, NOW + STAGED - 0.1)
    assert (sorted(keys), signs) == (["1", "2"], "1")
    assert cookie_keys(tmp_path, NOW + STAGED)[1] == "2"


def test_of_three_the_oldest_is_not_accepted_any_more(tmp_path: Path) -> None:
    for kid in ("9", "10", "11"):
        key(tmp_path, kid)
    keys, signs = cookie_keys(tmp_path, NOW)
    assert (sorted(keys), signs) == (["10", "11"], "11")
    assert list(load_all(tmp_path)) == ["10", "11"]


def load_all(directory: Path) -> dict[str, bytes]:
    make(directory)
    return load(directory).cookie_keys


def test_rotation(tmp_path: Path) -> None:
    make(tmp_path)
    assert rotate(tmp_path, NOW * 1e6) == ("2", ())
    with pytest.raises(SecretsError, match="cookie key 2 was only just made; try again in 5 s"):
        rotate(tmp_path, 0.0)
    os.utime(tmp_path / "cookie_key.2", (0, 0))
    assert rotate(tmp_path, NOW * 1e6) == ("3", ("1",))
    assert sorted(each.name for each in tmp_path.glob("cookie_key.*")) == ["cookie_key.2", "cookie_key.3"]
    assert stat.S_IMODE((tmp_path / "cookie_key.3").stat().st_mode) == 0o600
    assert sorted(load_all(tmp_path)) == ["2", "3"], "a key that was rotated out stays out"


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="there is no cookie key"):
        cookie_keys(tmp_path, NOW)
    (tmp_path / "cookie_key.1").write_text("zz")
    with pytest.raises(SecretsError, match=r"cookie_key\.1 is not hexadecimal"):
        cookie_keys(tmp_path, NOW)
    (tmp_path / "cookie_key.1").write_text("ab")
    with pytest.raises(SecretsError, match="has 1 bytes"):
        cookie_keys(tmp_path, NOW)


def test_ids_that_are_numbers_are_ordered_as_numbers() -> None:
    assert sorted(["10", "9", "b", "a"], key=age_order) == ["a", "b", "9", "10"]
