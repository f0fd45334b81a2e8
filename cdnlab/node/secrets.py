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

_REMEDY = "the lab makes it when it starts; stop the lab and start it again with cdnlab up"


class SecretsError(Exception):
    """A secret that cannot be read or written; str() names the file, what is wrong and the remedy."""


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """A node's secrets; `cookie_keys` by key id, the last one (by id) signs and all verify."""

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
        for name in (ADMIN_TOKEN, EXPLAIN_KEY, HELLO_KEY, HASH_KEY, COOKIE_KEY + FIRST_COOKIE_KEY):
            _write(directory / name, randomness.token_hex(SIZE))
    except OSError as error:
        raise SecretsError(
            f"cannot write {error.filename or directory}: {error.strerror}; "
            "give a state directory that you own with --state"
        ) from error
    return load(directory)


def load(directory: Path) -> Secrets:
    """Read the secrets from `directory`. SecretsError names the first file that is missing or unusable."""
    cookies = sorted(path for path in directory.glob(COOKIE_KEY + "*") if path.is_file())
    if not cookies:
        raise SecretsError(f"there is no cookie key {directory / COOKIE_KEY}ID; {_REMEDY}")
    return Secrets(
        admin_token=_read(directory / ADMIN_TOKEN).hex(),
        explain_key=_read(directory / EXPLAIN_KEY),
        hello_key=_read(directory / HELLO_KEY),
        hash_key=_read(directory / HASH_KEY),
        cookie_keys={path.name.removeprefix(COOKIE_KEY): _read(path) for path in cookies},
    )


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
