"""Which partition an account's facts belong to: Kafka's default for Java producers, ``toPositive(murmur2(key)) % n``.

The same as ``partitioner=murmur2_random`` of librdkafka. Source: ``org.apache.kafka.common.utils.Utils.murmur2``.
"""

from __future__ import annotations

_M = 0x5BD1E995
_SEED = 0x9747B28C
_32_BITS = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash of some bytes, signed as in Java."""
    length = len(data)
    h = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _32_BITS
        k = (k ^ k >> 24) * _M & _32_BITS
        h = h * _M & _32_BITS ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _32_BITS
    h = (h ^ h >> 13) * _M & _32_BITS
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


def partition_of(account_id: bytes, partitions: int) -> int:
    """The partition of an account.

    Args:
        account_id: UTF-8 bytes, the key of its records.
        partitions: how many partitions the topic has.
    """
    return (murmur2(account_id) & 0x7FFFFFFF) % partitions
