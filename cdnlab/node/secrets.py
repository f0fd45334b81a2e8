"""The secrets of a lab: made once when it starts, read by each node from files, never shown.

They lie in `<state>/secrets/`, one per file, as hexadecimal text, so that a container can be given them as
mounted files too; nothing puts them into argv, the environment, a log or /status. A node without a state
directory makes its own in memory.
"""

from __future__ import annotations

import os
import secrets as randomness
from dataclasses import dataclass, field
from pathlib import Path

SIZE = 32  # bytes; HMAC-SHA-256 and BLAKE2b gain nothing from longer keys
SHORTEST = 16  # bytes; what we still take from a file somebody else wrote

ADMIN_TOKEN = "admin_token"
EXPLAIN_KEY = "explain_key"
HELLO_KEY = "hello_key"
HASH_KEY = "hash_key"
COOKIE_KEY = "cookie_key."  # followed by the key's id, which the cookie names
FIRST_COOKIE_KEY = "1"

COOKIE_KEYS = 2
"""Cookie keys that are valid at a time: the newest, and the one before it."""
STAGED = 5.0
"""Seconds for which a new cookie key is only accepted. By then every node has read it, and may sign with it."""

_REMEDY = "the lab makes it when it starts; stop the lab and start it again with cdnlab up"


class SecretsError(Exception):
    """A secret that cannot be read or written; str() names the file, what is wrong and the remedy."""


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """A node's secrets; `cookie_keys` by key id as they were at the start, the oldest first: all verify."""

    admin_token: str = field(default_factory=lambda: randomness.token_hex(SIZE))
    explain_key: bytes = field(default_factory=lambda: randomness.token_bytes(SIZE))
    hello_key: bytes = field(default_factory=lambda: randomness.token_bytes(SIZE))
    hash_key: bytes = field(default_factory=lambda: randomness.token_bytes(SIZE))
    cookie_keys: dict[str, bytes] = field(
        default_factory=lambda: {FIRST_COOKIE_KEY: randomness.token_bytes(SIZE)}
    )


def make(directory: Path) -> Secrets:
    """Write the missing secrets into `directory` (mode 0700, files 0600), then load all. SecretsError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        names = [ADMIN_TOKEN, EXPLAIN_KEY, HELLO_KEY, HASH_KEY]
        if not any(directory.glob(COOKIE_KEY + "*")):  # a key that was rotated out stays out
            names.append(COOKIE_KEY + FIRST_COOKIE_KEY)
        for name in names:
            _write(directory / name, randomness.token_hex(SIZE))
    except OSError as error:
        raise SecretsError(
            f"cannot write {error.filename or directory}: {error.strerror}; "
            "give a state directory that you own with --state"
        ) from error
    return load(directory)


def load(directory: Path) -> Secrets:
    """Read the secrets from `directory`. SecretsError names the first file that is missing or unusable."""
    cookies = cookie_keys(directory, float("inf"))[0]
    return Secrets(
        admin_token=_read(directory / ADMIN_TOKEN).hex(),
        explain_key=_read(directory / EXPLAIN_KEY),
        hello_key=_read(directory / HELLO_KEY),
        hash_key=_read(directory / HASH_KEY),
        cookie_keys=cookies,
    )


def age_order(kid: str) -> tuple[int, str]:
    """How the ids of cookie keys are ordered, the newest last: numbers as numbers."""
    return (int(kid), "") if kid.isdigit() else (0, kid)


def cookie_keys(directory: Path, wall: float) -> tuple[dict[str, bytes], str]:
    """The cookie keys that are valid now, by id, and the id of the one that signs: the newest, once it has been there
    for STAGED seconds (its file's time says since when, `wall` what time it is). SecretsError."""
    found = []
    for path in directory.glob(COOKIE_KEY + "*"):
        try:
            found.append((path.name.removeprefix(COOKIE_KEY), path, path.stat().st_mtime))
        except FileNotFoundError:
            pass  # rotated out just now
    found.sort(key=lambda each: age_order(each[0]))
    kept = found[-COOKIE_KEYS:]
    if not kept:
        raise SecretsError(f"there is no cookie key {directory / COOKIE_KEY}ID; {_REMEDY}")
    ripe = [kid for kid, _, since in kept if since + STAGED <= wall]
    return {kid: _read(path) for kid, path, _ in kept}, ripe[-1] if ripe else kept[0][0]


def rotate(directory: Path, wall: float) -> tuple[str, tuple[str, ...]]:
    """Make a new cookie key, and remove those that are one too old; (its id, theirs). SecretsError, also while the
    newest does not sign yet: the one that does would go, and all pins with it."""
    keys, signs = cookie_keys(directory, wall)
    newest = max(keys, key=age_order)
    if signs != newest:
        raise SecretsError(f"cookie key {newest} was only just made; try again in {STAGED:g} s")
    known = sorted(
        (path.name.removeprefix(COOKIE_KEY) for path in directory.glob(COOKIE_KEY + "*")), key=age_order
    )
    new = str(1 + max((int(kid) for kid in known if kid.isdigit()), default=0))
    old = tuple(known[: len(known) + 1 - COOKIE_KEYS])
    try:
        _write(directory / (COOKIE_KEY + new), randomness.token_hex(SIZE))
        for kid in old:
            (directory / (COOKIE_KEY + kid)).unlink(missing_ok=True)
    except OSError as error:
        raise SecretsError(f"cannot write {error.filename or directory}: {error.strerror}") from error
    return new, old


def _write(path: Path, text: str) -> None:
    """The secret appears as a whole or not at all: nodes of one lab may start at once, and the first one counts."""
    if path.exists():
        return
    new = path.with_name(f".{path.name}.{randomness.token_hex(8)}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
        try:
            os.link(new, path)
        except FileExistsError:
            pass
    finally:
        new.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    try:
        value = bytes.fromhex(path.read_text().strip())
    except OSError as error:
        raise SecretsError(f"cannot read the secret {path}: {error.strerror}; {_REMEDY}") from error
    except ValueError as error:
        raise SecretsError(f"the secret {path} is not hexadecimal text; {_REMEDY}") from error
    if len(value) < SHORTEST:
        raise SecretsError(f"the secret {path} has {len(value)} bytes, it needs {SHORTEST}; {_REMEDY}")
    return value
