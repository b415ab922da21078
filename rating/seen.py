"""Which calls were rated already: the question behind duplicates.

Only rated calls are remembered. A call is a duplicate if its account's same ``call_id`` was rated at a smaller offset,
within the retention; so an index that is ahead of the ledger after a crash does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Protocol

# A copy costs half of a new one.
_new_hash = blake2b(digest_size=16).copy


def call_hash(account_id: str, call_id: str) -> bytes:
    """16 bytes for a call of an account. The account's length keeps two pairs with the same joined text apart."""
    hashed = _new_hash()
    hashed.update(f"{len(account_id)}\0{account_id}\0{call_id}".encode())
    return hashed.digest()


class SeenCalls(Protocol):
    """The rated calls of one partition, by `call_hash`: offset and clock (unix seconds, -1 before the first tick)."""

    def find(self, hashes: Sequence[bytes]) -> Sequence[tuple[int, int] | None]:
        """For each of these calls where and when it was rated, or None."""

    def put(self, rated: Mapping[bytes, int], clock_s: int) -> None:
        """Remember calls as rated: their offsets, and the clock at the time."""


class SeenInMemory(dict[bytes, tuple[int, int]]):
    """Every call ever rated, in memory: for `simulate` and tests."""

    def find(self, hashes: Sequence[bytes]) -> Sequence[tuple[int, int] | None]:
        """For each of these calls where and when it was rated, or None."""
        return list(map(self.get, hashes))

    def put(self, rated: Mapping[bytes, int], clock_s: int) -> None:
        """Remember calls as rated: their offsets, and the clock at the time."""
        self.update((digest, (offset, clock_s)) for digest, offset in rated.items())
