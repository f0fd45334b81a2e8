"""The directory of one disk storage: whose it is, what lies in it, how its last user ended.

    lock          held (flock) by the process that uses it, with its pid
    storage       the format's version and the directory's secret, made once; without it all else is worthless
    session       the boot in which it was last used, and whether that use ended in order
    NNNNNNNNNN.seg   segments

Decides whether a directory may be used: an empty one, a new one, or one that a storage has made before. Whatever else
lies in one that is ours is left alone, never read and never removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
from hashlib import blake2b
from pathlib import Path

from edge.disk.files import segment_number
from edge.disk.layout import DIGEST, SECRET, VERSION

LOCK, STORAGE, SESSION = "lock", "storage", "session"
_MAGIC = b"cdnlab storage %d\n" % VERSION
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when there is no room, rather than that something is wrong."""

log = logging.getLogger("cdnlab.disk")

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class DirectoryError(Exception):
    """A directory that cannot be used: str() is one line that names it, the reason and the remedy."""


class Directory:
    """An opened directory. `secret` keys its digests; up to segment `doubtful` what lies there may have been overtaken
    by something that a power loss took."""

    __slots__ = ("_boot", "_guests", "_lock", "doubtful", "fresh", "path", "secret")

    def __init__(self, path: Path, guests: frozenset[str] = frozenset()) -> None:
        """Make it if need be, and take it. `guests` are names of files that others keep here. DirectoryError."""
        self.path = path
        self._guests = guests
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_ours()
            self._lock = self._take()
            try:
                self._open()
            except BaseException:
                os.close(self._lock)
                raise
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            remedy = "give a directory that this user may write to"
            raise DirectoryError(f"cannot store in {path}: {why}; {remedy}") from None

    def _open(self) -> None:
        secret = self._secret()
        self.fresh = secret is None
        """Nothing that lies here can be used: it was made just now, or its secret is lost."""
        self.secret = secret if secret is not None else self._new_secret()
        self._boot = boot_id()
        self.doubtful = self._doubt()
        try:
            self._say("open")
        except OSError as error:
            self._without_session(error)

    def _without_session(self, error: OSError) -> None:
        """On a full disk. The old word would be a lie now; without any, the next start takes the safe side."""
        if error.errno not in NO_ROOM:
            raise error
        log.warning("cannot write to %s: %s; what lies here can be read", self.path, error.strerror)
        (self.path / SESSION).unlink(missing_ok=True)

    def _check_ours(self) -> None:
        names = set(os.listdir(self.path))
        if names and STORAGE not in names and names - {LOCK}:
            raise DirectoryError(
                f"cannot store in {self.path}: it holds files that no cdnlab made; give an empty or a new directory"
            )

    def _take(self) -> int:
        fd = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DirectoryError(
                f"cannot store in {self.path}: another process uses it (pid {pid}); end that one, or give each its own"
            ) from None
        with contextlib.suppress(OSError):  # a full disk: then it is not known who holds it
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return fd

    def _secret(self) -> bytes | None:
        try:
            said = (self.path / STORAGE).read_bytes()
        except FileNotFoundError:
            return None
        secret, proof = said[len(_MAGIC) : -DIGEST], said[-DIGEST:]
        whole = said.startswith(_MAGIC) and len(secret) == SECRET and proof == _proof(secret)
        return secret if whole else None

    def _new_secret(self) -> bytes:
        secret = secrets.token_bytes(SECRET)
        try:
            self._replace(STORAGE, _MAGIC + secret + _proof(secret))
        except OSError as error:  # a full disk: what is written with it, if anything, ends with this process
            if error.errno not in NO_ROOM:
                raise
            log.warning(
                "cannot write to %s: %s; nothing that is stored here outlives this process", self.path, error
            )
        return secret

    def _doubt(self) -> int:
        """The last segment whose content is to be validated before use."""
        try:
            boot, ended, before = (self.path / SESSION).read_text("ascii").split()
            known = int(before)
        except (OSError, ValueError):
            boot, ended, known = "", "", 0
        newest = max(self.segments(), default=0)
        lost = ended != "closed" and (not boot or boot != self._boot)
        return newest if lost else min(known, newest)

    def doubt(self, number: int) -> None:
        """What lies up to this segment is to be validated: a part of the log is missing behind it. OSError."""
        if number > self.doubtful:
            self.doubtful = number
            self._say("open")

    def _say(self, state: str) -> None:
        self._replace(SESSION, f"{self._boot or '-'} {state} {self.doubtful}\n".encode())

    def _replace(self, name: str, data: bytes) -> None:
        """A file of the directory as a whole: after a crash the old one, or the new one."""
        beside = self.path / f"{name}.new"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(beside, self.path / name)
        directory = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def segments(self) -> list[int]:
        """Numbers of the files named like segments, oldest first."""
        found = (segment_number(name) for name in os.listdir(self.path))
        return sorted(number for number in found if number is not None)

    def foreign(self) -> list[str]:
        """Names of what is not ours."""
        ours = {LOCK, STORAGE, SESSION, f"{STORAGE}.new", f"{SESSION}.new", *self._guests}
        return sorted(
            name for name in os.listdir(self.path) if name not in ours and segment_number(name) is None
        )

    def close(self, *, ended: bool) -> None:
        """Let go of it; `ended`: everything that was written lies on the medium."""
        if self._lock < 0:
            return
        if ended:
            with contextlib.suppress(OSError):
                self._say("closed")
        lock, self._lock = self._lock, -1
        os.close(lock)


def _proof(secret: bytes) -> bytes:
    return blake2b(_MAGIC + secret, digest_size=DIGEST).digest()


def boot_id() -> str:
    """What names this boot of the machine; "" where it has no name, and then every start follows a power loss."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""
