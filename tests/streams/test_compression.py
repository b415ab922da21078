"""Producers compress as they please, and what is small on its way may be large."""

from __future__ import annotations

from streams.settings import Settings
from streams.topics import DEAD_LETTERS
from tests.broker import process, produce, read_topic, wait_until
from tests.streams.meters import calls, encoded, headers_of, rated, subscribed

CODECS = ("gzip", "snappy", "lz4", "zstd")
HUGE = 20 << 20


async def test_calls_of_producers_that_compress_are_rated(settings: Settings) -> None:
    await produce(settings, map(encoded, subscribed(1)))
    for number, codec in enumerate(CODECS):
        await produce(settings, map(encoded, calls(1, 10 * number, 10)), compression=codec)
    with process(settings, "meter") as meter:
        assert sorted(await rated(settings, 40)) == sorted(f"call_{number}" for number in range(40))
        assert meter.stop() == 0, meter.output


async def test_a_record_larger_than_a_dead_letter_can_be_is_one_by_its_beginning(settings: Settings) -> None:
    """It is a fiftieth of that in the log, which has all of it."""
    value = b'{"type":"call.completed","note":"' + b"x" * HUGE
    (first,), (last,) = calls(1, 1, 1), calls(1, 2, 1)
    await produce(settings, [*map(encoded, subscribed(1)), encoded(first)])
    await produce(settings, [value], compression="gzip")
    await produce(settings, [encoded(last)])
    with process(settings, "meter") as meter:
        await rated(settings, 2)
        assert meter.stop() == 0, meter.output

    async def letters():
        found = await read_topic(settings, DEAD_LETTERS)
        assert len(found) == 1
        return found

    (letter,) = await wait_until(letters, what="the dead letter")
    headers = headers_of(letter)
    assert headers["reason"] == "too_large"
    assert headers["whole_bytes"] == str(len(value))
    assert letter.value == value[:65_536]
