"""The fold without a broker: facts as JSON lines in, outputs out, in order. How a plan is tried before it is sold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rating.agencies import AgencyFold
from rating.agency_facts import TYPES as AGENCY_TYPES
from rating.cards import NO_CARDS, Cards
from rating.fold import Fold
from rating.outputs import DeadLetter, Output, encode
from rating.seen import SeenInMemory


def simulate_encoded(lines: Iterable[bytes], cards: Cards = NO_CARDS) -> Iterator[bytes]:
    """Fold JSON lines and give each output as one encoded line ``{"topic", "key", "value"}``.

    A line's number, counted from 0, is its offset. A line that cannot be rated becomes a ``dead-letters`` output. Facts
    about agencies may stand among the others; each line is a transaction, so agencies are up to date after it. Rate
    cards are found in ``cards`` by id.
    """
    fold, agencies = Fold(0, None, SeenInMemory(), cards=cards), AgencyFold(0, 1)
    for offset, line in enumerate(lines):
        value = line.rstrip(b"\r\n")
        if b"agency." in value and _type_of(value) in AGENCY_TYPES:
            agencies.fold(value, offset)
        else:
            yield from _folded(fold, value, offset)
        yield from _totaled(fold, agencies, offset)


def _folded(fold: Fold, value: bytes, offset: int) -> Iterator[bytes]:
    done = False
    while not done:
        done = fold.fold(value, offset)
        yield from map(_encode_output, fold.outputs)
        fold.outputs.clear()


def _totaled(fold: Fold, agencies: AgencyFold, offset: int) -> Iterator[bytes]:
    """What agencies are told of a line, and what follows from it for all their accounts."""
    for _, value in fold.drain_agencies():
        agencies.fold(value, offset)
    fold.books.touched.clear()
    yield from map(_encode_output, agencies.outputs)
    agencies.outputs.clear()
    facts, agencies.facts = agencies.facts, []
    for fact in facts:
        yield from _folded(fold, fact, offset)


def _type_of(value: bytes) -> Any:
    try:
        content = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None
    kind = content.get("type") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def simulate(lines: Iterable[bytes], cards: Cards = NO_CARDS) -> Iterator[dict[str, Any]]:
    """Like `simulate_encoded`, decoded."""
    return map(msgspec.json.decode, simulate_encoded(lines, cards))


def _encode_output(output: Output) -> bytes:
    topic, key, value = output
    name = None if key is None else key.decode("utf-8", "replace")
    if isinstance(value, DeadLetter):
        text = None if value.value is None else value.value.decode("utf-8", "replace")
        content = {**msgspec.structs.asdict(value), "value": text}
        return encode({"topic": topic, "key": name, "value": content})
    return encode({"topic": topic, "key": name, "value": msgspec.Raw(value)})
