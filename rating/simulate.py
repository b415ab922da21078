"""The fold without a broker: facts as JSON lines in, outputs out, in order. How a plan is tried before it is sold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rating.agencies import AgencyFold
from rating.agency_facts import TYPES as AGENCY_TYPES
from rating.cards import NO_CARDS, Cards
from rating.facts import account_of
from rating.fold import Fold
from rating.outputs import RATED_CALLS, DeadLetter, Output, encode
from rating.seen import SeenInMemory

# Each takes a kilobyte.
MOST_RATINGS = 250_000


class _Name(msgspec.Struct):
    """Which call a rated call is of."""

    account_id: str
    call_id: str


_decode_name = msgspec.json.Decoder(_Name).decode


def simulate_encoded(lines: Iterable[bytes], cards: Cards = NO_CARDS) -> Iterator[bytes]:
    """Fold JSON lines and give each output as one encoded line ``{"topic", "key", "value"}``.

    A line's number, counted from 0, is its offset. A line that cannot be rated becomes a ``dead-letters`` output. Facts
    about agencies may stand among the others; each line is a transaction, so agencies are up to date after it. Rate
    cards are found in ``cards`` by id.
    """
    fold, agencies = Fold(0, None, SeenInMemory(), cards=cards), AgencyFold(0, 1)
    ratings = _Ratings()
    for offset, line in enumerate(lines):
        value = line.rstrip(b"\r\n")
        if b"agency." in value and _type_of(value) in AGENCY_TYPES:
            agencies.fold(value, offset)
        else:
            yield from _folded(fold, value, offset, ratings)
        yield from _totaled(fold, agencies, offset, ratings)


def _folded(fold: Fold, value: bytes, offset: int, ratings: _Ratings) -> Iterator[bytes]:
    done, rated = False, ratings.find(fold, value)
    while not done:
        done = fold.fold(value, offset, rated=rated)
        for output in fold.outputs:
            if output[0] == RATED_CALLS:
                ratings.keep(output[2])
            yield _encode_output(output)
        fold.outputs.clear()


def _totaled(fold: Fold, agencies: AgencyFold, offset: int, ratings: _Ratings) -> Iterator[bytes]:
    """What agencies are told of a line, and what follows from it for all their accounts."""
    for _, value in fold.drain_agencies():
        agencies.fold(value, offset)
    fold.books.touched.clear()
    yield from map(_encode_output, agencies.outputs)
    agencies.outputs.clear()
    # Numbers are the pipeline's to give: a log that it wrote has them as facts, and another one has none.
    agencies.numbered.clear()
    facts, agencies.facts = agencies.facts, []
    for fact in facts:
        yield from _folded(fold, fact, offset, ratings)


def _type_of(value: bytes) -> Any:
    try:
        content = msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None
    kind = content.get("type") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


class _Ratings:
    """The newest rated calls, for corrections: as many as may well be kept in memory."""

    def __init__(self) -> None:
        self._by_call: dict[tuple[str, str], Any] = {}

    def keep(self, rated: Any) -> None:
        named = _decode_name(rated)
        self._by_call.pop((named.account_id, named.call_id), None)
        self._by_call[named.account_id, named.call_id] = rated
        if len(self._by_call) > MOST_RATINGS:
            del self._by_call[next(iter(self._by_call))]

    def find(self, fold: Fold, value: bytes) -> bytes | None:
        call_id = fold.corrected_call(value)
        if call_id is None:
            return None
        account_id = account_of(value)
        found: bytes | None = self._by_call.get((account_id or "", call_id))
        return found


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
