"""A large body on its way to the disk while it arrives, so that memory holds some pieces of it and never the whole.

Decides how much may wait. Its pieces are of no use to anybody until `commit` has written the head that names them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.disk.jobs import Arrival
from edge.disk.layout import PIECE

if TYPE_CHECKING:
    from edge.disk.storage import DiskStorage
    from edge.object import StoredObject

WAITING_MAX = 16 * PIECE
"""Bytes of one body that may wait to be written, 2 MiB: behind that its sender is to be held back."""


class Incoming:
    """One body. `add` each part of it, then `commit`, or `abort`. `failed`: it will not be stored, whatever comes."""

    __slots__ = (
        "_parts",
        "_pending",
        "_storage",
        "arrival",
        "committed",
        "failed",
        "on_room",
        "total",
        "waiting",
    )

    def __init__(self, storage: DiskStorage) -> None:
        self._storage = storage
        self._parts: list[bytes] = []
        self._pending = 0
        self.arrival = Arrival()
        self.total = 0
        self.waiting = 0
        """Bytes that were handed over and are not written yet."""
        self.failed = self.committed = False
        self.on_room: Callable[[], None] | None = None
        """Called once there is room again after `add` said that there is none."""

    @property
    def full(self) -> bool:
        """Is its sender to be held back?"""
        return self.waiting > WAITING_MAX

    def add(self, data: bytes) -> bool:
        """The next bytes of the body; False if the sender is to wait for `on_room`. What comes all the same is taken,
        up to twice as much; then the body is given up."""
        if self.failed:
            return True
        self.total += len(data)
        self._parts.append(data)
        self._pending += len(data)
        if self._pending >= PIECE:
            self._hand_over()
        if self.waiting > 2 * WAITING_MAX or not self._storage.takes(self.total):
            self.abort()
        return not self.full

    def _hand_over(self) -> None:
        """Whole pieces go; what is left of the last part stays."""
        data = b"".join(self._parts)
        view = memoryview(data)
        end = len(data) // PIECE * PIECE
        for start in range(0, end, PIECE):
            self._give(bytes(view[start : start + PIECE]))
        self._parts = [data[end:]] if end < len(data) else []
        self._pending = len(data) - end

    def _give(self, piece: bytes) -> None:
        self.waiting += len(piece)
        self._storage.write_piece(self, piece)

    def written(self, size: int, *, ok: bool) -> None:
        """A piece is out of memory."""
        if self.failed:
            return
        was_full, self.waiting = self.full, self.waiting - size
        if not ok:
            self.abort()
        if was_full and not self.full and self.on_room is not None:
            self.on_room()

    def commit(self, stored: StoredObject, names: tuple[bytes, ...]) -> bool:
        """The body is complete, and belongs to `stored`, whose own body is b"". False if it is not stored."""
        if self.failed:
            return False
        if self._pending:
            self._give(b"".join(self._parts))
            self._parts, self._pending = [], 0
        self.committed = self._storage.commit(self, stored, names)
        return self.committed

    def abort(self) -> None:
        """The body is not to be stored. Its sender is not held back any longer."""
        was_full = self.full
        self.failed, self.arrival.wanted = True, False
        self._parts, self._pending, self.waiting = [], 0, 0
        if was_full and self.on_room is not None:
            self.on_room()
