"""A real store for the tests of this room."""

from __future__ import annotations

from tests.node.conftest import Valkey, valkey

__all__ = ["Valkey", "valkey"]
