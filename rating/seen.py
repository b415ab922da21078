"""Which calls were rated already: the question behind duplicates.

Only rated calls are remembered. A call is a duplicate if its account's same ``call_id`` was rated at a smaller offset,
within the retention; so an index that is ahead of the ledger after a crash does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

# A copy costs half of a new one.
_new_hash = blake2b(digest_size=16).copy


def call_hash(account_id: str, call_id: str) -> bytes:
    """16 bytes for a call of an account. The account's length keeps two pairs with the same joined text apart."""
    hashed = _new_hash()
    hashed.update(f"{len(account_id)}\0{account_id}\0{call_id}".encode("utf-8", "surrogatepass"))
    return hashed.digest()


class SeenCalls(Protocol):
    """The rated calls of one partition."""

    def look_ahead(self, hashes: Sequence[bytes]) -> None:
        """These will be asked for next. It changes no answer, only what it costs."""

    def get(self, call_hash: bytes) -> tuple[int, int] | None:
        """Offset and clock (unix seconds, -1 before the first tick) of the call's rating, or None."""

    def put(self, call_hash: bytes, offset: int, clock: int) -> None:
        """Remember a call as rated."""


class SeenInMemory(dict[bytes, tuple[int, int]]):
    """Every call ever rated, in memory: for `simulate` and tests."""

    def look_ahead(self, hashes: Sequence[bytes]) -> None:
        """Nothing to prepare."""

    def put(self, call_hash: bytes, offset: int, clock: int) -> None:
        """Remember a call as rated."""
        self[call_hash] = (offset, clock)
