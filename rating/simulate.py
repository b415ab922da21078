"""The fold without a broker: facts as JSON lines in, outputs out, in order. How a plan is tried before it is sold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rating.fold import Fold
from rating.outputs import DeadLetter, Output, encode
from rating.seen import SeenInMemory


def simulate_encoded(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Fold JSON lines and give each output as one encoded line ``{"topic", "key", "value"}``.

    A line's number, counted from 0, is its offset. A line that cannot be rated becomes a ``dead-letters`` output.
    """
    fold = Fold(0, None, SeenInMemory())
    for offset, line in enumerate(lines):
        done = False
        while not done:
            done = fold.fold(line.rstrip(b"\r\n"), offset)
            yield from map(_encode_output, fold.outputs)
            fold.outputs.clear()


def simulate(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Like `simulate_encoded`, decoded."""
    return map(msgspec.json.decode, simulate_encoded(lines))


def _encode_output(output: Output) -> bytes:
    topic, key, value = output
    name = None if key is None else key.decode("utf-8", "replace")
    if isinstance(value, DeadLetter):
        text = None if value.value is None else value.value.decode("utf-8", "replace")
        content = {**msgspec.structs.asdict(value), "value": text}
        return encode({"topic": topic, "key": name, "value": content})
    return encode({"topic": topic, "key": name, "value": msgspec.Raw(value)})
