"""The header on a dead letter's bytes that were written back to the log: where they come from.

The fold needs the time of it: a call may have been sent again by the platform and rated since it was refused, and that
is known for the duplicate retention only (`rating.fold`). A letter that is refused once more carries the header on, so
that the time is that of the first refusal, however often it is re-driven.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from rating.facts import Time
from streams.topics import REDRIVEN_HEADER


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """Where a re-driven record comes from.

    Attributes:
        dead_letter: "<partition>:<offset>" of its dead letter.
        source: "<partition>:<offset>" of the record of the log that was refused.
        refused_at: the partition's clock when the bytes were first refused; before the first tick, the time by the
            meter's machine.
    """

    dead_letter: str
    source: str
    refused_at: Time


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Redriven).decode


def redriven_of(headers: Sequence[tuple[str, bytes]]) -> Redriven | None:
    """Where a record of the log, or a dead letter, comes from; None if it was not re-driven.

    A header that nobody can read is somebody else's, and counts as none.
    """
    for name, value in headers:
        if name == REDRIVEN_HEADER:
            try:
                return _decode(value)
            except ValueError:
                return None
    return None


def refused_s(redriven: Redriven) -> int:
    """When it was first refused, in unix seconds."""
    return int(redriven.refused_at.timestamp())


def clock_of(text: str) -> datetime:
    """The time in a dead letter's header ``clock``.

    Raises:
        ValueError: it is no time with a zone.
    """
    return msgspec.convert(text, Time)
