"""Partitions are those of Kafka's Java producer, so that all clients agree where an account lives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.partitioner import murmur2, partition_of

# https://github.com/apache/kafka/blob/trunk/clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "expected"), JAVA.items())
def test_the_hash_is_that_of_java(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected


def test_a_negative_hash_loses_its_sign_bit_not_its_sign() -> None:
    assert partition_of(b"21", 12) == (-973932308 & 0x7FFFFFFF) % 12


@given(st.binary(max_size=64), st.integers(1, 10_000))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert 0 <= partition_of(key, partitions) < partitions


@given(st.binary(max_size=64))
def test_the_client_library_agrees(key: bytes) -> None:
    from aiokafka.partitioner import murmur2 as theirs

    assert murmur2(key) & 0xFFFFFFFF == theirs(key)
